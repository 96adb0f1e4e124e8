"""What gives work by itself: an evergreen when nothing else is due on the GPU lane, a schedule when its time comes.

Each is a template, and `job_id` is the newest job it made: while that one is not over, it makes no other. Real work
always goes first: what evergreens made is claimed only here, in turn. Whose turn it is, their `pass` says: it grows by
the seconds its jobs ran / weight, and the smallest is next (stride scheduling). An evergreen whose job failed for good
is disabled with the reason, and the others go on. To edit or to remove one touches none of its jobs.
"""

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import jobs.kind
from supervisor import cron, queue
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.job import Job, NewJob

EVERGREEN_PRIORITY = -1000  # so that whatever is added interrupts it
EVERY_S = 1.0  # the least between two jobs of one evergreen: those of one that ends at once must not fill the queue
DAY_S = 86400.0

# Evergreens whose job could be claimed or made now, or is to be judged. One that is disabled still has its job go on.
DUE = """
    from standing left join job on job.id = standing.job_id
    where standing.what = 'evergreen' and (standing.enabled = 1 or job.state = 'queued')
    and coalesce(standing.next_at, 0) <= :now and (
        job.id is null or job.state in ('succeeded', 'cancelled', 'failed')
        or (job.state = 'queued' and job.blockers = 0 and job.available_at <= :now)
    )"""
TIME = "from standing where what = 'schedule' and enabled = 1 and next_at <= ?"  # schedules whose time has come
IN_TURN = "order by standing.priority desc, standing.pass, standing.id"


@dataclass(frozen=True)
class Standing:
    """A row of the table."""

    what: str
    name: str
    kind: str
    args: dict[str, Any]
    lane: str
    priority: int
    preemptible: bool
    max_failures: int
    weight: float = 1.0
    cron: str | None = None
    timezone: str | None = None
    next_at: float | None = None
    id: int = 0
    enabled: bool = True
    last_at: float | None = None
    job_id: int | None = None
    made: int = 0
    why: str = ""
    needs_vram_mib: int | None = None
    stall_s: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)  # who said `add`, where, from which code

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> "Standing":
        values = {one.name: row[one.name] for one in fields(cls)}
        values |= {name: json.loads(row[name]) for name in ("args", "origin")}
        values |= {name: bool(row[name]) for name in ("preemptible", "enabled")}
        return cls(**values)


# ── asked by a person ─────────────────────────────────────────────────────────────────────────────────────────────


def add(db: sqlite3.Connection, new: Standing, *, now: float) -> None:
    """A new one. Raises Refused when its name is taken, or its time never comes."""
    with transaction(db):
        if db.execute("select 1 from standing where name = ?", (new.name,)).fetchone():
            raise Refused(f"there is one called {new.name!r} already: take another name, or edit it")
        next_at = cron.next_after(new.cron, new.timezone or "UTC", now) if new.cron else None
        db.execute(
            "insert into standing (what, name, kind, args, lane, priority, preemptible, max_failures, weight, pass,"
            " cron, timezone, next_at, created_at, needs_vram_mib, stall_s, origin)"
            " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (new.what, new.name, new.kind, json.dumps(new.args), new.lane, new.priority, new.preemptible,
             new.max_failures, new.weight, _least_pass(db), new.cron, new.timezone, next_at, now,
             new.needs_vram_mib, new.stall_s, json.dumps(new.origin)),
        )  # fmt: skip


def get(db: sqlite3.Connection, what: str, name: str) -> Standing:
    row = db.execute("select * from standing where what = ? and name = ?", (what, name)).fetchone()
    if row is None:
        raise Refused(f"there is no {what} called {name!r}: `jobctl {what} list` shows those there are")
    return Standing.from_row(row)


def all_of(db: sqlite3.Connection, what: str) -> list[Standing]:
    rows = db.execute("select * from standing where what = ? order by priority desc, name", (what,))
    return [Standing.from_row(row) for row in rows]


def edit(db: sqlite3.Connection, changed: Standing, *, now: float) -> None:
    """Its template, weight and time from now on; the job it has stays as it is, and so does a time that has come."""
    with transaction(db):
        was = get(db, changed.what, changed.name)
        next_at = was.next_at
        if changed.cron and (changed.cron, changed.timezone) != (was.cron, was.timezone):
            next_at = cron.next_after(changed.cron, changed.timezone or "UTC", now)
        db.execute(
            "update standing set args = ?, priority = ?, preemptible = ?, max_failures = ?, weight = ?, cron = ?,"
            " timezone = ?, next_at = ?, needs_vram_mib = ?, stall_s = ?, origin = ? where id = ?",
            (json.dumps(changed.args), changed.priority, changed.preemptible, changed.max_failures, changed.weight,
             changed.cron, changed.timezone, next_at, changed.needs_vram_mib, changed.stall_s,
             json.dumps(changed.origin), changed.id),
        )  # fmt: skip


