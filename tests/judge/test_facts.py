"""What a text states: the many ways to write a date, a number, a name are one fact."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.facts import Date, Number, extract, spelt
from judge.words import MONTHS, ORDINALS, fold, holds_run, tidy, words

MONTH_NAMES = {number: name for name, number in MONTHS.items() if len(name) > 4 or name in ("may", "june", "july")}


def values(text: str, kind: str) -> list[object]:
    return [fact.value for fact in extract(text) if fact.kind == kind]


@pytest.mark.parametrize(
    "text",
    [
        "June 6, 1944",
        "6 June 1944",
        "6th of June 1944",
        "the 6th of June, 1944",
        "the sixth of June 1944",
        "JUNE 6TH, 1944",
        "Jun. 6, 1944",
        "06 June 1944",
        "1944-06-06",
        "on 6 June in 1944",
    ],
)
def test_a_date_is_one_date_however_it_is_written(text):
    assert values(text, "date") == [Date(1944, 6, 6)]
    assert values(text, "number") == []


@given(
    st.dates(date(1800, 1, 1), date(2050, 12, 31)),
    st.sampled_from(("{d} {m} {y}", "{m} {d}, {y}", "{n} of {m}, {y}", "{m} {n} {y}", "{y}-{i:02}-{d:02}")),
    st.sampled_from((str.lower, str.upper, str.title)),
)
def test_every_day_is_read_from_every_form_in_any_case(day, form, case):
    month = MONTH_NAMES[day.month]
    nth = {number: word for word, number in ORDINALS.items() if "-" in word or word.isalpha()}
    spoken = nth.get(f"{day.day}{'th' if 10 < day.day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')}")
    text = case(form.format(d=day.day, m=month, y=day.year, i=day.month, n=spoken or day.day))
    assert values(f"It was {text}.", "date") == [Date(day.year, day.month, day.day)]


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("4-7 June 1942", [Date(1942, 6, 4), Date(1942, 6, 7)]),
        ("between 4 and 7 June 1942", [Date(1942, 6, 4), Date(1942, 6, 7)]),
        ("June 4 to 7, 1942", [Date(1942, 6, 4), Date(1942, 6, 7)]),
        ("from 26 May to 4 June 1940", [Date(1940, 5, 26), Date(1940, 6, 4)]),
        ("23 October – 11 November 1942", [Date(1942, 10, 23), Date(1942, 11, 11)]),
        ("July and August 1943", [Date(1943, 7), Date(1943, 8)]),
        ("1939-45", [Date(1939), Date(1945)]),
        ("in June 1944", [Date(1944, 6)]),
        ("in May", [Date(month=5)]),
        ("in late 1943", [Date(1943, part="late")]),
        ("the autumn of 1942", [Date(1942, part="autumn")]),
        ("6 June", [Date(month=6, day=6)]),
        ("the 1940s", [Date(1940, part="decade")]),
        ("the troops may march on", []),
        ("1943 tanks", []),
        ("6 June 19444", [Date(month=6, day=6)]),
        ("32 June 1944", [Date(1944, 6)]),
    ],
)
def test_ranges_months_years_and_what_only_looks_like_a_date(text, dates):
    assert values(text, "date") == dates


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000", Number(1000)),
        ("one thousand", Number(1000)),
        ("a thousand", Number(1000)),
        ("1 000 men", Number(1000)),
        ("two hundred and fifty thousand", Number(250_000)),
        ("twenty-two", Number(22)),
        ("1.5 million", Number(1_500_000)),
        ("half a million", Number(500_000)),
        ("156 thousand", Number(156_000)),
        ("a dozen", Number(12)),
        ("$50 million", Number(50_000_000, "dollar")),
        ("45 km", Number(45, "km")),
        ("45 kilometres", Number(45, "km")),
        ("500-kilogram bombs", Number(500, "kg")),
        ("85%", Number(85, "percent")),
        ("3.5 tons", Number(3.5, "ton")),
    ],
)
def test_a_number_is_one_number_in_digits_or_in_words_and_keeps_its_unit(text, number):
    assert values(text, "number") == [number]


@given(st.integers(0, 999_999_999))
def test_commas_and_scale_words_change_no_number(number):
    [plain] = values(f"x {number:,} men", "number")
    assert plain == Number(number)
    thousands, rest = divmod(number, 1000)
    if 0 < thousands < 1000 and rest == 0:
        assert values(f"{thousands} thousand", "number") == [plain]


def test_words_of_numbers_have_their_values():
    assert [spelt(text) for text in ("seven", "one hundred and five", "two million three hundred thousand")] == [
        7,
        105,
        2_300_000,
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("General Erwin Rommel", ("erwin", "rommel")),
        ("in the Battle of the Bulge", ("battle", "bulge")),
        ("U.S. forces", ("america",)),
        ("the United States", ("america",)),
        ("the Soviet Union", ("soviet",)),
        ("the T-34 tank", ("t34",)),
        ("a Ju 88 bomber", ("ju", "88")),
        ("the Sixth Army", ("6th", "army")),
        ("the 6th Army", ("6th", "army")),
        ("in Besançon", ("besancon",)),
        ("Rommel's plan", ("rommel",)),
        ("by Walther von Brauchitsch", ("walther", "brauchitsch")),
    ],
)
def test_a_name_is_a_run_of_capitals_without_titles_articles_and_accents(text, name):
    assert values(text, "name") == [name]
    assert values(text, "number") == []


def test_names_beside_each_other_stay_two():
    assert values("Rommel, Montgomery and Patton", "name") == [("rommel",), ("montgomery",), ("patton",)]


def test_the_first_word_of_a_sentence_and_a_nations_adjective_are_too_weak_to_contradict():
    facts = {fact.text: fact.weak for fact in extract("Commanded by the German general Erwin Rommel. One of us.")}
    assert facts == {"Commanded": True, "German": True, "Erwin Rommel": False, "One": True}


def test_hours_are_read_from_both_clocks():
    assert values("at 06:30", "time") == values("at 6:30 a.m.", "time") == [390]
    assert values("at 18:30", "time") == values("at 6.30 p.m.", "time") == [1110]


@given(st.text())
def test_any_text_can_be_read_and_every_fact_stands_where_it_says(text):
    clean = tidy(text)
    for fact in extract(text):
        assert 0 <= fact.start < fact.end <= len(clean)
        assert fact.text in clean


@given(st.text())
def test_words_know_no_case_and_no_accent(text):
    assert words(text) == words(fold(text)) == [fold(word) for word in words(text)]


def test_the_words_of_a_text_have_one_spelling():
    assert words("The Sixth Army's T-34, 1,000 of them") == words("the 6th army t34 1000 OF THEM")
    assert holds_run(words("at Besançon, in France"), ["besancon", "in"])
    assert not holds_run(["a"], [])
