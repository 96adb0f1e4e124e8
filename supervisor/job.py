"""A job: as the queue keeps it, and as it is asked for."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from supervisor import shared

LANES = ("gpu", "cpu")
MAX_FAILURES = 3


@dataclass(frozen=True)
class Job:
    """A row of the job table."""

    id: int
    key: str | None
    kind: str
    name: str
    args: dict[str, Any]
    lane: str
    priority: int
    preemptible: bool
    state: str
    wish: str | None
    blockers: int
    available_at: float
    attempt: int
    failures: int
    max_failures: int
    losses: int
    idle_releases: int
    done: float
    total: float
    unit: str
    metrics: dict[str, Any]
    best_done: float
    eta_at: float | None
    note: str | None
    error: str | None
    parent_id: int | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    needs_vram_mib: int | None
    peak_vram_mib: int | None
    stall_s: float | None
    cause: str
    memo: str
    evergreen_id: int | None
    origin: dict[str, Any] = field(default_factory=dict)  # where and from which code it was added
    env_id: int | None = None
    origin_id: int | None = None
    outgrowths: int = 0
    ran_s: float = 0.0  # seconds of its attempts that are over

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "Job":
        """The row alone: without what it shares with others (its environment, its origin)."""
        values = {name: row[name] for name in COLUMNS}
        values |= {name: json.loads(row[name]) for name in ("args", "metrics")}
        values["preemptible"] = bool(row["preemptible"])
        return cls(**values)

    @classmethod
    def whole(cls, db: sqlite3.Connection, row: sqlite3.Row) -> "Job":
        """The row, with what it shares with others."""
        job = cls.from_row(row)
        if job.env_id is not None:
            job.args["env"] = shared.read(db, job.env_id)
        if job.origin_id is not None:
            job.origin.update(shared.read(db, job.origin_id))
        return job


COLUMNS = tuple(one.name for one in fields(Job) if one.name != "origin")  # once: a `go` waits for a row to be read


class NewJob(NamedTuple):
    """What `add` needs to know. A tuple, since a million are made at once: a dataclass takes three times as long."""

    kind: str
    args: Mapping[str, Any]
    lane: str
    name: str | None = None
    priority: int = 0
    preemptible: bool = True
    after: Sequence[int] = ()
    available_at: float = 0.0
    max_failures: int = MAX_FAILURES
    key: str | None = None
    parent_id: int | None = None  # the running job that submitted it
    needs_vram_mib: int | None = None
    stall_s: float | None = None
    evergreen_id: int | None = None  # the evergreen that made it
    origin: Mapping[str, Any] | None = None  # where and from which code it was added
