"""Which jobs are meant, and what may be done to very many of them at once."""

import json
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from supervisor import bulk, filters, jobctl, queue, tags
from supervisor.filters import Filter
from supervisor.job import NewJob

NOW = 1_000_000.0
MARKS = {"failures": 1, "losses": 1, "idle_releases": 3, "outgrowths": 2, "note": "'n'", "error": "'e'", "cause": "'c'"}


def add(db: sqlite3.Connection, name: str = "nap", kind: str = "sleep", **more) -> int:
    return queue.add(db, NewJob(kind, more.pop("args", {}), "gpu", name=name, **more), now=NOW)


def one_of_each(db: sqlite3.Connection) -> dict[str, int]:
    """Jobs in every state there is, and in the states between."""
    ids = {}
    for state in ("running", "asked to pause", "asked to cancel", "backing off", "succeeded", "failed", "held"):
        ids[state] = add(db, state, priority=9)
        queue.claim(db, "gpu", now=NOW)
    for wish in ("pause", "cancel"):
        getattr(queue, wish)(db, ids[f"asked to {wish}"], now=NOW)
    queue.retry(db, ids["backing off"], 1, "why", now=NOW)
    queue.succeed(db, ids["succeeded"], 1, now=NOW)
    queue.fail(db, ids["failed"], 1, "why", now=NOW)
    queue.release(db, ids["held"], 1, "the machine went down", now=NOW, state="paused")
    ids |= {state: add(db, state) for state in ("queued", "paused", "cancelled")}
    queue.pause(db, ids["paused"], now=NOW)
    queue.cancel(db, ids["cancelled"], now=NOW)
    db.execute(f"update job set {', '.join(f'{mark} = {value}' for mark, value in MARKS.items())}")
    return ids


def rows(db: sqlite3.Connection) -> list[tuple]:
    return [tuple(row) for row in db.execute("select * from job order by id")]


@pytest.mark.parametrize("act", ["pause", "resume", "cancel", "retry", "priority"])
def test_many_at_once_become_what_they_become_one_by_one(db, tmp_path, act):
    ids = one_of_each(db)
    slow = sqlite3.connect(tmp_path / "slow.db", isolation_level=None)
    slow.row_factory = sqlite3.Row
    db.backup(slow)
    count = bulk.apply(db, act, Filter(), now=NOW + 1, priority=7)
    alone = {"pause": queue.pause, "resume": queue.resume, "cancel": queue.cancel, "retry": queue.again}
    changed = bulk.who(slow, act, Filter(), now=NOW + 1)
    for job_id in changed:
        if act == "priority":
            queue.set_priority(slow, job_id, 7, now=NOW + 1)
        else:
            alone[act](slow, job_id, now=NOW + 1)
    assert rows(db) == rows(slow)
    assert count == len(changed) > 0
    history = "select job_id, attempt, at, what, detail from event order by job_id, id"
    assert [tuple(row) for row in db.execute(history)] == [tuple(row) for row in slow.execute(history)]
    assert ids["succeeded"] not in changed
    slow.close()


def test_all_or_none_of_many(db):
    one_of_each(db)
    before = rows(db)
    db.execute("create trigger no before update on job when old.name = 'paused' begin select raise(abort, 'no'); end")
    with pytest.raises(sqlite3.IntegrityError):
        bulk.apply(db, "cancel", Filter(), now=NOW + 1)
    assert rows(db) == before


def test_a_filter_finds_by_state_kind_name_tag_time_and_text(db):
    first = add(db, "night-1", args={"seconds": 77})
    second = add(db, "night-2", "command")
    third = queue.add(db, NewJob("sleep", {}, "gpu", name="100%_sure"), now=NOW + 50)
    tags.change(db, [first, third], ["good"])
    queue.set_memo(db, second, "the one with the odd loss", now=NOW)
    queue.cancel(db, first, now=NOW + 10)

    def found(**asked) -> set[int]:
        wanted = Filter(**asked)
        in_list = {job.id for job in filters.newest(db, wanted, 40)}
        assert set(filters.ids(db, wanted)) == in_list  # what list shows is what a bulk act would take
        return in_list

    assert found() == {first, second, third}
    assert found(states=("queued",)) == {second, third}
    assert found(kinds=("command",)) == {second}
    assert found(states=("queued", "cancelled"), kinds=("sleep",)) == {first, third}
    assert found(name="night-*") == {first, second}
    assert found(name="night-?", states=("cancelled",)) == {first}
    assert found(tag="good") == {first, third}
    assert found(since=NOW + 5) == {first, third}
    assert found(text="odd LOSS") == {second}
    assert found(text="77") == {first}
    assert found(text="%_") == {third}  # no wildcards there
    assert found(name="nothing") == set()


