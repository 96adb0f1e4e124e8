"""An edited recipe writes beside what it made before (docs/decisions/0006)."""

import re

import pytest

from supervisor import plan, queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import NewJob

RECIPE = """
name = "cake"
[vars]
flour = "rye"
heat = "200"
[[job]]
name = "dough"
kind = "command"
args = { argv = ["echo", "{flour}", "--out", "dough{n}"], cwd = "/" }
[[job]]
name = "bake"
kind = "command"
after = ["dough"]
args = { argv = ["echo", "{heat}", "{dough.cwd}", "cake{n}"] }
"""


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def planned(db, home, tmp_path, text=RECIPE, **overrides) -> list[int]:
    (tmp_path / "recipe.toml").write_text(text)
    recipe = plan.read(tmp_path / "recipe.toml", overrides)
    return plan.plan(db, home, recipe, base=tmp_path, now=1.0)


def last_words(db, ids) -> list[str]:
    return [queue.get(db, job_id).args["argv"][-1] for job_id in ids]


def test_what_an_edited_job_makes_is_numbered_and_what_is_before_it_keeps_its_name(db, home, tmp_path):
    assert last_words(db, planned(db, home, tmp_path)) == ["dough", "cake"]
    assert last_words(db, planned(db, home, tmp_path, heat="220")) == ["dough", "cake-2"]
    assert last_words(db, planned(db, home, tmp_path, flour="wheat")) == ["dough-2", "cake-3"]


def test_the_old_line_finds_the_old_jobs_with_their_old_names(db, home, tmp_path):
    first = planned(db, home, tmp_path)
    planned(db, home, tmp_path, flour="wheat")
    assert planned(db, home, tmp_path) == first
    assert last_words(db, first) == ["dough", "cake"]


def test_another_project_begins_its_own_count(db, home, tmp_path):
    planned(db, home, tmp_path)
    assert last_words(db, planned(db, home, tmp_path, name="pie")) == ["dough", "cake"]


def test_an_arg_of_a_job_above_is_taken_as_it_is_queued(db, home, tmp_path):
    _, bake = planned(db, home, tmp_path)
    assert queue.get(db, bake).args["argv"] == ["echo", "200", "/", "cake"]


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("{doug.cwd}", "{doug.cwd} takes a job above and one of its args: above it are dough"),
        ("{bake.cwd}", "above it are dough"),
        ("{dough.out}", "it has argv, cwd, env, preemptible"),
    ],
)
def test_a_reference_to_nothing_is_refused_with_what_there_is(db, home, tmp_path, reference, sentence):
    with pytest.raises(Refused, match="recipe cake, job bake: .*" + re.escape(sentence)):
        planned(db, home, tmp_path, RECIPE.replace("{dough.cwd}", reference))
    assert db.execute("select count(*) from job").fetchone()[0] == 0


def test_what_an_earlier_reading_left_open_is_cancelled_with_what_it_submitted(db, home, tmp_path):
    dough, bake = planned(db, home, tmp_path)
    child = queue.add(db, NewJob("sleep", {}, "gpu", parent_id=bake), now=1.0)
    pie = planned(db, home, tmp_path, name="pie")
    new = planned(db, home, tmp_path, heat="220")
    recipe = plan.read(tmp_path / "recipe.toml", {"heat": "220"})
    assert [job.id for job in plan.replace_older(db, recipe, new, now=2.0)] == [bake, child]
    assert [queue.get(db, i).state for i in (dough, bake, child)] == ["queued", "cancelled", "cancelled"]
    assert [queue.get(db, i).state for i in (*pie, *new)] == ["queued"] * 4
    assert plan.replace_older(db, recipe, new, now=3.0) == []  # said twice, it is done once