def enable(db: sqlite3.Connection, one: Standing, *, now: float) -> None:
    """Give work from now on: what it missed is not made up for, what failed is forgotten."""
    with transaction(db):
        next_at = cron.next_after(one.cron, one.timezone or "UTC", now) if one.cron else one.next_at
        db.execute(
            "update standing set enabled = 1, why = '', next_at = ?, pass = max(pass, ?), job_id ="
            " (select id from job where id = standing.job_id and state <> 'failed') where id = ?",
            (next_at, _least_pass(db), one.id),
        )


def disable(db: sqlite3.Connection, one: Standing, why: str = "by hand") -> None:
    """Make no more jobs. The one it has goes on."""
    with transaction(db):
        db.execute("update standing set enabled = 0, why = ? where id = ?", (why, one.id))


def remove(db: sqlite3.Connection, one: Standing) -> None:
    """Forget it. The job it has goes on, and is from now on a job like others."""
    with transaction(db):
        db.execute("delete from standing where id = ?", (one.id,))


def live_job(db: sqlite3.Connection, one: Standing) -> Job | None:
    """The job it made that is not over; None when there is none."""
    row = db.execute("select id, state from job where id = ?", (one.job_id,)).fetchone()
    return queue.get(db, row["id"]) if row and row["state"] not in queue.OVER else None


# ── evergreens ────────────────────────────────────────────────────────────────────────────────────────────────────


def is_due(db: sqlite3.Connection, *, now: float) -> bool:
    """Whether `claim` has anything to do. Changes nothing."""
    return db.execute(f"select 1 {DUE} limit 1", {"now": now}).fetchone() is not None


def peek(db: sqlite3.Connection, *, now: float) -> Job | None:
    """The job that `claim` would take now, if it is made already. Changes nothing."""
    row = db.execute(f"select job.id, job.state {DUE} {IN_TURN} limit 1", {"now": now}).fetchone()
    return queue.get(db, row["id"]) if row is not None and row["state"] == "queued" else None


def claim(db: sqlite3.Connection, *, now: float, fits: Callable[[Job], bool] = lambda job: True) -> Job | None:
    """queued -> running: the job of the evergreen whose turn it is, made now if it has none. None: none gives work.

    fits: whether the GPU has room for a job; whose job does not fit is passed over.
    """
    with transaction(db):
        rows = db.execute(f"select standing.*, job.state, job.error {DUE} {IN_TURN}", {"now": now}).fetchall()
        for row in rows:
            one = Standing.from_row(row)
            if row["state"] == "failed":
                _retire(db, one, row["error"], now)
            else:
                job_id = one.job_id if row["state"] == "queued" else _make(db, one, now, now + EVERY_S)
                assert job_id is not None
                if fits(queue.get(db, job_id)):
                    _catch_up(db, one, row["pass"])
                    return queue.claim_job(db, job_id, now=now)
    return None


def turn_is_over(
    db: sqlite3.Connection, job: Job, ran_s: float, *, now: float, fits: Callable[[Job], bool] = lambda job: True
) -> bool:
    """Whether another evergreen comes before the one whose job has run so long, and that job can go on later.

    fits: whether the GPU would have room for a job once it is left.
    """
    others = db.execute(
        f"select job.id, job.state {DUE} and job.state is not 'failed' and exists (select 1 from standing mine"
        " where mine.id = :mine and mine.id <> standing.id and (standing.priority > mine.priority"
        " or (standing.priority = mine.priority and standing.pass < mine.pass + :ran_s / mine.weight)))",
        {"now": now, "mine": job.evergreen_id, "ran_s": ran_s},
    ).fetchall()
    if not any(row["state"] != "queued" or fits(queue.get(db, row["id"])) for row in others):
        return False
    return jobs.kind.is_preemptible(job.kind, jobs.kind.parse(job.kind, job.args))


def charge(db: sqlite3.Connection, job: Job, seconds: float) -> None:
    """An attempt of a job ran so long: the turn of the evergreen that made it comes later by that."""
    if job.evergreen_id is not None:
        with transaction(db):
            db.execute("update standing set pass = pass + ? / weight where id = ?", (seconds, job.evergreen_id))


def charge_lost(db: sqlite3.Connection, job: Job) -> None:
    """The same for an attempt whose supervisor is gone: as far as the ledger saw it."""
    [seconds] = db.execute(
        "select coalesce(sum(seen_at - began_at), 0.0) from span where job_id = ? and began_at >= ?",
        (job.id, (job.started_at or 0.0) - 1.0),  # the ledger's clock and the calendar may be a second apart
    ).fetchone()
    charge(db, job, seconds)