def test_the_first_page_is_what_sorting_them_all_would_give(db):
    one_of_each(db)
    for number in range(30):
        job_id = queue.add(db, NewJob(("sleep", "command", "train")[number % 3], {}, "gpu"), now=NOW + number * 7 % 31)
        if number % 4 == 0:
            queue.cancel(db, job_id, now=NOW + 60 - number)
    slow = db.execute(f"select id from job order by state = 'running' desc, {filters.TOUCHED} desc, id desc limit 12")
    assert [job.id for job in filters.newest(db, Filter(), 12)] == [row["id"] for row in slow]


@pytest.mark.parametrize(
    "sql",
    [
        f"select id {queue.DUE.replace('?', '5')} limit 1",
        "select 1 from job where later = 1 and available_at <= 5 limit 1",
        "update job set later = 0 where later = 1 and available_at <= 5",
        f"select id, {filters.TOUCHED} as at from job where state = 'failed' and kind = 'x'"
        " order by at desc, id desc limit 9",
        filters.NEXT_KIND.replace("?", "'a'"),
        "select * from job where state = 'running' order by id",
        "select id, wish from job where state = 'running' and wish is not null",
        "select 1 from job where state = 'queued' and blockers = 0 limit 1",
        "select available_at as at from job indexed by job_later where state = 'queued' and blockers = 0"
        " and available_at > 5 order by available_at limit 1",
        "select count(*) from job indexed by job_touched where state = 'queued'",
        "select count(*) from job indexed by job_put_off where later = 1 and state = 'queued'",
        "select id from job indexed by job_put_off where later = 1 and state = 'queued' and blockers = 0"
        " and lane = 'gpu' order by available_at limit 50",
        "delete from job where id = 7",
    ],
)
def test_what_is_asked_often_reads_no_table_from_end_to_end(db, sql):
    plan = [row["detail"] for row in db.execute(f"explain query plan {sql}")]
    assert plan
    assert not [step for step in plan if step.startswith("SCAN job") and "INDEX" not in step]
    assert not [step for step in plan if "TEMP B-TREE" in step and "state = 'running'" not in sql]


# ── from the command line ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_bulk_act_says_how_many_and_a_dry_run_changes_nothing(tower):
    jobs = [tower.add("sleep", "--name", f"night-{number}", "--tag", "night") for number in range(3)]
    other = tower.add("sleep")
    said = tower.ctl("cancel", "--name", "night-*", "--dry-run")
    assert "3 jobs would be cancelled; nothing was changed" in said
    assert "night-1" in said
    assert {tower.job(job).state for job in jobs} == {"queued"}
    assert tower.ctl("cancel", "--tag", "night") == "3 jobs cancelled\n"
    assert {tower.job(job).state for job in jobs} == {"cancelled"}
    assert tower.job(other).state == "queued"
    assert json.loads(tower.ctl("retry", "--state", "cancelled", "--json")) == {"changed": 3}
    assert tower.ctl("priority", "--name", "night-2", 5) == "1 job changed\n"
    assert [tower.job(job).priority for job in jobs] == [0, 0, 5]
    assert tower.ctl("edit", "--tag", "night", "--set", "seconds=9") == "3 jobs edited\n"
    assert [tower.job(job).args["seconds"] for job in jobs] == [9.0] * 3


def test_retry_all_failed_leaves_what_was_cancelled(tower):
    failed, cancelled = tower.add("sleep"), tower.add("sleep")
    queue.claim(tower.db, "gpu", now=time.time())
    queue.fail(tower.db, failed, 1, "why", now=time.time())
    tower.ctl("cancel", cancelled)
    assert tower.ctl("retry", "--all-failed") == "1 job queued again\n"
    assert (tower.job(failed).state, tower.job(cancelled).state) == ("queued", "cancelled")


def test_retry_all_failed_of_a_name_leaves_the_others_that_failed(tower):
    ids = [tower.add("sleep", "--name", name) for name in ("mine", "other")]
    for job_id in ids:
        queue.claim(tower.db, "gpu", now=time.time())
        queue.fail(tower.db, job_id, 1, "why", now=time.time())
    assert tower.ctl("retry", "--all-failed", "--name", "mine") == "1 job queued again\n"
    assert [tower.job(job_id).state for job_id in ids] == ["queued", "failed"]
    assert "take --state alone" in tower.ctl("retry", "--all-failed", "--state", "cancelled", code=1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("cancel", 1, "--state", "queued"), "Either ids or a filter, not both"),
        (("cancel", 1, "--dry-run"), "--dry-run goes with a filter"),
        (("cancel", "--state", "quiet"), "there is no state 'quiet'"),
        (("cancel", "--since", "long"), "--since takes a duration"),
        (("edit", "--state", "queued", "--set", "seconds=-1"), "sleep takes seconds >= 0"),
        (("tag", 1, "+"), "'' is no tag"),
        (("tag", 1, "good"), "tag takes ids, +tags to set"),
        (("tag", 9, "+good"), "there is no job 9"),
        (("note", 9, "x"), "there is no job 9"),
        (("prune",), "prune what?"),
    ],
)
def test_a_wrong_choice_is_refused_and_changes_nothing(tower, words, sentence):
    tower.add("sleep")
    before = [tuple(row) for row in tower.db.execute("select * from job")]
    assert sentence in tower.ctl(*words, code=1)
    assert [tuple(row) for row in tower.db.execute("select * from job")] == before


