"""A job's whole life. Read this first.

             claim                   succeed (exit 0)
queued ───────────────► running ──────────────────────► succeeded
  ▲ ▲                    │ │ │ └── fail: failures spent, bad args, never any progress ──► failed
  │ └──── release ───────┘ │ └──── cancel ──► cancelled
  │ └──── retry (backoff) ─┘
  └──── resume ◄── paused ◄── pause (queued: at once; running: save, leave, VRAM freed)

Every arrow is one function and one transaction. Every arrow out of `running` names its attempt: an attempt that lost
the job matches no row, and raises StaleAttempt. *release* is blameless; *retry* is blamed and backs off. `failures`,
`losses` and `idle_releases` fall back to 0 when work is done that was never done before, and only then.

jobctl moves what does not run, and leaves a wish on what does; only jobd moves a job that runs.
"""

import json
import math
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from supervisor import rows, shared
from supervisor.db import transaction
from supervisor.errors import Refused, StaleAttempt
from supervisor.job import Job, NewJob

STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
OVER = ("succeeded", "failed", "cancelled")
EDITABLE = ("queued", "paused", "failed", "cancelled")
MAX_LOSSES = 3  # attempts in a row that took the machine down: then the job is held
MAX_OUTGROWTHS = 3  # times in a row that it outgrew its VRAM: then it never fits
MAX_IDLE_RELEASES = 20  # exits with 75 in a row without any progress: then it goes in circles
CAUSES = ("failed", "out of memory", "stalled", "killed", "bad args", "in circles")  # of a blamed end
DUE = (  # of a lane, now: highest priority first, then oldest
    "from job where state = 'queued' and blockers = 0 and later = 0 and lane = ? and available_at <= ?"
    " and evergreen_id is null order by priority desc, id"
)
BACKOFF_S = 5.0
MAX_BACKOFF_S = 900.0


# ── into the queue ────────────────────────────────────────────────────────────────────────────────────────────────


def add(db: sqlite3.Connection, new: NewJob, *, now: float) -> int:
    """A new job, queued. Its id. With a key that is taken, the id of the job that has it; nothing changes.

    Raises Refused when it would wait for a job that does not exist.
    """
    with transaction(db):
        if new.key is not None and (known := find_key(db, new.key)) is not None:
            return known
        after = sorted(set(new.after))
        blockers = sum(get(db, needed).state != "succeeded" for needed in after)
        job_id = db.execute(rows.INSERT, rows.row(partial(rows.share, db), new, now, blockers, {})).lastrowid
        assert job_id is not None
        db.executemany("insert into need values (?, ?)", [(job_id, needed) for needed in after])
        _log(db, job_id, 0, "added", at=now)
    return job_id


def claim(db: sqlite3.Connection, lane: str, *, now: float) -> Job | None:
    """queued -> running: the next due job of a lane, highest priority first, then oldest. None if nothing is due.

    What an evergreen made is not among them: standing.py says whose turn it is when nothing else is due.
    """
    with transaction(db):
        put_in_line(db, now=now)
        first = db.execute(f"select id {DUE} limit 1", (lane, now)).fetchone()
        return claim_job(db, first["id"], now=now) if first else None


def claim_job(db: sqlite3.Connection, job_id: int, *, now: float) -> Job | None:
    """queued -> running: this very job. None when it is not due."""
    with transaction(db):
        row = db.execute(
            "update job set state = 'running', attempt = attempt + 1, started_at = :now, eta_at = null, note = null,"
            " later = 0"
            " where id = :id and state = 'queued' and blockers = 0 and available_at <= :now returning *",
            {"id": job_id, "now": now},
        ).fetchone()
        if row is None:
            return None
        job = Job.whole(db, row)
        _log(db, job.id, job.attempt, "claimed", at=now)
    return job


def peek(db: sqlite3.Connection, lane: str, *, now: float) -> Job | None:
    """The job that `claim` would take now."""
    return next(due(db, lane, now=now, most=1), None)