def _catch_up(db: sqlite3.Connection, one: Standing, its_pass: float) -> None:
    """It is this one's turn at its pass: whose turn would have come before could not take it (paused, in its backoff,
    short of memory), and must not save it up, or it would have the lane for days."""
    db.execute(
        "update standing set pass = ? where what = 'evergreen' and priority = ? and pass < ?",
        (its_pass, one.priority, its_pass),
    )


def _retire(db: sqlite3.Connection, one: Standing, error: str, now: float) -> None:
    disable(db, one, f"job {one.job_id} failed: {error}")
    text = f"evergreen {one.name} gives no more work, since its job {one.job_id} failed: {error}"
    db.execute(
        "insert into notice (at, what, job_id, text, next_try_at) values (?, 'held', ?, ?, ?)",
        (now, one.job_id, text, now),
    )


def _least_pass(db: sqlite3.Connection) -> float:
    """Where a newcomer begins: level with the one whose turn is next, or it would have the lane for days."""
    [least] = db.execute("select min(pass) from standing where what = 'evergreen' and enabled = 1").fetchone()
    return float(least or 0.0)


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────────────────────


def is_time(db: sqlite3.Connection, *, now: float) -> bool:
    """Whether `fire` has anything to do."""
    return db.execute(f"select 1 {TIME} limit 1", (now,)).fetchone() is not None


def fire(db: sqlite3.Connection, *, now: float) -> None:
    """Make the job of each schedule whose time has come: one, however often it came while nobody looked.

    While the job it made last is not over, it makes none: jobs must not pile up behind a long one.
    """
    if not is_time(db, now=now):
        return
    with transaction(db):
        for row in db.execute(f"select * {TIME} order by next_at", (now,)).fetchall():
            one = Standing.from_row(row)
            if (next_at := _next_at(db, one, now)) is None:
                continue
            if live_job(db, one) is None:
                _make(db, one, now, next_at)
            db.execute("update standing set next_at = ?, last_at = ? where id = ?", (next_at, one.next_at, one.id))


def _next_at(db: sqlite3.Connection, one: Standing, after: float) -> float | None:
    """When a schedule comes next. None, and it is disabled: the machine does not know its zone any more."""
    try:
        return cron.next_after(one.cron or "", one.timezone or "UTC", after)
    except Refused as refusal:
        disable(db, one, str(refusal))
        return None


def reset_clock(db: sqlite3.Connection, *, now: float) -> None:
    """The calendar may have been set back: a time that was reckoned by a wrong one is reckoned again.

    A step of less than a day is taken for a correction: what fired before it does not fire again.
    """
    with transaction(db):
        rows = db.execute("select * from standing where what = 'schedule' and enabled = 1 and next_at > ?", (now,))
        for one in map(Standing.from_row, rows.fetchall()):
            fired = one.last_at if one.last_at is not None and one.last_at - now < DAY_S else now
            if (next_at := _next_at(db, one, max(now, fired))) is not None:
                db.execute("update standing set next_at = min(next_at, ?) where id = ?", (next_at, one.id))


def wakes_at(db: sqlite3.Connection, *, now: float) -> float | None:
    """When the next one may give work that gives none now; None when no time brings any."""
    [at] = db.execute("select min(next_at) from standing where enabled = 1 and next_at > ?", (now,)).fetchone()
    return None if at is None else float(at)


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _make(db: sqlite3.Connection, one: Standing, now: float, next_at: float) -> int:
    new = NewJob(
        one.kind, one.args, one.lane, name=one.name, priority=one.priority, preemptible=one.preemptible,
        max_failures=one.max_failures, evergreen_id=one.id if one.what == "evergreen" else None,
        needs_vram_mib=one.needs_vram_mib, stall_s=one.stall_s,
        origin=one.origin | {"made_by": f"{one.what} {one.name}"},
    )  # fmt: skip
    job_id = queue.add(db, new, now=now)
    db.execute("update standing set job_id = ?, made = made + 1, next_at = ? where id = ?", (job_id, next_at, one.id))
    return job_id


def as_dict(db: sqlite3.Connection, one: Standing) -> dict[str, Any]:
    """As `list --json` prints it; an environment stays where it is, and so does the origin: its jobs show it."""
    job = live_job(db, one)
    args = {key: value for key, value in one.args.items() if key != "env"}
    told = {name: value for name, value in dataclasses.asdict(one).items() if name != "origin"}
    return told | {"args": args, "job": job and job.id, "job_state": job and job.state}
