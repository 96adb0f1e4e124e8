"""Very many jobs from a file: each checked, all or none."""

import io
import json
import re

import pytest

from supervisor import bulk, lines, queue
from supervisor.job import NewJob


def write(tmp_path, *lines: object):
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def count(tower) -> int:
    return tower.db.execute("select count(*) from job").fetchone()[0]


def test_a_line_has_all_that_a_job_has(tower, tmp_path):
    first = tower.add("sleep")
    path = write(
        tmp_path,
        {"kind": "sleep", "args": {"seconds": 2}, "name": "nap", "priority": -3, "lane": "cpu", "after": [first],
         "max_failures": 7, "key": "a/b", "tags": ["night", "x"], "needs_vram_mib": 100, "stall_s": 60},
        "",
        {"kind": "command", "args": {"argv": ["true"]}, "not_before": 2e9},
    )  # fmt: skip
    assert tower.ctl("add", "--from", path) == "2 jobs: 2 to 3\n"
    job = tower.job(2)
    assert (job.name, job.priority, job.lane, job.blockers, job.max_failures) == ("nap", -3, "cpu", 1, 7)
    assert (job.key, job.needs_vram_mib, job.stall_s, job.args["seconds"]) == ("a/b", 100, 60, 2.0)
    assert tower.shown(2)["tags"] == ["night", "x"]
    program = tower.job(3)
    assert (program.args["argv"], program.available_at, program.preemptible) == (["true"], 2e9, False)
    assert program.args["env"]
    assert tower.shown(3)["origin"]["said"][-2:] == ["--from", str(path)]
    assert tower.events(2) == tower.events(3) == ["added"]
    assert json.loads(tower.ctl("add", "--from", path, "--json"))["ids"] == [2, 4]  # the key is taken


def test_lines_come_from_standard_input_too(tower, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('{"kind": "sleep"}\n' * 3))
    assert tower.ctl("add", "--from", "-") == "3 jobs: 1 to 3\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "it takes a JSON object a line, not '{'"),
        ("[1]", "a JSON object a line, not list"),
        ({"args": {}}, "it needs a kind"),
        ({"kind": "slep"}, "there is no kind 'slep'"),
        ({"kind": "sleep", "arg": {}}, "there is no field 'arg': it takes kind, args"),
        ({"kind": "sleep", "args": {"second": 1}}, "sleep has no setting 'second'"),
        ({"kind": "sleep", "args": {"seconds": -1}}, "sleep takes seconds >= 0"),
        ({"kind": "sleep", "priority": "high"}, 'priority can\'t be "high"'),
        ({"kind": "sleep", "priority": True}, "priority can't be true"),
        ('{"kind": "sleep", "not_before": NaN}', "NaN is no number"),
        ('{"kind": "sleep", "not_before": 1e999}', "not_before can't be"),
        ('{"kind": "sleep", "name": "\\ud800"}', "surrogates not allowed"),
        ("[" * 100_000, "it takes a JSON object a line"),
        ({"kind": "sleep", "lane": "tpu"}, "there is no lane 'tpu'"),
        ({"kind": "sleep", "max_failures": 0}, "max_failures is at least 1"),
        ({"kind": "sleep", "after": ["x"]}, "after takes ids, not 'x'"),
        ({"kind": "sleep", "tags": ["a b"]}, "'a b' is no tag"),
        ({"kind": "command", "args": {"argv": ["no-such-program"]}}, "there is no program 'no-such-program'"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_nothing_is_queued(tower, tmp_path, line, sentence):
    said = tower.ctl("add", "--from", write(tmp_path, {"kind": "sleep"}, {"kind": "sleep"}, line), code=1)
    assert "line 3: " in said
    assert sentence in said
    assert "Nothing of it was queued" in said
    assert count(tower) == 0


@pytest.mark.parametrize("line", [{"kind": "sleep", "after": [99]}, {"kind": "sleep", "priority": 9**30}])
def test_what_only_the_queue_can_tell_undoes_all_too(tower, tmp_path, line):
    tower.ctl("add", "--from", write(tmp_path, {"kind": "sleep"}, line, {"kind": "sleep"}), code=1)
    assert count(tower) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("sleep", "--from", "x"), "name no other beside it"), (("--from", "nowhere.jsonl"), "No such file")],
)
def test_a_file_that_is_none_is_refused(tower, words, sentence):
    assert sentence in tower.ctl("add", *words, code=1)


