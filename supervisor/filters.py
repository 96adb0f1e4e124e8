"""Which jobs are meant: by state, kind, name, tag, time or text. What `list` shows, and what may be moved together.

The newest come first, out of one index: of each state and kind its newest few, so that a million jobs cost no more
than a thousand. A name, a tag or a text has to be looked for among all of them.
"""

import argparse
import heapq
import sqlite3
from dataclasses import dataclass
from typing import Any

from supervisor import queue
from supervisor.commands.words import seconds
from supervisor.errors import Refused
from supervisor.job import Job

TOUCHED = "coalesce(finished_at, started_at, created_at)"  # as in the index job_touched
NEXT_KIND = "select kind from job where state = ? and kind > ? order by kind limit 1"
TEXTS = ("name", "args", "memo", "note", "error")


@dataclass(frozen=True)
class Filter:
    """What was asked for; nothing asked for is every job."""

    states: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    name: str | None = None  # with * and ?
    tag: str | None = None
    since: float | None = None  # Unix seconds: added, started or ended after that
    text: str | None = None  # somewhere in its name, args, memo, note or error

    @property
    def is_empty(self) -> bool:
        return self == Filter()

    def where(self) -> tuple[str, list[Any]]:
        """It as SQL, and its values."""
        parts, values = ["1"], list[Any]()
        for column, words in (("state", self.states), ("kind", self.kinds)):
            if words:
                parts.append(f"{column} in ({','.join('?' * len(words))})")
                values += words
        return _and(parts, values, self._others())

    def _others(self) -> list[tuple[str, list[Any]]]:
        """What the index of states and kinds does not know."""
        found: list[tuple[str, list[Any]]] = []
        if self.since is not None:
            found.append((f"{TOUCHED} >= ?", [self.since]))
        if self.name is not None:
            found.append(("name glob ?", [self.name]))
        if self.tag is not None:
            found.append(("id in (select job_id from tag where tag.name = ?)", [self.tag]))
        if self.text is not None:
            like = "%" + self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            found.append((" or ".join(f"{column} like ? escape '\\'" for column in TEXTS), [like] * len(TEXTS)))
        return found


def _and(parts: list[str], values: list[Any], more: list[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    return (
        " and ".join([*parts, *(f"({sql})" for sql, _ in more)]),
        [*values, *(value for _, some in more for value in some)],
    )


def read(told: argparse.Namespace, *, now: float) -> Filter:
    """The filter of a command line. Raises Refused for a state there is not, and for what is no duration."""
    states = tuple(told.state.split(",")) if told.state else ()
    if wrong := [state for state in states if state not in queue.STATES]:
        raise Refused(f"there is no state {wrong[0]!r}: take {', '.join(queue.STATES)}")
    return Filter(
        states=states,
        kinds=tuple(told.kind.split(",")) if told.kind else (),
        name=told.name, tag=told.tag, text=told.text or None,
        since=now - seconds("--since", told.since) if told.since else None,
    )  # fmt: skip


def newest(db: sqlite3.Connection, wanted: Filter, limit: int) -> list[Job]:
    """The jobs of a filter: those that run, then the newest work first."""
    sql, values = _and(["state = ?", "kind = ?"], [], wanted._others())
    found: list[tuple[bool, float, int]] = []
    for state, kind in groups(db):
        if (wanted.states and state not in wanted.states) or (wanted.kinds and kind not in wanted.kinds):
            continue
        rows = db.execute(
            f"select id, {TOUCHED} as at from job where {sql} order by at desc, id desc limit ?",
            [state, kind, *values, limit],
        )
        found += [(state == "running", row["at"], row["id"]) for row in rows]
    return [queue.get(db, job_id) for _, _, job_id in heapq.nlargest(limit, found)]


def groups(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every (state, kind) that there is: one step in the index for each."""
    found: list[tuple[str, str]] = []
    for state in queue.STATES:
        kind = ""
        while row := db.execute(NEXT_KIND, (state, kind)).fetchone():
            kind = row["kind"]
            found.append((state, kind))
    return found


def ids(db: sqlite3.Connection, wanted: Filter) -> list[int]:
    """All jobs of a filter, oldest first."""
    sql, values = wanted.where()
    return [row["id"] for row in db.execute(f"select id from job where {sql} order by id", values)]
