"""How many jobs there are. Where there are a million that is dear, tens of milliseconds: SQLite counts one by one."""

import sqlite3
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from supervisor import filters, queue
from supervisor.db import deferred
from supervisor.job import LANES

CHEAP_S = 0.005
SHARE = 0.01  # of the time that may go into asking what is not cheap
T = TypeVar("T")


def by_state(db: sqlite3.Connection) -> dict[str, int]:
    """{state: jobs}, without those there are none of.

    All of them are counted at once, ten times as quick as a part of them; what is left of them has succeeded.
    """
    with deferred(db):
        found = {
            state: _count(db, "job_touched where state = ?", state) for state in queue.STATES if state != "succeeded"
        }
        [together] = db.execute("select count(*) from job").fetchone()
    found["succeeded"] = together - sum(found.values())
    return {state: found[state] for state in queue.STATES if found[state]}


def by_kind(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """{(state, kind): jobs}."""
    return {group: _count(db, "job_touched where state = ? and kind = ?", *group) for group in filters.groups(db)}


def in_line(db: sqlite3.Connection) -> dict[str, int]:
    """{lane: jobs that wait for nothing but their turn, or their time}."""
    waits = "state = 'queued' and blockers = 0 and lane = ?"
    indexes = ("job_due where later = 0", "job_put_off where later = 1")
    return {lane: sum(_count(db, f"{some} and {waits}", lane) for some in indexes) for lane in LANES}


def _count(db: sqlite3.Connection, index_and_where: str, *values: str) -> int:
    return int(db.execute(f"select count(*) from job indexed by {index_and_where}", values).fetchone()[0])


class Seldom(Generic[T]):
    """An answer that may be dear. A dear one is kept for so long that asking takes at most SHARE of the time."""

    def __init__(self, ask: Callable[[sqlite3.Connection], T]) -> None:
        self._ask = ask
        self._known: T | None = None
        self._until = 0.0  # monotonic

    def now(self, db: sqlite3.Connection) -> T:
        """Raises OperationalError when asking was interrupted and there is no answer from before."""
        began = time.monotonic()
        if self._known is None or began >= self._until:
            try:
                self._known = self._ask(db)
            except sqlite3.OperationalError:
                if self._known is None:
                    raise
            took_s = time.monotonic() - began
            self._until = began + (took_s / SHARE if took_s > CHEAP_S else 0.0)
        return self._known
