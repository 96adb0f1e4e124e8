"""Where a supervisor died: what its children left on disk, and what becomes of the jobs that ran."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supervisor import meta, queue, recovery
from supervisor.children import cgroup, tree
from supervisor.home import Home
from supervisor.job import Job, NewJob
from supervisor.settings import Settings

NOW = 1000.0


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def job_that_ran(db, home: Home, outcome: object = None) -> Job:
    """A job in its second attempt, as a supervisor that was killed left it."""
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", priority=3), now=NOW)
    queue.claim(db, "gpu", now=NOW)
    queue.release(db, job_id, 1, "yield", now=NOW)
    job = queue.claim(db, "gpu", now=NOW)
    home.workdir(job_id).mkdir(parents=True)
    if outcome is not None:
        text = outcome if isinstance(outcome, str) else json.dumps(outcome)
        (home.workdir(job_id) / "outcome.json").write_text(text)
    return job


def recover(db, home: Home) -> None:
    recovery.recover(db, home, "home", Settings(), cgroup.Cgroups(wanted=False), lambda: False)


@pytest.mark.parametrize(
    "outcome",
    [
        None, "", "{", "[]", "7", {}, {"attempt": 2}, {"attempt": 2, "exit": 75}, {"attempt": 2, "exit": 64},
        {"attempt": 2, "exit": 1}, {"attempt": 2, "exit": "0"},
        {"attempt": 1, "exit": 0},  # of the attempt before
        {"exit": 0},
    ],
)  # fmt: skip
def test_a_job_that_did_not_say_it_was_done_runs_again_blamelessly(db, home, outcome):
    job = job_that_ran(db, home, outcome)
    recover(db, home)
    back = queue.get(db, job.id)
    assert (back.state, back.failures, back.losses, back.attempt) == ("queued", 0, 0, 2)


def test_a_job_that_was_done_is_done(db, home):
    job = job_that_ran(db, home, {"attempt": 2, "exit": 0})
    recover(db, home)
    assert queue.get(db, job.id).state == "succeeded"


@pytest.mark.parametrize("code", [0, 75])
def test_what_it_submitted_as_its_supervisor_died_is_queued_once(db, home, code):
    one = {"kind": "sleep", "args": {"seconds": 2}, "key": "a", "name": "n", "priority_above": 1, "after": []}
    two = one | {"key": "b", "after": ["a"]}
    known = queue.add(db, NewJob("sleep", {"seconds": 2.0}, "gpu", key="a", priority=7), now=NOW)  # that one was read
    db.execute("update job set state = 'paused' where id = ?", (known,))
    job = job_that_ran(db, home, {"attempt": 2, "exit": code, "submitted": [one, two, {"kind": "x"}, 7, two]})
    recover(db, home)
    jobs = [queue.get(db, row["id"]) for row in db.execute("select id from job order by id")]
    assert [(j.key, j.priority) for j in jobs] == [("a", 7), (None, 3), ("b", 4)]
    assert jobs[2].parent_id == job.id


def test_after_a_reboot_a_job_is_lost_and_held_after_three(db, home):
    job = job_that_ran(db, home)
    for n in range(1, 4):
        meta.write(db, "boot_id", f"boot {n}")
        recover(db, home)
        assert queue.get(db, job.id).losses == n
        queue.claim(db, "gpu", now=time.time())
    assert queue.get(db, job.id).state == "paused"


@pytest.mark.parametrize(("wish", "state"), [("pause", "paused"), ("cancel", "cancelled")])
@pytest.mark.parametrize("rebooted", [True, False])
def test_what_its_user_wished_happens(db, home, wish, state, rebooted):
    job = job_that_ran(db, home)
    getattr(queue, wish)(db, job.id, now=NOW)
    if rebooted:
        meta.write(db, "boot_id", "an earlier one")
    recover(db, home)
    assert queue.get(db, job.id).state == state


def test_told_to_leave_while_it_waits_it_leaves_the_jobs_to_the_next(db, home, monkeypatch):
    job = job_that_ran(db, home, {"attempt": 2, "exit": 0})
    monkeypatch.setattr(recovery, "strays", lambda *_: [tree.Process(2**22 + 1, 0, 1)])
    recovery.recover(db, home, "home", Settings(), cgroup.Cgroups(wanted=False), lambda: True)
    assert queue.get(db, job.id).state == "running"


def test_one_that_cannot_be_killed_is_named_and_nothing_runs_beside_it(db, home, monkeypatch, capfd):
    looks = iter([[tree.Process(2**22 + 1, 0, 1)]] * 4 + [[]])
    monkeypatch.setattr(recovery, "strays", lambda *_: next(looks))
    options = Settings(grace_s=0.0, reclaim_s=0.0)
    assert recovery.wait_for_strays(home, "home", options, cgroup.Cgroups(wanted=False), lambda: False)
    said = capfd.readouterr().err
    assert f"ALARM: processes {2**22 + 1} of an earlier supervisor can't be killed" in said
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() == recovery._boot_id()


LIMITED = """
import os, subprocess, sys
from supervisor.children import cgroup, tree
assert tree.carry_limit("home")
quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
stray = subprocess.Popen(["sleep", "600"], env={}, **quiet)
helper = subprocess.Popen(["sleep", "600"], env={"NEVERREST_JOB": "neverrest:gpu"}, **quiet)
print(stray.pid, helper.pid)
"""


def test_a_process_without_any_mark_is_known_by_its_limit_and_a_helper_of_jobd_is_let_alone(home):
    said = subprocess.run([sys.executable, "-P", "-c", LIMITED], stdout=subprocess.PIPE, text=True, check=True).stdout
    stray, helper = map(int, said.split())
    try:
        assert [process.pid for process in recovery.strays(home, "home", cgroup.Cgroups(wanted=False))] == [stray]
        assert recovery.strays(home, "another home", cgroup.Cgroups(wanted=False)) == []
    finally:
        for pid in (stray, helper):
            os.kill(pid, signal.SIGKILL)