def test_a_file_that_is_no_text_is_refused(tower, tmp_path):
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b'{"kind": "sleep"}\n\xff\xfe\x00')
    assert "it takes text in UTF-8" in tower.ctl("add", "--from", path, code=1)


@pytest.mark.parametrize(
    "words",
    [
        ("--priority", 7), ("--name", "n"), ("--tag", "t"), ("--lane", "cpu"), ("--after", 1), ("--at", "03:00"),
        ("--in", "5h"), ("--max-failures", 9), ("--vram", 100), ("--stall", "1h"), ("--set", "seconds=3"),
        ("--args", "args.json"),
    ],
)  # fmt: skip
def test_what_is_said_of_one_job_beside_very_many_is_refused_not_dropped(tower, tmp_path, words):
    said = tower.ctl("add", "--from", write(tmp_path, {"kind": "sleep"}), *words, code=1)
    assert f"{words[0]} beside --from says nothing" in said
    assert re.search(r"the field '(\w+)'", said)[1] in lines.FIELDS
    assert count(tower) == 0
    assert count(tower) == 0


def test_many_are_what_they_would_be_one_by_one(db, tmp_path):
    shared = {"A": "1"}
    new = [
        NewJob("sleep", {"n": 1}, "gpu"),
        NewJob("command", {"argv": ["x"], "env": shared}, "cpu", name="x", priority=-4, available_at=5.0,
               max_failures=9, needs_vram_mib=3, stall_s=2.0, origin={"user": "me"}, preemptible=False),
        NewJob("command", {"argv": ["y"], "env": shared}, "gpu", key="k"),
        NewJob("sleep", {}, "gpu", after=(1, 2)),
    ]  # fmt: skip
    ids = bulk.add_many(db, new, now=7.0)
    assert ids == [1, 2, 3, 4]
    again = [queue.add(db, job._replace(key=None), now=7.0) for job in new]
    for many, alone in zip(ids, again, strict=True):
        skip = ("id", "key", "env_id", "origin_id")
        left, right = ({k: v for k, v in vars(queue.get(db, i)).items() if k not in skip} for i in (many, alone))
        assert left == right
    history = "select attempt, at, what, detail from event where job_id = ?"
    assert [tuple(r) for r in db.execute(history, (1,))] == [tuple(r) for r in db.execute(history, (5,))]


def test_who_reads_a_million_lines_keeps_nobody_from_the_queue(tower, tmp_path):
    others = []

    def read():
        for number in range(3):
            others.append(queue.add(tower.db, NewJob("sleep", {}, "gpu"), now=1.0))  # another connection
            yield NewJob("sleep", {"n": number}, "gpu")

    mine = bulk.add_many(tower.home.connect(), read(), now=2.0)
    assert (others, mine) == ([1, 2, 3], [4, 5, 6])
    assert [tower.job(job_id).args for job_id in mine] == [{"n": 0}, {"n": 1}, {"n": 2}]


@pytest.mark.parametrize("wrong", [{"lane": "tpu"}, {"max_failures": 0}, {"needs_vram_mib": -1}, {"stall_s": 0.0}])
def test_the_laws_of_the_schema_hold_for_many_as_for_one(db, wrong):
    with pytest.raises(Exception, match="CHECK constraint failed"):
        bulk.add_many(db, [NewJob("sleep", {}, "gpu"), NewJob(**{"kind": "sleep", "args": {}, "lane": "gpu"} | wrong)],
                       now=1.0)  # fmt: skip
    assert db.execute("select count(*) from job").fetchone()[0] == 0
    assert db.execute("pragma ignore_check_constraints").fetchone()[0] == 0
