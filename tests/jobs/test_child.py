"""`python -m jobs`, spoken to as the supervisor does: ticket, ready, go, reports, SIGTERM, stdin closed."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tower import until

from jobs.contract import EXIT_BAD_ARGS, EXIT_DONE, EXIT_UNFINISHED, REPORT_FD, Ticket


class Talk:
    """A child, and the supervisor's ends of its pipes."""

    def __init__(self, folder: Path, kind: str = "sleep", attempt: int = 1, **args: object) -> None:
        self.workdir = folder / "run"
        self.workdir.mkdir(exist_ok=True)
        self.lock = folder / "lanes" / "gpu0.lock"
        self.ticket = Ticket(7, attempt, kind, args, str(folder), str(self.workdir), str(self.lock))
        self.reports, end = os.pipe()
        os.set_blocking(self.reports, False)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jobs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=[end], env=dict(os.environ) | {REPORT_FD: str(end)}, cwd=folder,
        )  # fmt: skip
        os.close(end)
        self.heard: list[dict] = []
        self.say(self.ticket.to_line())

    def say(self, line: bytes) -> None:
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def go(self, device: str = "cpu") -> None:
        self.say(json.dumps({"go": {"device": device}}).encode() + b"\n")

    def hears(self, what: str) -> dict:
        """Wait for a report of a sort."""

        def found() -> dict | None:
            try:
                self.heard += [json.loads(line) for line in os.read(self.reports, 1 << 16).splitlines()]
            except BlockingIOError:
                pass
            return next((report for report in self.heard if report["report"] == what), None)

        return until(found, f"{what} from the child")

    def end(self) -> int:
        return self.process.wait(30)

    @property
    def outcome(self) -> dict | None:
        path = self.workdir / "outcome.json"
        return json.loads(path.read_text()) if path.exists() else None

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what it did not read any more
                pipe.close()
        os.close(self.reports)


@pytest.fixture
def talk(tmp_path):
    made = []

    def start(*words, **args) -> Talk:
        made.append(Talk(tmp_path, *words, **args))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_it_stands_by_until_it_is_told_go(talk):
    child = talk(seconds=0.2, tick_s=0.05)
    child.hears("ready")
    assert not child.lock.exists()  # it has not touched the lane
    assert not (child.workdir / "slept.json").exists()
    child.go()
    assert child.end() == EXIT_DONE
    assert child.hears("progress")["total"] == 0.2
    assert child.outcome is None  # its supervisor was there to see it


def test_it_holds_the_lane_while_it_works(talk):
    child = talk(seconds=30)
    child.hears("ready")
    child.go()
    child.hears("progress")
    with open(child.lock) as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_it_waits_for_a_lane_that_is_being_let_go_of(talk):
    child = talk(seconds=0, tick_s=0.1)
    child.hears("ready")
    child.lock.parent.mkdir()
    with open(child.lock, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child.go()
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(0.5)
    assert child.end() == EXIT_DONE


def test_sigterm_means_save_and_leave(talk):
    child = talk(seconds=30, tick_s=0.05)
    child.hears("ready")
    child.go()
    child.hears("progress")
    child.process.send_signal(signal.SIGTERM)
    assert child.end() == EXIT_UNFINISHED
    assert json.loads((child.workdir / "slept.json").read_text()) > 0


def test_the_last_progress_it_reports_is_what_it_saved(talk):
    """Reports are few, so that they are cheap; but who leaves says how far it came."""
    child = talk(seconds=30, tick_s=0.01)
    child.hears("ready")
    child.go()
    child.hears("progress")
    child.process.send_signal(signal.SIGTERM)
    child.end()
    saved = json.loads((child.workdir / "slept.json").read_text())
    said = [json.loads(line)["done"] for line in os.read(child.reports, 1 << 16).splitlines()]
    assert said[-1] == saved


def test_ctrl_c_is_for_the_supervisor_not_for_the_child(talk):
    child = talk(seconds=0.5, tick_s=0.05)
    child.hears("ready")
    child.go()
    child.hears("progress")
    child.process.send_signal(signal.SIGINT)
    assert child.end() == EXIT_DONE


def test_a_supervisor_that_is_gone_means_save_and_leave_and_the_outcome_is_on_disk(talk):
    child = talk(attempt=4, seconds=30, tick_s=0.05)
    child.hears("ready")
    child.go()
    child.hears("progress")
    child.process.stdin.close()
    assert child.end() == EXIT_UNFINISHED
    assert child.outcome == {"attempt": 4, "exit": EXIT_UNFINISHED, "submitted": []}


def test_what_it_finished_alone_is_on_disk_too(talk):
    child = talk(attempt=2, seconds=0.5, tick_s=0.5)
    child.hears("ready")
    child.go()
    until(child.lock.exists)
    child.process.stdin.close()
    assert child.end() == EXIT_DONE
    assert child.outcome == {"attempt": 2, "exit": EXIT_DONE, "submitted": []}


def test_a_standby_whose_supervisor_is_gone_leaves_without_having_worked(talk):
    child = talk(seconds=0)
    child.hears("ready")
    child.process.stdin.close()
    assert child.end() == EXIT_UNFINISHED
    assert not (child.workdir / "slept.json").exists()


def test_a_standby_told_to_leave_never_works(talk):
    child = talk(seconds=0)
    child.hears("ready")
    child.process.send_signal(signal.SIGTERM)
    child.go()
    assert child.end() == EXIT_UNFINISHED
    assert not child.lock.exists()


@pytest.mark.parametrize(
    ("kind", "args", "sentence"),
    [
        ("sleep", {"seconds": -1}, b"sleep takes seconds >= 0"),
        ("sleep", {"secs": 1}, b"sleep has no setting 'secs'"),
        ("slep", {}, b"there is no kind 'slep'"),
    ],
)
def test_bad_args_are_told_in_the_log_and_by_the_exit(talk, kind, args, sentence):
    child = talk(kind, **args)
    assert child.end() == EXIT_BAD_ARGS
    said = child.process.stdout.read()
    assert sentence in said
    assert b"Traceback" not in said


def test_a_damaged_save_is_a_failure_with_its_traceback_in_the_log(talk):
    child = talk(seconds=1)
    child.hears("ready")
    (child.workdir / "slept.json").write_text("{")
    child.go()
    assert child.end() == 1
    assert b"JSONDecodeError" in child.process.stdout.read()


def test_sleep_in_pieces_is_as_long_as_sleep_at_once(talk):
    slept = 0.0
    for attempt in range(1, 4):
        child = talk(attempt=attempt, seconds=0.6, tick_s=0.1)
        child.hears("ready")
        child.go()
        child.hears("progress")
        child.process.send_signal(signal.SIGTERM)
        code = child.end()
        now = json.loads((child.workdir / "slept.json").read_text())
        assert now > slept
        slept = now
        if code == EXIT_DONE:
            break
    else:
        child = talk(attempt=9, seconds=0.6, tick_s=0.1)
        child.hears("ready")
        child.go()
        assert child.end() == EXIT_DONE
    assert json.loads((child.workdir / "slept.json").read_text()) == pytest.approx(0.6, abs=0.11)
