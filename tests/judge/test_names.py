"""When two names name the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.names import normal, same_name

SAME = (
    ("Rommel", "Erwin Rommel"),
    ("Field Marshal Erwin Rommel", "General Erwin Rommel"),
    ("E. Rommel", "Erwin Rommel"),
    ("Erwin Johannes Rommel", "Erwin Rommel"),
    ("Franklin Roosevelt", "Franklin D. Roosevelt"),
    ("Franklin Delano Roosevelt", "Franklin D. Roosevelt"),
    ("Kursk", "Battle of Kursk"),
    ("the Battle of Kursk", "Kursk"),
    ("Hood", "HMS Hood"),
    ("Sixth Army", "German 6th Army"),
    ("Guadalcanal", "Guadalcanal Campaign"),
    ("USSR", "Soviet Union"),
    ("American", "United States"),
    ("T34", "T-34"),
)
OTHERS = (
    ("Africa", "North Africa"),
    ("North Africa", "Africa"),
    ("Sea", "Coral Sea"),
    ("Philippine Sea", "Coral Sea"),
    ("Kursk Campaign", "Battle of Kursk"),
    ("United Kingdom", "United States"),
    ("Ninth Army", "Sixth Army"),
    ("Soviet Sixth Army", "German Sixth Army"),
    ("Theodore Roosevelt", "Franklin Roosevelt"),
    ("Theodore Roosevelt", "Roosevelt"),
    ("John W. Mitchell", "Reginald J. Mitchell"),
    ("Erwin", "Erwin Rommel"),
    ("Erwin Montgomery", "Erwin Rommel"),
    ("Erwin Rommel Bernard Montgomery", "Erwin Rommel"),
    ("V-1", "V-2"),
    ("Army", "Sixth Army"),
)


@pytest.mark.parametrize(("said", "reference"), SAME)
def test_a_short_form_a_title_and_an_initial_name_the_same(said, reference):
    assert same_name(normal(said), normal(reference))


@pytest.mark.parametrize(("said", "reference"), OTHERS)
def test_a_lost_qualifier_or_another_given_name_names_another(said, reference):
    assert not same_name(normal(said), normal(reference))


def test_a_fuller_name_is_good_when_its_other_words_stand_in_the_source():
    assert same_name(normal("Erwin Rommel"), normal("Rommel"), frozenset({"erwin"}))
    assert not same_name(normal("Erwin Rommel"), normal("Rommel"), frozenset({"bernard"}))


@given(
    st.lists(
        st.sampled_from(["Battle", "of", "Kursk", "North", "Erwin", "J.", "Rommel", "Sixth", "Army", "Sea"]), min_size=1
    )
)
def test_every_name_names_itself(parts):
    name = normal(" ".join(parts))
    assert not name or same_name(name, name)
