"""jobctl through main(): every command, its exit code, what it prints, what it refuses."""

import contextlib
import io
import json
import os
import re
import time

import pytest
from tower import Tower

import jobs.kind
from supervisor import jobctl, queue, standing
from supervisor.commands import kinds
from supervisor.job import NewJob

FIELDS = {
    "id", "kind", "name", "args", "priority", "lane", "state", "waiting_for", "attempt", "failures", "max_failures",
    "after", "created_at", "started_at", "finished_at", "progress", "error",
}  # fmt: skip


def refused(tower: Tower, *words: object) -> str:
    """What jobctl says when it refuses: one sentence, exit 1, and the queue as it was."""
    before = [tuple(row) for row in tower.db.execute("select * from job order by id")]
    said = tower.ctl(*words, code=1)
    assert said.startswith("jobctl: ")
    assert "Traceback" not in said
    assert [tuple(row) for row in tower.db.execute("select * from job order by id")] == before
    return said


def usage(*words: str) -> str:
    """What argparse says to wrong usage, exit 2."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
        jobctl.main(list(words))
    assert end.value.code == 2
    return err.getvalue()


# ── add ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_add_prints_the_id_alone(tower):
    assert tower.ctl("add", "sleep") == "1\n"
    assert json.loads(tower.ctl("add", "sleep", "--json")) == {"id": 2}


def test_add_takes_all_that_a_job_has(tower):
    first = tower.add("sleep")
    job = tower.shown(tower.add(
        "sleep", "--name", "nap", "--priority", -2, "--lane", "cpu", "--after", first, "--max-failures", 9,
        seconds="1e1", tick_s=0.25,
    ))  # fmt: skip
    assert (job["name"], job["priority"], job["lane"], job["after"], job["max_failures"]) == ("nap", -2, "cpu", [1], 9)
    assert job["args"] == {"seconds": 10.0, "tick_s": 0.25}


def test_args_come_from_a_file_and_set_goes_over_them(tower, tmp_path):
    (tmp_path / "args.json").write_text('{"seconds": 5, "tick_s": 0.5}')
    job = tower.add("sleep", "--args", tmp_path / "args.json", seconds=7)
    assert tower.job(job).args == {"seconds": 7.0, "tick_s": 0.5}


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "one JSON object"), ("[1]", "no JSON object, but list"), (None, "No such file")]
)
def test_an_args_file_that_is_none_is_refused(tower, tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "args.json").write_text(content)
    assert sentence in refused(tower, "add", "sleep", "--args", tmp_path / "args.json")


def test_a_command_is_taken_as_it_is_with_its_folder_and_environment(tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASTE", "sweet")
    args = tower.job(tower.add("command", argv=("echo", "--name", "a b", "--", "$HOME"))).args
    assert args["argv"] == ["echo", "--name", "a b", "--", "$HOME"]
    assert (args["cwd"], args["env"]["TASTE"]) == (str(tmp_path), "sweet")
    assert tower.job(1).preemptible is False
    assert tower.job(tower.add("command", preemptible="true", argv=("true",))).preemptible is True


@pytest.mark.parametrize(
    ("words", "low_s", "high_s"),
    [(("--in", "90s"), 90, 90), (("--in", "1h30m"), 5400, 5400), (("--in", "1.5d"), 129600, 129600),
     (("--at", "2100-01-01T00:00"), 1e9, 1e10), (("--at", "03:00"), 0, 86400 + 3600)],
)  # fmt: skip
def test_not_before(tower, words, low_s, high_s):
    job = tower.job(tower.add("sleep", *words))
    assert low_s <= job.available_at - job.created_at <= high_s


def test_at_an_hour_means_the_next_time_the_clock_shows_it(tower):
    job = tower.job(tower.add("sleep", "--at", "03:07"))
    assert time.strftime("%H:%M:%S", time.localtime(job.available_at)) == "03:07:00"
    assert job.available_at > job.created_at


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("slep",), "there is no kind 'slep': take one of"),
        (("sleep", "--set", "second=1"), "sleep has no setting 'second': it takes seconds=1.0, tick_s=0.1"),
        (("sleep", "--set", "seconds=long"), "seconds='long' does not fit: it takes a number"),
        (("sleep", "--set", "seconds=nan"), "it takes a number"),
        (("sleep", "--set", "seconds"), "--set takes key=value, not 'seconds'"),
        (("sleep", "--set", "seconds=-1"), "sleep takes seconds >= 0"),
        (("sleep", "--after", "99"), "there is no job 99: `jobctl list`"),
        (("sleep", "--in", "soon"), "--in takes a duration like"),
        (("sleep", "--at", "25:00"), "--at takes 03:00 or"),
        (("sleep", "--at", "tomorrow"), "--at takes 03:00 or"),
        (("command",), "a command takes a program"),
        (("command", "--", "no-such-program"), "there is no program 'no-such-program'"),
        (("command", "--"), "behind two dashes: command -- PROGRAM"),
        (("sleep", "--", "true"), "only kind `command` takes a program after --"),
        (("sleep", "--priority", "9" * 30), "too large"),
        (("sleep", "--after", "9" * 30), "too large"),
        (("sleep", "--max-failures", "9" * 30), "too large"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_is_queued(tower, words, sentence):
    assert sentence in refused(tower, "add", *words)


# ── moving ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_resume_cancel_retry(tower):
    first, second = tower.add("sleep"), tower.add("sleep")
    for words, state in (
        (("pause",), "paused"), (("resume",), "queued"), (("cancel",), "cancelled"), (("retry",), "queued"),
    ):  # fmt: skip
        assert tower.ctl(*words, first, second) == ""
        assert [tower.job(i).state for i in (first, second)] == [state] * 2


def test_what_was_cancelled_long_ago_ended_then_though_it_is_cancelled_again(tower):
    job = tower.add("sleep")
    queue.cancel(tower.db, job, now=1000.0)
    before = tower.events(job)
    tower.ctl("cancel", job)
    assert tower.job(job).finished_at == 1000.0
    assert tower.events(job) == before


@pytest.mark.parametrize("act", ["pause", "resume", "cancel", "retry"])
def test_all_of_them_or_none_when_one_is_refused(tower, act):
    job = tower.add("sleep")
    if act == "resume":
        tower.ctl("pause", job)
    if act == "retry":
        tower.ctl("cancel", job)
    assert "there is no job 99" in refused(tower, act, job, 99)


@pytest.mark.parametrize(
    ("act", "whom"),
    [
        ("pause", ", --all"),
        ("resume", ", --all"),
        ("cancel", ""),
        ("retry", ", --all-failed"),
        ("edit", ""),
        ("tag", ""),
    ],
)
def test_nobody_named_is_refused(tower, act, whom):
    assert f"{act} whom? Give ids{whom}, or a filter" in refused(tower, act)


@pytest.mark.parametrize("words", [("add", "sleep", "--name"), ("note", 1), ("list", "--name"), ("tag", 1)])
def test_bytes_that_are_no_text_are_refused_with_a_sentence(tower, words):
    tower.add("sleep")
    said = refused(tower, *words, ("+" if words[0] == "tag" else "") + "\udcff")
    assert "it takes text in UTF-8" in said or "is no tag" in said


def test_the_whole_queue_is_paused_and_resumed(tower):
    tower.ctl("pause", "--all")
    assert json.loads(tower.ctl("status", "--json"))["paused"] is True
    assert "PAUSED" in tower.ctl("status")
    tower.ctl("resume", "--all")
    assert queue.is_paused(tower.db) is False


@pytest.mark.parametrize("words", [("--kind", "sleep"), (1,), ("--dry-run",), ("--name", "n*", "--dry-run")])
@pytest.mark.parametrize("act", ["pause", "resume"])
def test_the_whole_queue_and_some_of_it_is_neither(tower, act, words):
    tower.add("sleep")
    queue.set_paused(tower.db, act == "resume")
    assert f"{act} whom? --all is the whole queue" in refused(tower, act, "--all", *words)
    assert queue.is_paused(tower.db) is (act == "resume")


def test_priority_takes_ids_and_then_a_number(tower):
    ids = [tower.add("sleep") for _ in range(2)]
    tower.ctl("priority", *ids, 7)
    assert [tower.job(i).priority for i in ids] == [7, 7]
    tower.ctl("priority", ids[0], -7)
    assert tower.job(ids[0]).priority == -7
    assert "takes ids, or a filter, and then a number" in refused(tower, "priority", 7)
    assert "there is no job 99" in refused(tower, "priority", ids[0], 99, 1)
    assert "too large" in refused(tower, "priority", ids[0], "9" * 30)


def test_edit_changes_args_and_refuses_bad_ones(tower):
    job = tower.add("sleep", seconds=3, tick_s=0.5)
    tower.ctl("edit", job, "--set", "seconds=4")
    assert tower.job(job).args == {"seconds": 4.0, "tick_s": 0.5}
    assert "sleep has no setting 'x'" in refused(tower, "edit", job, "--set", "x=1")
    assert "there is no job 99" in refused(tower, "edit", 99, "--set", "seconds=1")


def test_a_program_that_is_edited_to_be_preemptible_is_so(tower):
    job = int(tower.ctl("add", "command", "--", "true"))
    assert tower.job(job).preemptible is False
    tower.ctl("edit", job, "--set", "preemptible=true")
    assert tower.job(job).preemptible is True
    tower.ctl("edit", job, "--set", "preemptible=false")
    assert tower.job(job).preemptible is False


def test_one_that_an_evergreen_made_stays_preemptible_when_it_is_edited(tower):
    tower.ctl("evergreen", "add", "spare", "command", "--", "true")
    made = standing.claim(tower.db, now=time.time())
    queue.release(tower.db, made.id, made.attempt, "for the edit", now=time.time())
    tower.ctl("edit", made.id, "--set", "argv=false")
    assert tower.job(made.id).preemptible is True


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_has_all_that_was_promised(tower):
    first = tower.add("sleep")
    shown = tower.shown(tower.add("sleep", "--after", first))
    assert shown.keys() >= FIELDS
    assert shown["progress"] == {"done": 0.0, "total": 0.0, "unit": "", "metrics": {}}
    assert (shown["state"], shown["attempt"], shown["after"], shown["error"]) == ("queued", 0, [first], None)
    assert shown["waiting_for"] == f"job {first} (queued)"
    assert [event["what"] for event in shown["events"]] == ["added"]
    text = tower.ctl("show", first)
    assert "kind         sleep" in text
    assert str(tower.home.log(first)) in text


def test_show_hides_what_sounds_secret(tower, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_tell_nobody")
    job = tower.add("command", argv=("true",))
    for words in (["show", job, "--json"], ["show", job], ["list", "--json"]):
        assert "hf_tell_nobody" not in tower.ctl(*words)
    assert tower.shown(job)["args"]["env"]["HF_TOKEN"] == "(hidden)"
    assert tower.job(job).args["env"]["HF_TOKEN"] == "hf_tell_nobody"  # the job gets the real one


def test_what_is_no_text_in_an_environment_can_be_shown(tower):
    raw = {b"ODD": b"caf\xe9"}
    env = dict(os.environ) | {os.fsdecode(key): os.fsdecode(value) for key, value in raw.items()}
    job = queue.add(tower.db, NewJob("command", {"argv": ["true"], "cwd": "/", "env": env}, "gpu"), now=1.0)
    shown = tower.ctl("show", job, "--json")
    shown.encode()  # a terminal takes it
    json.loads(shown)


def test_list_shows_newest_work_first_and_filters(tower):
    ids = [tower.add("sleep"), tower.add("command", argv=("true",)), tower.add("sleep")]
    tower.ctl("pause", ids[0])

    def listed(*words: object) -> list[int]:
        return [job["id"] for job in json.loads(tower.ctl("list", "--json", *words))]

    assert listed() == ids[::-1]
    assert listed("--state", "paused") == ids[:1]
    assert listed("--state", "paused,queued", "--kind", "sleep") == [ids[2], ids[0]]
    assert listed("--limit", 1) == [ids[2]]
    assert listed("--state", "failed") == []
    assert json.loads(tower.ctl("list", "--json"))[0].keys() >= FIELDS
    assert len(tower.ctl("list").splitlines()) == 4
    assert tower.ctl("list", "--state", "failed") == "no such job\n"
    assert "there is no state 'done'" in refused(tower, "list", "--state", "done")


def test_status_gives_no_share_of_what_says_nothing_of_how_far_it_is(tower):
    job = int(tower.ctl("add", "command", "--", "true"))
    queue.claim(tower.db, "gpu", now=time.time())
    assert "%" not in tower.ctl("status")
    queue.note_progress(tower.db, job, 1, {"done": 3, "total": 4}, now=time.time())
    assert "75%" in tower.ctl("status")


def test_status_tells_how_the_house_is(tower):
    tower.add("sleep")
    facts = json.loads(tower.ctl("status", "--json"))
    assert (facts["jobd"], facts["jobs"], facts["running"], facts["paused"]) == (False, {"queued": 1}, [], False)
    assert "does not run: start it with `jobd -C" in tower.ctl("status")


def test_plan_prints_the_ids_of_the_recipe(tower, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text('name = "r"\n[vars]\ns = 1\n[[job]]\nname = "a"\nkind = "sleep"\nargs = { seconds = "{s}" }\n')
    assert tower.ctl("plan", recipe) == "1\n"
    assert json.loads(tower.ctl("plan", recipe, "--json")) == {"ids": [1]}
    assert tower.ctl("plan", recipe, "--set", "s=2") == "2\n"
    assert "has no variable 'z'" in refused(tower, "plan", recipe, "--set", "z=2")


def test_wait_for_nobody_there_is_refused(tower):
    assert "there is no job 9" in refused(tower, "wait", 9)


@pytest.mark.parametrize("words", [("show",), ("logs",), ("wait",), ("edit",), ("priority",), ("cancel",)])
def test_an_id_beyond_all_ids_is_refused_with_a_sentence(tower, words):
    more = {"edit": ("--set", "seconds=1"), "priority": ("1",)}.get(words[0], ())
    assert refused(tower, *words, "9" * 30, *more)


def test_init_makes_a_home_and_leaves_one_that_is_there(tower, tmp_path):
    where = tmp_path / "new" / "home"
    for _ in range(2):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert jobctl.main(["-C", str(where), "init"]) == 0
        assert out.getvalue() == f"{where}\n"
    assert (where / "queue.db").exists()
    (tmp_path / "file").touch()
    with contextlib.redirect_stderr(io.StringIO()) as err:
        assert jobctl.main(["-C", str(tmp_path / "file" / "x"), "init"]) == 1
    assert "can't be made" in err.getvalue()


# ── usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "words",
    [
        (), ("dance",), ("add",), ("show",), ("show", "x"), ("add", "sleep", "--priority", "high"),
        ("list", "--limit", "0"),
        ("add", "sleep", "--in", "1m", "--at", "03:00"), ("add", "sleep", "--lane", "tpu"), ("logs", "1", "-n", "0"),
        ("list", "--", "x"), ("add", "sleep", "--after", "x"), ("add", "sleep", "--max-failures", "0"), ("wait",),
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_2_with_the_usage(words):
    assert "usage: jobctl" in usage(*words)


@pytest.mark.parametrize("place", ["before", "after"])
def test_home_and_json_stand_before_or_after_the_command(tower, place):
    common = ["-C", str(tower.path), "--json"]
    words = [*common, "list"] if place == "before" else ["list", *common]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert jobctl.main(words) == 0
    assert out.getvalue() == "[]\n"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as end:
        jobctl.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for command in (
        "add", "plan", "list", "show", "priority", "pause", "resume", "cancel", "retry", "edit", "logs", "wait",
        "status", "doctor", "service", "models", "ask", "chat", "run", "init",
    ):  # fmt: skip
        assert f"    {command} " in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "command"), "a command takes a program, behind two dashes"),
        (("evergreen", "add", "spare", "command"), "a command takes a program"),
        (("add", "command", "--set", "argv=true", "nosuch=1"), "env={}"),
    ],
)
def test_what_is_missing_is_said_as_it_is_typed(tower, words, sentence):
    assert sentence in tower.ctl(*words, code=1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("show", "x"), "it takes a whole number, not 'x'"),
        (("add", "sleep", "--after", "1,x"), "it takes a whole number, not 'x'"),
        (("evergreen", "add", "a", "sleep", "--weight", "x"), "it takes a number, not 'x'"),
        (("wait", "1", "--timeout", "soon"), "it takes a duration like 90s, 10m, 1h30m or 2d, not 'soon'"),
    ],
)
def test_wrong_usage_is_told_in_words_of_the_user_not_of_the_code(tower, words, sentence, capsys):
    with pytest.raises(SystemExit) as left:
        jobctl.main(["-C", str(tower.path), *words])
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_queue_that_another_one_keeps_locked_is_said_to_be_so(tower, monkeypatch):
    monkeypatch.setattr("supervisor.db.BUSY_TIMEOUT_S", 0.01)
    other = tower.home.connect()
    other.execute("begin immediate")
    assert "Somebody has been writing to it for long: try again" in tower.ctl("add", "sleep", code=1)
    other.rollback()


def test_kinds_says_what_each_may_be_told_and_what_it_is_when_nothing_is_said(tower):
    page = tower.ctl("kinds")
    assert "train        gpu  Train the GPT on a pack." in page
    assert "pack         cpu  " in page
    page = tower.ctl("kinds", "train")
    assert re.search(r"^  pack= +a path \(needed\)$", page, re.MULTILINE)
    assert re.search(r"^  steps=2000 +a whole number; optimizer steps$", page, re.MULTILINE)
    assert re.search(r"^  betas=0.9,0.95 +a list of numbers", page, re.MULTILINE)
    told = json.loads(tower.ctl("kinds", "sleep", "--json"))
    assert [(one["name"], one["default"], one["needed"]) for one in told["settings"]] == [
        ("seconds", 1.0, False), ("tick_s", 0.1, False),
    ]  # fmt: skip
    assert "there is no kind 'nosuch'" in tower.ctl("kinds", "nosuch", code=1)


def test_a_default_as_kinds_shows_it_can_be_given(tower):
    for kind in jobs.kind.names():
        settings = jobs.kind.settings(kind)
        needed = {one.name: "x" for one in settings if one.needed}
        needed |= {"run": "1"} if kind == "export" else {}  # of two settings it takes one
        given = {one.name: kinds.typed(one.default) for one in settings if one.default != {}}
        assert jobs.kind.parse(kind, given | needed, cwd=tower.path) == jobs.kind.parse(kind, needed, cwd=tower.path)
