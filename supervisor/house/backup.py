"""Copies of queue.db in HOME/backups: made while others write, looked through before they count, the old ones let go.

jobd has one made every hour in which something happened, in a process of its own: neither the copy nor the look
through it holds up the loop. `python -m supervisor.house.backup HOME` is that process; `jobctl backup` makes one now.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from jobs.contract import MARK
from supervisor import db as database
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.notify import say

EVERY_S = 3600.0
KEEP_HOURLY, KEEP_DAILY = 24, 7  # the newest ones; of each of the newest days its last one
LOOK_EVERY_S = 60.0
TRY_AGAIN_S = 600.0  # after one could not be made
DEADLINE_S = 1800.0  # a million jobs take seconds; a disk that answers no more must not hold this for ever
NAME = re.compile(r"queue-(\d{8})T(\d{6})Z\.db")


class Backups:
    """Has the copies of one home's queue made. `look` is called as the house is looked after, and never waits."""

    def __init__(self, db: sqlite3.Connection, home: Home) -> None:
        self._db, self._home = db, home
        self._look_at = 0.0  # monotonic
        self._began = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._copied = ""  # how the queue was when the newest copy of our time was made

    def look(self) -> None:
        """Start a copy when it is time for one and something happened since the last one."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        if self._process is not None and self._is_at_work(now):
            return
        happened = str(tuple(self._db.execute("select max(id) from event").fetchone()))
        if happened == self._copied or 0 <= time.time() - newest_at(self._home) < EVERY_S:
            return  # a copy of a time to come was made by a wrong calendar: it keeps nobody waiting
        self._copied, self._began = happened, now
        try:
            self._process = start(self._home)
        except OSError as error:
            say(f"no backup of the queue can be made now ({error}): again later")
            self._try_again()

    def _is_at_work(self, now: float) -> bool:
        assert self._process is not None
        if self._process.poll() is None:
            if now > self._began + DEADLINE_S:
                self._process.send_signal(signal.SIGKILL)
            return True
        self._process = None
        if not 0 <= time.time() - newest_at(self._home) <= EVERY_S:  # it has said why
            self._try_again()
        return False

    def _try_again(self) -> None:
        self._copied, self._look_at = "", time.monotonic() + TRY_AGAIN_S


def start(home: Home) -> "subprocess.Popen[bytes]":
    """The process that makes one copy. What it says goes where jobd's words go."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.house.backup", str(home.path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env=os.environ | {MARK: "neverrest:backup"},  # no orphan of any job: no sweep takes it for one
    )  # fmt: skip


def folder(home: Home) -> Path:
    return home.path / "backups"


def make(home: Home, *, now: float) -> Path:
    """A copy of the queue as it is now, 0600, looked through; those that are too many go. Its path.

    Raises Refused when it can't be written, or when the queue turns out to be damaged: then no older copy goes.
    """
    to = path_at(home, now)
    try:
        to.parent.mkdir(mode=0o700, exist_ok=True)
        date_back(home, now=now)
        with closing(home.connect()) as db:
            database.back_up(db, to)
    except OSError as error:
        raise Refused(f"no backup can be written to {to.parent}: {error.strerror}") from error
    except sqlite3.OperationalError as error:
        raise Refused(f"no backup can be made now ({error}): see that the disk has room") from error
    except sqlite3.DatabaseError as error:
        raise Refused(
            f"{home.queue_db} is damaged ({error}): start jobd again, it goes on from the newest backup"
        ) from error
    rotate(home, now=now)
    return to


def path_at(home: Home, at: float) -> Path:
    """What a copy made at this time is called."""
    return folder(home) / f"queue-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}.db"


def date_back(home: Home, *, now: float) -> None:
    """Copies of a time to come were made by a wrong calendar. They are older than the one to be made now: say so, or
    the newest would be taken for one of the oldest."""
    ahead = [path for path in newest_first(home) if path.stat().st_mtime > now]
    for seconds, path in enumerate(ahead, 1):
        os.utime(path, (now - seconds, now - seconds))
        if NAME.fullmatch(path.name) and not (known := path_at(home, now - seconds)).exists():
            path.rename(known)


def rotate(home: Home, *, now: float) -> None:
    """Let go of what is neither among the newest copies nor a day's last one, and of what never became one."""
    made = [path for path in folder(home).iterdir() if NAME.fullmatch(path.name)]
    for path in set(made) - set(kept(made)):
        path.unlink(missing_ok=True)
    for path in folder(home).glob(".queue-*"):
        if now - path.stat().st_mtime > DEADLINE_S:
            path.unlink(missing_ok=True)


def kept(made: Iterable[Path]) -> list[Path]:
    """Which of these copies stay."""
    newest_first = sorted(made, key=lambda path: path.name, reverse=True)
    last_of_day: dict[str, Path] = {}
    for path in newest_first:
        last_of_day.setdefault(path.name[: len("queue-20261121")], path)
    return sorted({*newest_first[:KEEP_HOURLY], *list(last_of_day.values())[:KEEP_DAILY]})


def newest_first(home: Home) -> list[Path]:
    """Every copy there is, also those made before a migration."""
    return sorted(folder(home).glob("queue-*.db"), key=lambda path: path.stat().st_mtime, reverse=True)


def newest_at(home: Home) -> float:
    """When the newest copy was made, Unix seconds; 0 when there is none."""
    return max((path.stat().st_mtime for path in folder(home).glob("queue-*.db")), default=0.0)


def main() -> int:
    os.nice(10)  # jobs come first
    try:
        make(Home(Path(sys.argv[1])), now=time.time())
    except Refused as refusal:
        say(f"ALARM: {refusal}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
