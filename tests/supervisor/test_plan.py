"""A recipe becomes jobs, once; planned again it finds them."""

import pytest

from supervisor import plan, queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import NewJob

RECIPE = """
name = "cake"
[vars]
seconds = 2
who = "world"
[[job]]
name = "bake"
kind = "sleep"
args = { seconds = "{seconds}", tick_s = 0.5 }
[[job]]
name = "greet"
kind = "command"
after = ["bake"]
priority = 4
lane = "cpu"
max_failures = 7
args = { argv = ["echo", "hello {who} from {name}"] }
[finale]
run = "{name}"
"""


A_JOB = "[[job]]\nname = 'a'\nkind = 'sleep'\n"


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def make(tmp_path, text=RECIPE, **overrides) -> plan.Recipe:
    (tmp_path / "recipe.toml").write_text(text)
    return plan.read(tmp_path / "recipe.toml", overrides)


def planned(db, home, tmp_path, text=RECIPE, **overrides) -> list[int]:
    return plan.plan(db, home, make(tmp_path, text, **overrides), base=tmp_path, now=1.0)


def test_a_recipe_becomes_jobs_with_all_it_says(db, home, tmp_path):
    bake, greet = (queue.get(db, i) for i in planned(db, home, tmp_path))
    assert (bake.kind, bake.name, bake.args, bake.blockers) == ("sleep", "bake", {"seconds": 2.0, "tick_s": 0.5}, 0)
    assert (greet.name, greet.lane, greet.priority, greet.max_failures) == ("greet", "cpu", 4, 7)
    assert greet.args["argv"] == ["echo", "hello world from cake"]
    assert greet.blockers == 1
    assert make(tmp_path).finale == {"run": "cake"}


def test_planned_twice_it_is_the_same_jobs(db, home, tmp_path):
    ids = planned(db, home, tmp_path)
    assert planned(db, home, tmp_path) == ids
    assert planned(db, home, tmp_path, seconds="2") == ids  # the same value, written otherwise
    assert db.execute("select count(*) from job").fetchone()[0] == 2


def test_an_edit_makes_new_jobs_from_the_edit_on(db, home, tmp_path):
    bake, greet = planned(db, home, tmp_path)
    same, other = planned(db, home, tmp_path, who="moon")
    assert same == bake
    assert other != greet
    new_bake, new_greet = planned(db, home, tmp_path, seconds="3")
    assert new_bake != bake
    assert new_greet not in (greet, other)  # what it comes after is another job now


def test_another_name_makes_another_project(db, home, tmp_path):
    assert not set(planned(db, home, tmp_path)) & set(planned(db, home, tmp_path, name="pie"))


def test_what_comes_with_the_house_can_be_planned_by_name_only_of_kinds_there_are(db, home, tmp_path):
    with pytest.raises(Refused, match=r"recipe cake, job bake: there is no kind 'slep'"):
        planned(db, home, tmp_path, RECIPE.replace('"sleep"', '"slep"'))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name =", "is not a recipe"),
        ("\xff", "is not a recipe"),
        ("name = 'x'", r"holds no \[\[job\]\]"),
        ("[[job]]\nname = 'a'", "look at 'kind'"),
        ("[[job]]\nkind = 'sleep'", "look at 'name'"),
        ("[[job]]\nname = 'a'\nkind = 'sleep'\nargz = {}", "look at 'argz'"),
        ("job = 3", "job = 3 does not fit"),
        ("job = [1]", r"a \[\[job\]\] is a table, not 1"),
        ("vars = 3\n[[job]]\nname = 'a'\nkind = 'sleep'\n", r"it takes a table, \[vars\]"),
        ("finale = 3\n[[job]]\nname = 'a'\nkind = 'sleep'\n", r"it takes a table, \[finale\]"),
        (A_JOB + "after = 'b'", "it takes a list of names"),
        (A_JOB + "after = [[1]]", "it takes a list of names"),
        (A_JOB + "priority = 'high'", "priority = 'high' of job 'a' does not fit: it takes a whole number"),
        (A_JOB + "priority = 1.7", "it takes a whole number"),
        (A_JOB + "max_failures = 0", "1 or more"),
        (A_JOB + "max_failures = true", "1 or more"),
        (A_JOB + "lane = 'tpu'", "it takes gpu or cpu"),
        (A_JOB + "args = 3", "it takes a table"),
        (A_JOB + "[[job]]\nname = 'a'\nkind = 'sleep'", "there are 2 jobs called 'a'"),
        ("[[job]]\nname = ['a']\nkind = 'sleep'", "name = .* does not fit: it takes text"),
        ("[[job]]\nname = 'a'\nkind = ['sleep']", "kind = .* does not fit: it takes text"),
        (A_JOB + "[finale]\nquestions = 'When?'", "questions = 'When.' does not fit: it takes a list"),
        ("name = 'demo/x'\n" + A_JOB, "a recipe's name takes no slash, and it is 'demo/x'"),
    ],
)
def test_a_file_that_is_no_recipe_gets_a_sentence(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=sentence):
        plan.read(path, {})


def test_a_number_of_a_job_may_come_from_a_variable_that_was_set(db, home, tmp_path):
    text = "[vars]\nfirst = 1\n" + A_JOB + "priority = '{first}'\nmax_failures = '{first}'"
    [job] = planned(db, home, tmp_path, text, first="7")
    assert (queue.get(db, job).priority, queue.get(db, job).max_failures) == (7, 7)


def test_a_recipe_that_is_not_there_says_where_they_lie(tmp_path):
    with pytest.raises(Refused, match="jobs/recipes/"):
        plan.read(tmp_path / "no.toml", {})


def test_an_unknown_variable_is_named_with_those_there_are(tmp_path):
    with pytest.raises(Refused, match=r"recipe\.toml has no variable 'whom': it has name, seconds, who"):
        make(tmp_path, whom="x")


@pytest.mark.parametrize(
    ("was", "now", "sentence"),
    [
        ('after = ["bake"]', 'after = ["brew"]', "recipe cake: greet comes after 'brew', which is not above it"),
        ("tick_s = 0.5", "ticks = 1", "recipe cake, job bake: sleep has no setting 'ticks'"),
        ("tick_s = 0.5", "tick_s = 0", "recipe cake, job bake: sleep takes seconds"),
        ('"echo"', '"no-such-program"', "recipe cake, job greet: there is no program"),
    ],
)
def test_a_recipe_with_one_bad_job_queues_none_at_all(db, home, tmp_path, was, now, sentence):
    with pytest.raises(Refused, match=sentence):
        planned(db, home, tmp_path, RECIPE.replace(was, now))
    assert db.execute("select count(*) from job").fetchone()[0] == 0


def test_the_family_is_the_jobs_and_all_that_came_of_them(db, home, tmp_path):
    ids = planned(db, home, tmp_path)
    child = queue.add(db, NewJob("sleep", {}, "gpu", parent_id=ids[0]), now=1.0)
    grandchild = queue.add(db, NewJob("sleep", {}, "gpu", parent_id=child), now=1.0)
    queue.add(db, NewJob("sleep", {}, "gpu"), now=1.0)
    assert plan.family(db, ids) == [*ids, child, grandchild]