def has_due(db: sqlite3.Connection, lane: str, *, now: float) -> bool:
    """Whether `claim` would take a job now."""
    put_in_line(db, now=now)
    return db.execute(f"select 1 {DUE} limit 1", (lane, now)).fetchone() is not None


def due(db: sqlite3.Connection, lane: str, *, now: float, most: int) -> Iterator[Job]:
    """The first jobs that `claim` would take, one after the other."""
    put_in_line(db, now=now)
    rows = db.execute(f"select * {DUE} limit ?", (lane, now, most))
    return (Job.whole(db, row) for row in rows)


def is_needed(db: sqlite3.Connection, job_id: int) -> bool:
    """Whether any job waits for this one to succeed. While none does, its success changes nobody else's turn."""
    return db.execute("select 1 from need where needs_id = ? limit 1", (job_id,)).fetchone() is not None


def put_in_line(db: sqlite3.Connection, *, now: float) -> None:
    """Jobs that were put off until a time that has come. Till then they stand apart, in nobody's way."""
    if db.execute("select 1 from job where later = 1 and available_at <= ? limit 1", (now,)).fetchone():
        with transaction(db):
            db.execute("update job set later = 0 where later = 1 and available_at <= ?", (now,))


# ── out of running: each names its attempt ────────────────────────────────────────────────────────────────────────


def succeed(db: sqlite3.Connection, job_id: int, attempt: int, *, now: float) -> None:
    """running -> succeeded. What waited for it alone is due."""
    with transaction(db):
        _leave(db, job_id, attempt, "succeeded", now, finished_at=now, error=None, available_at=now)
        db.execute(
            "update job set blockers = blockers - 1 where id in (select job_id from need where needs_id = ?)", (job_id,)
        )


def release(db: sqlite3.Connection, job_id: int, attempt: int, why: str, *, now: float, state: str = "queued") -> None:
    """running -> queued (or paused): blameless. Somebody needed the GPU, or the supervisor left, or the user paused."""
    with transaction(db):
        _leave(db, job_id, attempt, state, now, detail=why, available_at=now)


def leave_unfinished(db: sqlite3.Connection, job_id: int, attempt: int, *, now: float) -> str:
    """running -> queued: it saved and said 75. Blameless, unless it does so for ever without any progress."""
    with transaction(db):
        job = get(db, job_id)
        if job.idle_releases + 1 >= MAX_IDLE_RELEASES:
            why = f"left unfinished {MAX_IDLE_RELEASES} times without progress"
            return fail(db, job_id, attempt, why, now=now, cause="in circles")
        db.execute("update job set idle_releases = idle_releases + 1 where id = ?", (job_id,))
        release(db, job_id, attempt, "unfinished", now=now)
    return "queued"


def lose(db: sqlite3.Connection, job_id: int, attempt: int, *, now: float) -> str:
    """running -> queued: the machine went down under it. Three times in a row without progress hold the job."""
    with transaction(db):
        losses = get(db, job_id).losses + 1
        db.execute("update job set losses = ? where id = ?", (losses, job_id))
        if losses < MAX_LOSSES:
            release(db, job_id, attempt, "the machine went down", now=now)
            return "queued"
        why = f"the machine went down {losses} times under this job without progress: `jobctl resume {job_id}` to dare"
        db.execute("update job set note = ? where id = ?", (why, job_id))
        release(db, job_id, attempt, why, now=now, state="paused")
        _log(db, job_id, attempt, "held", why, at=now)
    return "paused"


def outgrow(db: sqlite3.Connection, job_id: int, attempt: int, why: str, *, now: float) -> str:
    """running -> queued: it held more VRAM than its user said, and left. Blameless while it makes progress."""
    with transaction(db):
        outgrowths = get(db, job_id).outgrowths + 1
        db.execute("update job set outgrowths = ? where id = ?", (outgrowths, job_id))
        if outgrowths >= MAX_OUTGROWTHS:
            why = f"{why}; {outgrowths} times without progress: give it more with --vram, or a smaller batch"
            return fail(db, job_id, attempt, why, now=now, cause="out of memory")
        release(db, job_id, attempt, why, now=now)
    return "queued"


