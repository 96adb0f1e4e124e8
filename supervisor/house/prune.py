"""Forgetting jobs that are over: rows first, in one transaction, then their folders.

Killed in between, the table `pruned` still names the folders that are to go, and the next prune goes on. Not
forgotten: what a job that has not succeeded still needs; what a recipe planned (planned again, it must find it); what
a job that is not over submitted (said again, it must find it). The ledger keeps its time, without the job's number.
"""

import math
import shutil
import sqlite3
import time
from collections.abc import Sequence

from supervisor import bulk, shared
from supervisor.db import transaction
from supervisor.filters import Filter
from supervisor.home import Home
from supervisor.notify import say
from supervisor.outside import notices
from supervisor.settings import Settings

STILL_WANTED = """
    exists (select 1 from need join job as other on other.id = need.job_id
             where need.needs_id = job.id and other.state <> 'succeeded')
    or exists (select 1 from job as child where child.parent_id = job.id and child.finished_at is null)
    or (job.key is not null and job.parent_id is null)
    or (job.key is not null and exists (select 1 from job as parent
             where parent.id = job.parent_id and parent.finished_at is null))
"""
SHRINK_SHARE = 0.25  # of the file free: then it is worth writing it anew
SHRINK_BYTES = 8 << 20
DAY_S = 86400.0
AT_A_TIME = 5  # jobs that jobd forgets in one go: a checkpoint of some GB takes the file system a while
EVERY_S = 3600.0


def who(
    db: sqlite3.Connection, wanted: Filter, *, before: float | None = None, keep: int | None = None, most: int = -1
) -> list[int]:
    """The jobs of a filter that may be forgotten, oldest first.

    before: only those that ended earlier (Unix seconds). keep: not the newest N of the filter's. most: no more.
    """
    sql, values = wanted.where()
    rows = db.execute(
        f"select id from job indexed by job_over where {sql} and finished_at < ? and not ({STILL_WANTED})"
        " order by finished_at, id limit ?",
        [*values, math.inf if before is None else before, most],
    )
    found = [row["id"] for row in rows]
    return found if keep is None else found[: max(0, len(found) - keep)]


def forget(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Their rows and all that hangs on them, in one transaction."""
    with transaction(db):
        bulk.choose(db, ids)
        mine = "in (select id from chosen)"
        texts = [
            row[0] for column in ("env_id", "origin_id")
            for row in db.execute(f"select distinct {column} from job where id {mine} and {column} is not null")
        ]  # fmt: skip
        db.execute("insert or ignore into pruned select id from chosen")
        for statement in (
            f"delete from need where job_id {mine} or needs_id {mine}",
            f"delete from event where job_id {mine}",
            f"delete from tag where job_id {mine}",
            f"update span set job_id = null where job_id {mine}",
            f"update job set parent_id = null where parent_id {mine}",
            f"delete from job where id {mine}",
        ):
            db.execute(statement)
        shared.forget(db, texts)


def sweep(home: Home, db: sqlite3.Connection) -> int:
    """Remove the folders of forgotten jobs. How many there were.

    One that can't be removed holds up no other: raises its OSError when the others are gone.
    """
    removed, wrong = 0, None
    for row in db.execute("select job_id from pruned order by job_id").fetchall():
        folder = home.workdir(row["job_id"])
        try:
            if folder.is_symlink():
                folder.unlink()  # what it leads to is not ours
            elif folder.exists():
                shutil.rmtree(folder)
                removed += 1
        except OSError as error:
            wrong = OSError(error.errno, error.strerror, str(folder))  # rmtree names only what lies in it
        else:
            db.execute("delete from pruned where job_id = ?", (row["job_id"],))
    if wrong is not None:
        raise wrong
    return removed


def shrink(db: sqlite3.Connection) -> str:
    """Give the disk back what the database does not use, when that is much. A sentence; '' when there was nothing."""
    pages, free, size = (int(db.execute(f"pragma {what}").fetchone()[0]) for what in
                         ("page_count", "freelist_count", "page_size"))  # fmt: skip
    if free * size < SHRINK_BYTES or free < pages * SHRINK_SHARE:
        return ""
    try:
        db.execute("vacuum")
        db.execute("pragma wal_checkpoint(truncate)")
    except sqlite3.OperationalError as error:
        return f"queue.db keeps {free * size >> 20} MiB of free room for now ({error})"
    return f"queue.db gave back {free * size >> 20} MiB"


class History:
    """What jobd keeps of jobs that are over: those of the last keep_days, all when that is 0; and of old notices."""

    def __init__(self, home: Home, db: sqlite3.Connection, options: Settings) -> None:
        self.home, self.db, self.options = home, db, options
        self.wait()

    def wait(self) -> None:
        """Nothing is forgotten in the first hour, nor in the one after the calendar was set: a clock that woke up a
        year ahead would make everything old, and most of them are put right by then."""
        self._look_at = time.monotonic() + EVERY_S

    def look(self) -> None:
        """Forget a few, now and then; go on soon where there are more."""
        if time.monotonic() < self._look_at:
            return
        keep_days, now = self.options.keep_days, time.time()
        more = some(self.home, self.db, keep_days=keep_days, now=now)
        notices.forget(self.db, keep_days or notices.KEEP_DAYS, now=now)
        self._look_at = time.monotonic() + (0.0 if more else EVERY_S)


def some(home: Home, db: sqlite3.Connection, *, keep_days: float, now: float) -> bool:
    """What the setting keep_days lets go of, a little at a time, so that jobd's loop goes on. Whether there is more."""
    if not keep_days:
        return False
    ids = who(db, Filter(), before=now - keep_days * DAY_S, most=AT_A_TIME)
    if ids:
        forget(db, ids)
    try:
        sweep(home, db)
    except OSError as error:  # a folder that can't be removed must not hold up the loop; `pruned` keeps it in mind
        say(f"the folder of a forgotten job can't be removed: {error}")
    return len(ids) == AT_A_TIME
