"""The moves of queue.py for very many jobs at once: a statement each instead of a job each. All or none.

What an act does not apply to is left alone: `cancel` of all that is called nightly-* leaves those that are over. A
test holds that each gives what queue.py gives, job by job.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor import queue, rows
from supervisor.db import deferred, transaction
from supervisor.filters import Filter
from supervisor.job import LANES, NewJob
from supervisor.queue import AFRESH

OPEN = "state in ('queued', 'running', 'paused')"
COPY = (  # the last two columns are numbers of `common`
    f"insert into job ({', '.join(rows.COLUMNS)}) select {', '.join(rows.COLUMNS[:-2])}, env.id, origin.id"
    " from laid left join common as env on env.number = env_id left join common as origin on origin.number = origin_id"
    " where laid.rowid > ? and laid.rowid <= ? order by laid.rowid"
)


@dataclass(frozen=True)
class Move:
    """Whom an act changes, and how."""

    who: str
    change: str


ACTS = {  # act: (the event in the job's history, its moves)
    "pause": ("pause asked", (
        Move("state = 'queued'", "state = 'paused'"), Move("state = 'running' and wish is null", "wish = 'pause'"),
    )),
    "resume": ("resumed", (
        Move("state = 'paused'", "state = 'queued', note = null, losses = 0"),
        Move("state = 'running' and wish = 'pause'", "wish = null"),
    )),
    "cancel": ("cancel asked", (
        Move("state in ('queued', 'paused')", "state = 'cancelled', finished_at = :now"),
        Move("state = 'running' and wish is not 'cancel'", "wish = 'cancel'"),
    )),
    "retry": ("retried", (
        Move("state = 'queued' and failures > 0 and available_at > :now", "available_at = :now, failures = 0"),
        Move("state in ('failed', 'cancelled')", AFRESH),
    )),
    "priority": ("priority", (Move(OPEN, "priority = :priority"),)),
}  # fmt: skip


def who(db: sqlite3.Connection, act: str, wanted: Filter, *, now: float) -> list[int]:
    """The jobs of a filter that an act would change, oldest first."""
    sql, values = wanted.where()
    _, moves = ACTS[act]
    some = " or ".join(move.who.replace(":now", str(float(now))) for move in moves)
    rows = db.execute(f"select id from job where {sql} and ({some}) order by id", values)
    return [row["id"] for row in rows]


def apply(db: sqlite3.Connection, act: str, wanted: Filter, *, now: float, priority: int = 0) -> int:
    """Do it to all jobs of a filter to which it applies, in one transaction. How many those were."""
    what, moves = ACTS[act]
    values = {"now": now, "priority": priority, "what": what, "detail": str(priority) if act == "priority" else ""}
    with transaction(db):
        choose(db, who(db, act, wanted, now=now))
        count = 0
        for move in moves:
            mine = f"id in (select id from chosen) and {move.who}"
            db.execute(
                "insert into event (job_id, attempt, at, what, detail)"
                f" select id, attempt, :now, :what, :detail from job where {mine}", values,
            )  # fmt: skip
            count += db.execute(f"update job set {move.change} where {mine}", values).rowcount
    return count


def choose(db: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Have exactly these ids in the table `chosen`, which this connection alone sees."""
    db.execute("create temp table if not exists chosen (id integer primary key)")
    db.execute("delete from chosen")
    db.executemany("insert into chosen values (?)", [(job_id,) for job_id in ids])


# ── into the queue ────────────────────────────────────────────────────────────────────────────────────────────────


def add_many(db: sqlite3.Connection, new: Iterable[NewJob], *, now: float) -> list[int]:
    """queue.add for very many, all or none. Their ids, in their order."""
    laid = LaidOut(db, new, now=now)
    with transaction(db):
        return laid.queue()


class LaidOut:
    """Very many new jobs, in tables that this connection alone sees: ready to be copied into the queue.

    So the queue is locked for the copy only, and a statement for all rows takes less than one for each.
    """

    def __init__(self, db: sqlite3.Connection, new: Iterable[NewJob], *, now: float) -> None:
        self._db, self._now = db, now
        self._count = self._copied = 0  # rows
        self._others: list[tuple[NewJob, int]] = []  # who must be added alone, and after how many of the rows
        self._common: list[Any] = []  # environments and origins, by their number here
        db.execute("drop table if exists temp.laid")
        db.execute("drop table if exists temp.common")
        db.execute(f"create temp table laid ({', '.join(rows.COLUMNS)})")
        db.execute("create temp table common (number integer primary key, id integer)")
        with deferred(db):  # without it each row would be a transaction
            marks = ", ".join("?" * len(rows.COLUMNS))
            db.executemany(f"insert into laid values ({marks})", self._rows(new))

    def _rows(self, new: Iterable[NewJob]) -> Iterator[tuple[Any, ...]]:
        known: dict[int, tuple[object, Any]] = {}
        for job in new:
            if job.key is None and not job.after and _lawful(job):
                self._count += 1
                yield rows.row(self._number, job, self._now, 0, known)
            else:  # it asks what is there already: what stands before it must be. Or the database says what is wrong
                self._others.append((job, self._count))

    def _number(self, value: Any) -> int | None:
        if not rows.is_shared(value):
            return None
        self._common.append(value)
        return len(self._common) - 1

    def queue(self) -> list[int]:
        """Queue them, once. Their ids, in their order."""
        ids: list[int] = []
        with transaction(self._db):
            for number, value in enumerate(self._common):
                self._db.execute("insert into common values (?, ?)", (number, rows.share(self._db, value)))
            for job, before in self._others:
                ids += self._copy(before)
                ids.append(queue.add(self._db, job, now=self._now))
            ids += self._copy(self._count)
        return ids

    def _copy(self, until: int) -> Sequence[int]:
        """Queue the rows up to that one that are not yet. Their ids: inside a transaction nobody comes between."""
        if until == self._copied:
            return ()
        found = self._db.execute("select seq from sqlite_sequence where name = 'job'").fetchone()
        last = found["seq"] if found else 0
        self._db.execute("pragma ignore_check_constraints = on")  # _lawful has looked: twice would be a third more
        try:
            self._db.execute(COPY, (self._copied, until))
        finally:
            self._db.execute("pragma ignore_check_constraints = off")
        self._db.execute(
            "insert into event (job_id, attempt, at, what) select id, 0, ?, 'added' from job where id > ?",
            (self._now, last),
        )
        count, self._copied = until - self._copied, until
        return range(last + 1, last + 1 + count)


def _lawful(new: NewJob) -> bool:
    """Whether it keeps the laws of a new row in schema.sql."""
    return (
        new.lane in LANES and new.max_failures >= 1 and new.parent_id is None
        and (new.needs_vram_mib is None or new.needs_vram_mib >= 0) and (new.stall_s is None or new.stall_s > 0)
    )  # fmt: skip
