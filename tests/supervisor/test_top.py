"""`jobctl top`: one screen that fits, holds nothing that moves a cursor, and changes when the queue does."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

import pytest

from supervisor import ledger, meta, queue
from supervisor.counts import Seldom, by_state
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.ledger import Entry
from supervisor.outside import notices
from supervisor.screen import top, view

EVIL = "\x1b[2J\x07\r\nnap 日本語"
PATIENCE_S = 30.0


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def shown(home, db, columns=120, rows=60):
    return top.frame(home, db, Seldom(by_state), (columns, rows))


def fill(db):
    """One that runs, more that wait than are shown, one that failed."""
    for number in range(9):
        queue.add(db, NewJob("sleep", {}, "gpu", name=f"{EVIL}-{number}", max_failures=1), now=1.0)
    queue.add(db, NewJob("sleep", {}, "gpu", name="waits", after=[9]), now=1.0)
    failed = queue.claim(db, "gpu", now=2.0)
    queue.retry(db, failed.id, failed.attempt, f"exit code 3: {EVIL}", now=3.0)
    runs = queue.claim(db, "gpu", now=4.0)
    told = {"done": 30, "total": 40, "unit": "steps", "metrics": {"loss": 2.25, "lr": 3e-4}, "eta_at": time.time() + 60}
    queue.note_progress(db, runs.id, runs.attempt, told, now=5.0)
    ledger.enter(db, Entry("empty"), now=5.0)
    ledger.enter(db, Entry("running", "sleep"), now=125.0)
    meta.write(db, "lane_closed", f"the card is gone {EVIL}")


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60), (40, 12), (20, 3)])
def test_a_screen_fits_whatever_jobs_are_called(home, db, columns, rows):
    fill(db)
    lines = shown(home, db, columns, rows)
    assert len(lines) <= rows
    assert max(map(view.columns, lines)) <= columns
    assert all(line.isprintable() for line in lines)


def test_a_screen_shows_what_runs_what_comes_next_and_what_went_wrong(home, db, monkeypatch):
    monkeypatch.setattr(top, "midnight", lambda now: 0.0)
    fill(db)
    page = "\n".join(lines := shown(home, db))
    assert "jobs     8 queued, 1 running, 1 failed" in page
    assert "CLOSED   the card is gone" in page
    [running] = [line for line in lines if line.startswith("▶")]
    assert "30/40 steps" in running
    assert "left" in running
    assert "loss 2.25  lr 0.0003" in page
    assert [line.split()[0] for line in lines if " queued " in line and "jobs" not in line] == list("34567")
    assert "today    busy 0.0 %, idle 120 s: 120 queue empty" in page
    assert "failed: job 1" in lines[-1]


def test_a_paused_queue_has_an_order_and_no_times(home, db):
    lock = home.hold()  # as jobd does
    for _ in range(2):
        done = queue.add(db, NewJob("sleep", {}, "gpu", name="nap"), now=1.0)
        queue.claim(db, "gpu", now=2.0)
        queue.succeed(db, done, 1, now=9.0)
    queue.add(db, NewJob("sleep", {}, "gpu", name="nap"), now=1.0)
    assert " to ~" in shown(home, db)[-3]
    assert top.facts(home, db, now=time.time())["next"][0]["expected"]["starts_at"] is not None
    queue.set_paused(db, True)
    [line] = [line for line in shown(home, db) if line.startswith("3 ")]
    assert "you: the queue is paused" in line
    assert "~" not in line
    assert top.facts(home, db, now=time.time())["next"][0]["expected"]["starts_at"] is None
    os.close(lock)


def test_a_mistake_in_the_settings_keeps_nobody_from_looking(tower):
    job = tower.add("sleep")
    lock = tower.home.hold()  # as jobd does, which goes on with what it read before
    (tower.path / "settings.toml").write_text("cpu_slotz = 3")
    for words in (["list"], ["show", job], ["top"], ["top", "--json"]):
        assert "sleep" in tower.ctl(*words)
    os.close(lock)


def test_a_screen_says_why_nothing_runs(home, db):
    assert "nothing runs" in shown(home, db)
    ledger.enter(db, Entry("waiting-vram", why="a game holds 9 GiB"), now=1.0)
    assert "nothing runs (waiting for VRAM: a game holds 9 GiB)" in shown(home, db)
    assert "nothing waits" in shown(home, db)


class Terminal:
    """A terminal of so many rows and columns with `jobctl top` on it."""

    def __init__(self, home: Home, rows: int = 24, columns: int = 80) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            words = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(home.path), "top"]
            os.execve(sys.executable, words, os.environ | {"TERM": "xterm"})
        self.was, self.said = termios.tcgetattr(self.fd), ""
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    @property
    def screen(self) -> str:
        return self.said.rpartition("\x1b[H")[2]

    def until(self, words: str) -> None:
        """Until the screen, as it is drawn now, holds these words."""
        give_up = time.monotonic() + PATIENCE_S
        while words not in self.screen:
            assert time.monotonic() < give_up, f"no {words!r} on {self.screen!r}"
            self._read()

    def _read(self) -> bool:
        if select.select([self.fd], [], [], 0.1)[0]:
            try:
                piece = os.read(self.fd, 1 << 16).decode(errors="replace")
            except OSError:
                return False
            self.said += piece
            return bool(piece)
        return True

    def leave(self, key: bytes) -> int:
        """Press it; how top ended."""
        os.write(self.fd, key)
        give_up = time.monotonic() + PATIENCE_S
        while self._read():
            assert time.monotonic() < give_up, "it does not leave"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(home):
    one = Terminal(home)
    yield one
    os.close(one.fd)
    try:
        os.kill(one.pid, signal.SIGKILL)
        os.waitpid(one.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_the_screen_follows_the_queue_and_the_size_of_the_window_until_q(home, db, terminal):
    terminal.until("nothing waits")
    queue.add(db, NewJob("sleep", {}, "gpu", name="newcomer"), now=time.time())
    terminal.until("newcomer")
    terminal.resize(4, 80)
    terminal.until("jobs     1 queued\x1b[K\x1b[J")  # the last line that there is room for
    assert terminal.leave(b"q") == 0
    assert terminal.said.startswith(top.IN)
    assert terminal.said.endswith(top.OUT)


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal):
    terminal.until("nothing waits")
    assert termios.tcgetattr(terminal.fd)[3] != terminal.was[3]
    assert terminal.leave(b"\x03") == 0
    assert terminal.said.endswith(top.OUT)


def test_top_is_printed_once_where_there_is_no_terminal(tower):
    tower.add("sleep")
    page = tower.ctl("top")
    assert "jobs     1 queued" in page
    assert "\x1b" not in page
    assert '"next": [' in tower.ctl("top", "--json")


def test_notices_that_did_not_fit_are_said_and_stay_new(tower):
    for number in range(3):
        notices.add(tower.db, "gpu", f"number {number}", now=1000.0 + number)
    said = tower.ctl("notices", "--limit", 2)
    assert "number 0" not in said
    assert "and 1 more that are new: `jobctl notices --limit 3`" in said
    assert "3 notices since you looked" in tower.ctl("status")
    assert tower.ctl("notices", "--since", "1d") == "and 3 more that are new: `jobctl notices --limit 3`\n"
    assert tower.ctl("notices", "--limit", 3).count("new ") == 3
    assert "since you looked" not in tower.ctl("status")


def test_notices_are_new_until_they_are_looked_at(tower):
    assert "nothing has happened" in tower.ctl("notices")
    notices.add(tower.db, "gpu", f"the lane is closed {EVIL}", now=time.time())
    assert "NEW      1 notice since you looked" in tower.ctl("status")
    assert '"new": true' in tower.ctl("notices", "--json")
    [line] = tower.ctl("notices").splitlines()
    assert line.startswith("new ")
    assert line.endswith("(not told yet)")
    assert line.isprintable()
    assert not tower.ctl("notices").startswith("new")
    assert "NEW" not in tower.ctl("status")
    assert tower.ctl("notices", "--since", "1s", "--limit", "1") == tower.ctl("notices")
