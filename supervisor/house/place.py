"""Where the home is: jobd serves the queue.db that jobctl finds, under a name that no other home has.

A home may be deleted, moved or copied while it is served. Then jobd must not go on in a file that nobody else can see,
nor take the processes of the home it was copied from for its own.
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from supervisor import db as database
from supervisor import meta
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.house import backup
from supervisor.notify import say


class Place:
    """The queue.db of one home, as it was when jobd opened it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file = identity(home.queue_db)
        self.lost = ""  # what became of it, in a sentence; '' while it is where it was

    def look(self) -> bool:
        """Whether it has just turned out to be elsewhere: then it is time to leave."""
        if self.lost or identity(self._home.queue_db) == self._file:
            return False
        gone = not self._home.queue_db.exists()
        self.lost = f"{self._home.queue_db} {'is gone' if gone else 'was replaced by another file'} while we served it"
        say(f"ALARM: {self.lost}: jobs save and leave, and so do we")
        return True

    def rescue(self, db: sqlite3.Connection) -> None:
        """At our end: the queue as we have it goes into backups/. Where there is no queue, the next jobd takes it."""
        try:
            copy = backup.path_at(self._home, time.time())
            copy.parent.mkdir(mode=0o700, exist_ok=True)
            backup.date_back(self._home, now=time.time())
            database.back_up(db, copy)
            say(f"the queue as it was lies in {copy}")
        except (OSError, sqlite3.Error) as error:
            say(f"no copy of the queue could be kept in {backup.folder(self._home)}: {error}")


def identity(path: Path) -> tuple[int, int] | None:
    """Which file this is; None when there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def home_id(db: sqlite3.Connection, home: Home) -> str:
    """The name by which this home knows its processes. A copy of a home that is still there gets one of its own."""
    here, known = str(home.path.resolve()), meta.read(db, "home_id") or ""
    before = meta.read(db, "home_path")
    with transaction(db):
        if before not in (None, here) and _is_there(Path(before or "") / "queue.db", known, home):
            known = os.urandom(8).hex()
            meta.write(db, "home_id", known)
            say(f"this home is a copy of {before}, which is still there: it goes its own way from now on")
        if before != here:
            meta.write(db, "home_path", here)
    return known


def _is_there(other: Path, known: str, home: Home) -> bool:
    """Whether another queue.db than ours has this home's name."""
    try:
        if os.path.samefile(other, home.queue_db):
            return False
        with closing(sqlite3.connect(f"{other.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return (known,) in db.execute("select value from meta where key = 'home_id'").fetchall()
    except (OSError, sqlite3.Error):
        return False


def can_hold_jobs(home: Home) -> bool:
    """Whether the folders that all jobs share can be used: if not, no job is to blame for it."""
    return all(
        folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        for folder in (home.path, home.path / "runs", home.path / "lanes")
        if folder is home.path or os.path.lexists(folder)
    )
