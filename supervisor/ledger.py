"""Where the GPU lane's time went: a row of spans, each in exactly one class, the newest one open.

classes: running (of a kind), switching (from the end of a job to the next one's go), empty (nothing runnable),
paused (by hand), closed (something unkillable holds the lane), down (no supervisor).
"""

import sqlite3
from dataclasses import dataclass

from supervisor.db import transaction

CLASSES = ("running", "switching", "empty", "paused", "closed", "down")


@dataclass(frozen=True)
class Share:
    """Seconds of the lane's time in one class (and kind, for `running`)."""

    what: str
    kind: str
    seconds: float


def enter(db: sqlite3.Connection, what: str, *, now: float, job_id: int | None = None, kind: str = "") -> None:
    """The lane is in this class from now on. The span before ends here, unless it is the same one going on."""
    with transaction(db):
        last = db.execute("select * from span where closed = 0").fetchone()
        if last and (last["class"], last["job_id"]) == (what, job_id):
            touch(db, now=now)
            return
        if last:
            db.execute("update span set seen_at = max(?, began_at), closed = 1 where id = ?", (now, last["id"]))
            now = max(now, last["began_at"])  # a clock set back must not make time overlap
        db.execute(
            "insert into span (class, kind, job_id, began_at, seen_at) values (?, ?, ?, ?, ?)",
            (what, kind, job_id, now, now),
        )


def now_in(db: sqlite3.Connection) -> str:
    """The class the lane is in; '' when nobody has said."""
    row = db.execute("select class from span where closed = 0").fetchone()
    return row["class"] if row else ""


def touch(db: sqlite3.Connection, *, now: float) -> None:
    """We are still here: the open span reaches until now."""
    db.execute("update span set seen_at = max(?, seen_at) where closed = 0", (now,))


def recover(db: sqlite3.Connection, *, now: float) -> None:
    """A supervisor starts: the open span ended when the last one was last seen, and nobody served until now."""
    with transaction(db):
        last = db.execute("select seen_at from span where closed = 0").fetchone()
        if last:
            enter(db, "down", now=last["seen_at"])
            touch(db, now=now)


def shares(db: sqlite3.Connection, *, since: float, until: float) -> list[Share]:
    """The seconds of each class (and kind) between two moments, most first. They sum to the time on record."""
    rows = db.execute(
        "select class, kind, sum(max(0, min(seen_at, :until) - max(began_at, :since))) as seconds from span"
        " group by class, kind having seconds > 0 order by seconds desc",
        {"since": since, "until": until},
    )
    return [Share(row["class"], row["kind"], row["seconds"]) for row in rows]