def retry(db: sqlite3.Connection, job_id: int, attempt: int, why: str, *, now: float, cause: str = "failed") -> str:
    """running -> queued, later: blamed, with a backoff; or -> failed when the failures are spent. The new state.

    cause: one of CAUSES.
    """
    with transaction(db):
        job = get(db, job_id)
        if job.failures + 1 >= job.max_failures:
            return fail(db, job_id, attempt, why, now=now, failures=job.failures + 1, cause=cause)
        wait_s = backoff_s(job.failures + 1)
        _leave(
            db, job_id, attempt, "queued", now,
            detail=why, error=why, cause=cause, failures=job.failures + 1, available_at=now + wait_s,
        )  # fmt: skip
    return "queued"


def fail(
    db: sqlite3.Connection,
    job_id: int,
    attempt: int,
    why: str,
    *,
    now: float,
    failures: int | None = None,
    cause: str = "failed",
) -> str:
    """running -> failed, for good: `jobctl retry` alone brings it back."""
    changes: dict[str, Any] = {"cause": cause} if failures is None else {"cause": cause, "failures": failures}
    with transaction(db):
        _leave(db, job_id, attempt, "failed", now, detail=why, error=why, finished_at=now, **changes)
    return "failed"


def end_cancelled(db: sqlite3.Connection, job_id: int, attempt: int, *, now: float) -> None:
    """running -> cancelled: its user wished so."""
    with transaction(db):
        _leave(db, job_id, attempt, "cancelled", now, finished_at=now)


def backoff_s(failures: int) -> float:
    """The wait after the n-th failure in a row, in seconds: times four each, with a tenth of jitter."""
    return float(min(BACKOFF_S * 4 ** (failures - 1), MAX_BACKOFF_S)) * random.uniform(0.9, 1.1)


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────────────────────


def note_progress(db: sqlite3.Connection, job_id: int, attempt: int, report: Mapping[str, Any], *, now: float) -> None:
    """What a running attempt says of itself. Work never done before forgives what went wrong before it."""
    done, total = float(report["done"]), float(report["total"])
    with transaction(db):
        job = get(db, job_id)
        if (job.state, job.attempt) != ("running", attempt):
            raise StaleAttempt(f"job {job_id}, attempt {attempt}")
        metrics = {
            key: value if math.isfinite(value) else None  # JSON has no NaN; None says that it is not a number any more
            for key, value in dict(report.get("metrics", {})).items()
            if value is not None
        }
        db.execute(
            "update job set done = ?, total = ?, unit = ?, metrics = ?, eta_at = ? where id = ?",
            (done, total, str(report.get("unit", "")), json.dumps(job.metrics | metrics), report.get("eta_at"), job_id),
        )
        if done > job.best_done:
            db.execute(
                "update job set best_done = ?, failures = 0, losses = 0, idle_releases = 0, outgrowths = 0"
                " where id = ?",
                (done, job_id),
            )


def set_note(db: sqlite3.Connection, job_id: int, attempt: int, text: str, *, now: float) -> None:
    """One sentence of a running attempt, for the person who reads `jobctl show`."""
    with transaction(db):
        db.execute("update job set note = ? where id = ? and attempt = ?", (text, job_id, attempt))
        _log(db, job_id, attempt, "note", text, at=now)


# ── asked by a person ─────────────────────────────────────────────────────────────────────────────────────────────


def pause(db: sqlite3.Connection, job_id: int, *, now: float) -> None:
    """queued -> paused at once; a running job is asked to save and leave, so that its VRAM is free."""
    _ask(db, job_id, {"queued": "paused", "paused": "paused"}, "pause", now)


def cancel(db: sqlite3.Connection, job_id: int, *, now: float) -> None:
    """queued or paused -> cancelled at once; a running job is asked to save and leave first."""
    _ask(db, job_id, {"queued": "cancelled", "paused": "cancelled", "cancelled": "cancelled"}, "cancel", now)


