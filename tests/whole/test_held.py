"""A program stands by: it is loaded before its turn, and the kernel holds it before its first instruction."""

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from tower import Tower, until

from supervisor import db as database
from supervisor import queue
from supervisor.children import cgroup, start, tree
from supervisor.children import held as held_program
from supervisor.home import Home
from supervisor.job import Job, NewJob


def held(tower: Tower, job_id: int, attempt: int = 1) -> tree.Process:
    """The process that stands by for a job, once it is the program."""
    mark = f"{tower.home_id}:{job_id}:{attempt}"
    [found] = until(lambda: tree.marked(mark), f"job {job_id} stands by")
    until(lambda: state_of(found.pid) == "t", "it is held")
    return found


def state_of(pid: int) -> str:
    """The kernel's letter: t is held by a tracer."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


@pytest.fixture
def warm(tower: Tower) -> Tower:
    """A tower whose programs stand by. The first job runs until `open` is called."""
    tower.set(standby=True)
    tower.first = tower.sh(f"until [ -e {tower.path}/gate ]; do sleep 0.01; done")
    return tower


def open_gate(tower: Tower) -> None:
    (tower.path / "gate").touch()


def test_it_is_there_before_its_turn_and_begins_with_it(warm):
    """The process that is held is the one that runs; nothing of it has happened before."""
    second = warm.sh(f"echo ran $$ >> {warm.path}/proof")
    warm.start("--until-empty")
    process = held(warm, second)
    assert warm.job(second).state == "queued"
    assert (warm.job(second).attempt, warm.log(second)) == (0, "")
    assert not (warm.path / "proof").exists()
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    assert (warm.path / "proof").read_text() == f"ran {process.pid}\n"
    assert warm.log(second).startswith("── attempt 1 · ")
    assert f"pid {process.pid}" in warm.log(second)


def test_it_has_the_environment_the_lock_and_the_signals_of_one_that_was_started_cold(warm):
    script = (
        "import os, signal\n"
        "names = {os.readlink(f'/proc/self/fd/{fd}').split('/')[-1] for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{fd}')}\n"
        "env = {k: v for k, v in os.environ.items() if 'JOB' not in k and 'WORKDIR' not in k and k != 'LC_CTYPE'}\n"
        "print(sorted(env), 'gpu0.lock' in names, os.getsid(0) == os.getpid(), os.getcwd(),"
        " signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM))"
    )
    jobs = [warm.python(script) for _ in range(2)]
    warm.start("--until-empty")
    held(warm, jobs[0])
    warm.set(standby=False)
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    cold = warm.python(script)
    warm.serve()
    said = [warm.log(job_id).splitlines()[1] for job_id in (jobs[0], cold)]
    assert said[0] == said[1]
    assert "True True" in said[0]


def test_when_jobd_is_killed_it_dies_and_has_never_begun(warm):
    second = warm.sh(f"touch {warm.path}/proof")
    warm.start()
    process = held(warm, second)
    warm.kill_jobd()
    until(lambda: tree.read(process.pid) is None, "it died with jobd")
    assert not (warm.path / "proof").exists()
    open_gate(warm)
    warm.serve()
    assert (warm.job(second).state, warm.job(second).attempt) == ("succeeded", 1)


def test_it_makes_room_for_another_one_and_leaves_nothing(warm):
    second = warm.sh(f"touch {warm.path}/proof")
    warm.start("--until-empty")
    process = held(warm, second)
    groups = cgroup.Cgroups()
    urgent = warm.sh(f"test ! -e {warm.path}/proof", "--priority", 5)
    held(warm, urgent)
    until(lambda: tree.read(process.pid) is None, "the other one was dropped")
    until(lambda: len(groups.left(f"neverrest-{warm.home_id}-")) <= (2 if groups.usable else 0), "its cgroup is gone")
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    assert warm.order()[-2:] == [urgent, second]
    assert [warm.job(one).state for one in (urgent, second)] == ["succeeded"] * 2
    assert [warm.job(one).attempt for one in (urgent, second)] == [1, 1]


def test_one_that_is_killed_while_it_waits_costs_its_job_nothing(warm):
    second = warm.sh("true")
    warm.start("--until-empty")
    held(warm, second).kill(signal.SIGKILL)
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    assert (warm.job(second).state, warm.job(second).attempt, warm.job(second).failures) == ("succeeded", 1, 0)


def test_a_program_that_was_replaced_while_it_was_held_is_started_as_it_is_now(warm):
    program = warm.path / "program"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    second = warm.add("command", argv=(program,))
    warm.start("--until-empty")
    held(warm, second)
    newer = warm.path / "newer"
    newer.write_text("#!/bin/sh\necho the newer one\n")
    newer.chmod(0o700)
    os.replace(newer, program)
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    assert "the newer one" in warm.log(second)


def test_what_it_starts_in_the_background_is_not_taken_for_what_the_held_one_left(warm):
    """Both are the same attempt, and so have the same mark."""
    program = warm.path / "program"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    second = warm.add("command", argv=(program,))
    warm.start()
    outdated = held(warm, second)
    newer = warm.path / "newer"
    begin = f"(sleep 600 & echo $! > {warm.path}/new; mv {warm.path}/new {warm.path}/pid)"
    newer.write_text(f"#!/bin/sh\n{begin}\nwhile :; do sleep 0.1; done\n")
    newer.chmod(0o700)
    os.replace(newer, program)
    open_gate(warm)
    until((warm.path / "pid").exists)
    until(lambda: tree.read(outdated.pid) is None, "the other one was dropped")
    warm.until(warm.sh("true", "--lane", "cpu"), "succeeded")  # its end is seen after that of the other one
    assert tree.read(int((warm.path / "pid").read_text())) is not None
    warm.ctl("cancel", second)
    warm.until(second, "cancelled")
    assert tree.read(int((warm.path / "pid").read_text())) is None


def test_a_program_with_rights_of_its_own_is_never_held(warm):
    """The kernel gives no rights to a program that another process holds."""
    program = warm.path / "program"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    program.chmod(0o755 | stat.S_ISUID)
    second, third = warm.add("command", argv=(program,)), warm.sh("true")
    warm.start("--until-empty")
    until(lambda: warm.job(warm.first).state == "running")
    open_gate(warm)
    assert warm.jobd.wait(60) == 0, warm.said
    assert [warm.job(one).state for one in (second, third)] == ["succeeded"] * 2
    assert not tree.marked(f"{warm.home_id}:")


def test_a_program_that_is_not_there_fails_as_it_does_without_a_standby(warm):
    program = warm.path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    second = warm.add("command", argv=(program,))
    program.unlink()
    warm.start("--until-empty")
    until(lambda: warm.job(warm.first).state == "running")
    open_gate(warm)
    until(lambda: warm.job(second).failures == 1)
    assert "could not be started" in warm.job(second).error
    warm.ctl("cancel", second)
    assert warm.jobd.wait(60) == 0, warm.said


@pytest.mark.skipif(sys.platform != "linux", reason="ptrace")
def test_whether_a_machine_can_hold_programs_is_tried_not_guessed():
    assert held_program.can_hold()


def test_a_signal_between_fork_and_exec_does_not_hang_the_supervisor(tmp_path, monkeypatch):
    """It stops the child before it is the program: who waits for its exec would wait for ever."""
    real = held_program.ask

    def ask_and_be_hit() -> None:
        real()
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(held_program, "ask", ask_and_be_hit)
    monkeypatch.setattr(held_program, "PATIENCE_S", 0.1)
    home = Home(tmp_path)
    job = a_job({"argv": ["/bin/true"], "cwd": "/", "env": {}})
    before = tree.adopted(set())  # who tests has children, too
    with pytest.raises(ProcessLookupError):
        start.start(job, home, "home", cgroup.Cgroups(False), ahead=True)
    assert tree.adopted(set()) == before


def a_job(args: dict[str, object]) -> Job:
    """A command that was claimed, of a queue that is gone."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.row_factory = sqlite3.Row
        db.executescript((Path(database.__file__).with_name("schema.sql")).read_text())
        db.isolation_level = None
        queue.add(db, NewJob("command", args, "gpu"), now=1.0)
        job = queue.claim(db, "gpu", now=1.0)
        assert job is not None
        return job