def test_tags_and_notes_of_a_job(tower):
    job, other = tower.add("sleep"), tower.add("sleep")
    tower.ctl("tag", job, other, "+good", "+v1.2/night")
    tower.ctl("tag", job, "-good", "+kept")
    assert tower.ctl("tag", job, other) == f"{job}  kept v1.2/night\n{other}  good v1.2/night\n"
    tower.ctl("note", job, "the", "best so far")
    assert (tower.shown(job)["memo"], tower.shown(job)["tags"]) == ("the best so far", ["kept", "v1.2/night"])
    assert f"{job} " in tower.ctl("list", "--text", "best so")
    tower.ctl("note", job, "it overfits:\nless steps")
    assert "memo         it overfits:\n             less steps\n" in tower.ctl("show", job)
    tower.ctl("note", job)
    assert tower.shown(job)["memo"] == ""


# ── edit, in an editor ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def editor(tmp_path, monkeypatch):
    """An editor that runs a line of Python on the text it is given."""

    def write(line: str) -> None:
        script = f"import sys, json; f = sys.argv[1]; text = open(f).read(); {line}; open(f, 'w').write(text)"
        (tmp_path / "ed.py").write_text(script)
        monkeypatch.setenv("VISUAL", f"{sys.executable} {tmp_path}/ed.py")

    return write


def test_what_is_called_tag_is_not_the_command_tag(tower, monkeypatch, capsys):
    monkeypatch.chdir(tower.path.parent)
    Path("tag").symlink_to(tower.path)
    assert jobctl.main(["-C", "tag", "logs", "9", "-n", "3"]) == 1
    assert "there is no job 9" in capsys.readouterr().err
    assert jobctl.main(["-C", "tag", "add", "sleep"]) == 0
    assert jobctl.main(["--json", "-C", "tag", "tag", "1", "+good", "-bad"]) == 0


def test_edit_without_set_opens_an_editor_on_the_args(tower, editor):
    job = tower.add("sleep", seconds=3)
    editor("text = text.replace('3.0', '4.5')")
    tower.ctl("edit", job)
    assert tower.job(job).args["seconds"] == 4.5


def test_where_a_filter_finds_nobody_no_editor_opens(tower, editor):
    editor("raise SystemExit(3)")
    assert tower.ctl("edit", "--name", "nobody*") == "0 jobs edited\n"


def test_a_job_that_is_named_twice_is_edited_and_retried_once(tower):
    job = tower.add("sleep")
    tower.ctl("edit", job, job, "--set", "seconds=5")
    assert tower.job(job).args["seconds"] == 5
    tower.ctl("cancel", job, job)
    tower.ctl("retry", job, job)
    assert tower.job(job).state == "queued"


def test_several_are_edited_at_once_all_or_none(tower, editor):
    jobs = [tower.add("sleep", seconds=3), tower.add("sleep", seconds=5)]
    editor("text = text.replace('3.0', '4').replace('5.0', '-5')")
    assert "job 2: sleep takes seconds >= 0" in tower.ctl("edit", *jobs, code=1)
    assert [tower.job(job).args["seconds"] for job in jobs] == [3, 5]
    editor("text = text.replace('3.0', '4').replace('5.0', '6')")
    tower.ctl("edit", *jobs)
    assert [tower.job(job).args["seconds"] for job in jobs] == [4, 6]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("text = '{'", "that is not JSON"),
        ("text = '[]'", "take a JSON object, not list"),
        ("text = json.dumps({'second': 1})", "sleep has no setting 'second'"),
        ("raise SystemExit(3)", "ended with 3: nothing was changed"),
    ],
)
def test_a_wrong_edit_gets_the_sentence_and_changes_nothing(tower, editor, line, sentence):
    job = tower.add("sleep", seconds=3)
    editor(line)
    assert sentence in tower.ctl("edit", job, code=1)
    assert tower.job(job).args["seconds"] == 3


def test_a_wrong_edit_may_be_edited_again_as_it_was_left(tower, editor, monkeypatch):
    job = tower.add("sleep", seconds=3)
    editor("text = text.replace('-7', '7') if '-7' in text else text.replace('3.0', '-7')")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "")
    tower.ctl("edit", job)
    assert tower.job(job).args["seconds"] == 7


def test_the_environment_of_a_command_is_not_shown_to_the_editor_and_stays(tower, editor, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hush")
    job = tower.add("command", argv=("true",))
    editor("assert 'hush' not in text; text = text.replace('true', 'false')")
    tower.ctl("edit", job)
    assert tower.job(job).args["argv"] == ["false"]
    assert tower.job(job).args["env"]["SOME_TOKEN"] == "hush"