def resume(db: sqlite3.Connection, job_id: int, *, now: float) -> None:
    """paused -> queued. A pause that a running job was asked for and has not made yet is taken back."""
    with transaction(db):
        job = get(db, job_id)
        if job.state == "running" and job.wish == "pause":
            db.execute("update job set wish = null where id = ?", (job_id,))
        elif job.state == "paused":
            db.execute("update job set state = 'queued', note = null, losses = 0 where id = ?", (job_id,))
        elif job.state != "queued":
            raise Refused(f"job {job_id} is {job.state}, not paused" + _hint(job))
        _log(db, job_id, job.attempt, "resumed", at=now)


AFRESH = (  # a job that was over, as it is when it is tried again; its evergreen may have gone on without it
    "state = 'queued', finished_at = null, failures = 0, losses = 0, idle_releases = 0, outgrowths = 0, error = null,"
    " available_at = :now,"
    " evergreen_id = (select one.id from standing as one where one.id = job.evergreen_id and one.job_id = job.id)"
)


def again(db: sqlite3.Connection, job_id: int, *, now: float) -> None:
    """failed or cancelled -> queued, its failures forgotten."""
    with transaction(db):
        job = get(db, job_id)
        if job.state == "queued" and job.available_at > now:  # it waits for its backoff: spare it the wait
            db.execute("update job set available_at = ?, failures = 0 where id = ?", (now, job_id))
        elif job.state in ("failed", "cancelled"):
            db.execute(f"update job set {AFRESH} where id = :id", {"now": now, "id": job_id})
        else:
            raise Refused(f"job {job_id} is {job.state}: only failed and cancelled jobs can be retried")
        _log(db, job_id, job.attempt, "retried", at=now)


def set_priority(db: sqlite3.Connection, job_id: int, priority: int, *, now: float) -> None:
    with transaction(db):
        job = get(db, job_id)
        if job.state in OVER:
            raise Refused(f"job {job_id} is already over ({job.state})")
        db.execute("update job set priority = ? where id = ?", (priority, job_id))
        _log(db, job_id, job.attempt, "priority", str(priority), at=now)


def set_args(
    db: sqlite3.Connection, job_id: int, args: Mapping[str, Any], *, now: float, preemptible: bool | None = None
) -> None:
    """New args for a job that does not run. preemptible: what they make of it; None: as it was."""
    with transaction(db):
        job = get(db, job_id)
        if job.state in ("running", "succeeded"):
            raise Refused(f"job {job_id} is {job.state}: pause it first" if job.state == "running" else
                          f"job {job_id} has succeeded: add a new one instead")  # fmt: skip
        env_id = rows.share(db, args.get("env"))
        db.execute(
            "update job set args = ?, env_id = ?, preemptible = coalesce(?, preemptible) where id = ?",
            (rows.fold(args), env_id, preemptible, job_id),
        )
        if job.env_id is not None and job.env_id != env_id:
            shared.forget(db, [job.env_id])
        _log(db, job_id, job.attempt, "edited", at=now)


def set_memo(db: sqlite3.Connection, job_id: int, text: str, *, now: float) -> None:
    """Its user's own words, of any state."""
    with transaction(db):
        job = get(db, job_id)
        db.execute("update job set memo = ? where id = ?", (text, job_id))
        _log(db, job_id, job.attempt, "memo", text, at=now)


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────


def get(db: sqlite3.Connection, job_id: int) -> Job:
    row = db.execute("select * from job where id = ?", (job_id,)).fetchone()
    if row is None:
        raise Refused(f"there is no job {job_id}: `jobctl list` shows those there are")
    return Job.whole(db, row)


def find_key(db: sqlite3.Connection, key: str) -> int | None:
    row = db.execute("select id from job where key = ?", (key,)).fetchone()
    return row["id"] if row else None


def running(db: sqlite3.Connection) -> list[Job]:
    return [Job.whole(db, row) for row in db.execute("select * from job where state = 'running' order by id")]


