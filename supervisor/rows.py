"""A new job as a row of the job table. What many jobs have in common (their environment, their origin) is kept once."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from supervisor import shared
from supervisor.job import NewJob

COLUMNS = (
    "key", "kind", "name", "args", "lane", "priority", "preemptible", "blockers", "available_at", "max_failures",
    "parent_id", "created_at", "needs_vram_mib", "stall_s", "evergreen_id", "later", "env_id", "origin_id",
)  # fmt: skip
INSERT = f"insert into job ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"


def row(
    share: Callable[[Any], int | None], new: NewJob, now: float, blockers: int, known: dict[int, tuple[object, Any]]
) -> tuple[Any, ...]:
    """A new job as COLUMNS. share: gives a text its number. known: what many have in common and is made already."""
    env = new.args.get("env")
    return (
        new.key, new.kind, new.name or new.kind, _once(known, new.args, fold), new.lane, new.priority,
        new.preemptible, blockers, new.available_at, new.max_failures, new.parent_id, now, new.needs_vram_mib,
        new.stall_s, new.evergreen_id, new.available_at > now, _once(known, env, share),
        _once(known, new.origin, share),
    )  # fmt: skip


def _once(known: dict[int, tuple[object, Any]], of: Any, make: Callable[[Any], Any]) -> Any:
    """What `make` gives, once for each object, which is kept: its id() must not become another's."""
    if id(of) not in known:
        known[id(of)] = (of, make(of))
    return known[id(of)][1]


def fold(args: Mapping[str, Any]) -> str:
    """Args as the table keeps them: without the environment, which many jobs have in common."""
    return json.dumps({key: value for key, value in args.items() if key != "env" or not is_shared(value)})


def is_shared(value: object) -> bool:
    """Whether it is kept once for all jobs that have it: an environment or an origin that holds anything."""
    return isinstance(value, dict) and bool(value)


def share(db: sqlite3.Connection, value: Any) -> int | None:
    return shared.keep(db, value) if is_shared(value) else None
