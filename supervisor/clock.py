"""The calendar was set, while we ran or while we did not: what a wrong one had put off is not put off any longer.

A date that its user gave stays as it is. All other times are waits: none of them may become a year because the clock
of the machine was a year ahead when it began.
"""

import sqlite3

from supervisor import queue, standing
from supervisor.db import transaction


def set_right(db: sqlite3.Connection, *, now: float) -> None:
    """Reckon again what may have been reckoned by a wrong calendar. Of a right one nothing changes."""
    with transaction(db):
        standing.reset_clock(db, now=now)
        _shorten_waits(db, now)
        db.execute("update notice set next_try_at = ? where done_at is null and next_try_at > ?", (now, now))


def _shorten_waits(db: sqlite3.Connection, now: float) -> None:
    """A job that ran before waits for its backoff and for nothing else. A user's date is that of one that never ran."""
    rows = db.execute(
        "select id, failures from job where state = 'queued' and blockers = 0 and available_at > ? and attempt > 0",
        (now,),
    )
    for row in rows.fetchall():
        wait_s = queue.backoff_s(row["failures"]) if row["failures"] else 0.0
        db.execute("update job set available_at = min(available_at, ?) where id = ?", (now + wait_s, row["id"]))