def wish(db: sqlite3.Connection, job_id: int) -> str | None:
    """What its user wishes of this job while it runs: 'pause', 'cancel' or nothing."""
    row = db.execute("select wish from job where id = ?", (job_id,)).fetchone()
    return row["wish"] if row else None


def wishes(db: sqlite3.Connection) -> dict[int, str]:
    """What users wish of running jobs: {job id: 'pause' | 'cancel'}."""
    rows = db.execute("select id, wish from job where state = 'running' and wish is not null")
    return {row["id"]: row["wish"] for row in rows}


def next_due_at(db: sqlite3.Connection, *, now: float) -> float | None:
    """When the next job that waits only for its time comes due. None if there is none."""
    row = db.execute(
        "select available_at as at from job indexed by job_later"
        " where state = 'queued' and blockers = 0 and available_at > ?"
        " order by available_at limit 1",
        (now,),
    ).fetchone()
    return None if row is None else row["at"]


def can_still_run(db: sqlite3.Connection) -> bool:
    """Whether any job runs, is due, or will be when its time comes: `jobd --until-empty` leaves when none can."""
    row = db.execute(
        "select 1 from job where state = 'running' or (state = 'queued' and blockers = 0 and evergreen_id is null)"
        " limit 1"
    ).fetchone()
    return row is not None


def is_paused(db: sqlite3.Connection) -> bool:
    """Whether the whole queue was paused by hand."""
    row = db.execute("select value from meta where key = 'paused'").fetchone()
    return row is not None and row["value"] == "1"


def set_paused(db: sqlite3.Connection, paused: bool) -> None:
    with transaction(db):
        db.execute("insert or replace into meta values ('paused', ?)", ("1" if paused else "0",))


def ids_of_keys(db: sqlite3.Connection, keys: Iterable[str]) -> list[int]:
    """The jobs of these keys. Raises Refused for a key nobody has."""
    ids = []
    for key in keys:
        job_id = find_key(db, key)
        if job_id is None:
            raise Refused(f"no job has the key {key!r}")
        ids.append(job_id)
    return ids


# ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _leave(
    db: sqlite3.Connection, job_id: int, attempt: int, state: str, now: float, *, detail: str = "", **changes: Any
) -> None:
    """The one way out of running: matches id, attempt and state, or raises StaleAttempt."""
    changes |= {"state": state, "wish": None, "eta_at": None}
    columns = ", ".join(f"{column} = :{column}" for column in changes)
    cursor = db.execute(
        f"update job set {columns}, ran_s = ran_s + max(0, :now - started_at)"
        " where id = :id and attempt = :attempt and state = 'running'",
        changes | {"id": job_id, "attempt": attempt, "now": now},
    )
    if cursor.rowcount != 1:
        raise StaleAttempt(f"job {job_id}, attempt {attempt}")
    _log(db, job_id, attempt, state, detail, at=now)


def _ask(db: sqlite3.Connection, job_id: int, at_once: Mapping[str, str], wish: str, now: float) -> None:
    with transaction(db):
        job = get(db, job_id)
        if job.state == "running":
            if job.wish != "cancel":
                db.execute("update job set wish = ? where id = ?", (wish, job_id))
        elif job.state == at_once.get(job.state):
            return  # it is so already: when it ended stays true
        elif job.state in at_once:
            state = at_once[job.state]
            finished_at = now if state in OVER else None
            db.execute("update job set state = ?, finished_at = ? where id = ?", (state, finished_at, job_id))
        else:
            raise Refused(f"job {job_id} is already over ({job.state})" + _hint(job))
        _log(db, job_id, job.attempt, f"{wish} asked", at=now)


def _hint(job: Job) -> str:
    return f": `jobctl retry {job.id}` queues it again" if job.state in ("failed", "cancelled") else ""


def _log(db: sqlite3.Connection, job_id: int, attempt: int, what: str, detail: str = "", *, at: float) -> None:
    db.execute(
        "insert into event (job_id, attempt, at, what, detail) values (?, ?, ?, ?, ?)",
        (job_id, attempt, at, what, detail),
    )
