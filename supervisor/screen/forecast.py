"""When jobs will start and end, as far as anybody can know: by what runs now, and by what their like took before.

The queue is walked in the order in which jobs would be claimed, at most LOOK_AHEAD a lane: what stands behind that is
not estimated. A job whose like has never succeeded has no end, and what comes after it has no start.
"""

import heapq
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor import queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import Job

LOOK_AHEAD = 300  # jobs of a lane; then it is too far off to be worth a number
SOONEST = 50  # of those that were put off until a time
LIKE = 9  # the newest successes of its like that are asked


@dataclass(frozen=True)
class Expected:
    """Unix seconds; None: not known. before: how many of its lane come first; None: more than we look at."""

    starts_at: float | None = None
    ends_at: float | None = None
    before: int | None = None


@dataclass(frozen=True)
class _Waiting:
    """A job in the order of its claim."""

    id: int
    lane: str
    priority: int
    ready_at: float
    takes_s: float | None
    needs: frozenset[int]


def of_home(home: Home, db: sqlite3.Connection, *, now: float) -> dict[int, Expected]:
    """`expected` with the slots that a home has. With settings that are wrong now jobd goes on, and so do we."""
    from supervisor import settings

    try:
        slots = settings.read(home.path).cpu_slots
    except Refused:
        slots = settings.Settings().cpu_slots
    return expected(db, slots, now=now)


def expected(db: sqlite3.Connection, slots: int, *, now: float) -> dict[int, Expected]:
    """What is known of the jobs that run and of the next ones. slots: jobs side by side on the cpu lane."""
    running = queue.running(db)
    ends = {job.id: _end(db, job, now) for job in running}
    found = {job.id: Expected(job.started_at, ends[job.id]) for job in running}
    for lane, width in (("gpu", 1), ("cpu", slots)):
        free = [ends[job.id] for job in running if job.lane == lane]
        free += [now] * (width - len(free))
        found |= _walk(_waiting(db, lane, now), free[:width] or [now], ends)
    return found


def _walk(
    waiting: Sequence[_Waiting], free: Sequence[float | None], ends: dict[int, float | None]
) -> dict[int, Expected]:
    """One lane: each free slot takes the first that is ready. ends: grows by the ends found here."""
    found: dict[int, Expected] = {}
    slots = [at if at is not None else float("inf") for at in free]
    heapq.heapify(slots)
    left = list(waiting)
    while left:
        at = slots[0]
        position = next((i for i, job in enumerate(left) if _ready_at(job, ends) <= at), None)
        if position is None:  # the lane rests until the first of them is ready
            position = min(range(len(left)), key=lambda i: _ready_at(left[i], ends))
        job = left.pop(position)
        starts_at = max(at, _ready_at(job, ends))
        ends_at = starts_at + job.takes_s if job.takes_s is not None else float("inf")
        heapq.heapreplace(slots, ends_at)
        ends[job.id] = _known(ends_at)
        found[job.id] = Expected(_known(starts_at), _known(ends_at), len(found))
    return found


def _ready_at(job: _Waiting, ends: dict[int, float | None]) -> float:
    """When its time has come and all it needs will have ended; infinite when nobody knows."""
    over = [ends.get(needed) for needed in job.needs]
    return max([job.ready_at, *(at if at is not None else float("inf") for at in over)])


def _known(at: float) -> float | None:
    return at if at < float("inf") else None


def _waiting(db: sqlite3.Connection, lane: str, now: float) -> list[_Waiting]:
    """The next jobs of a lane, those that wait for others among them, in the order of their claim."""
    columns = "id, lane, priority, available_at, kind, name, args, done, total, ran_s"
    free = db.execute(
        f"select {columns} from job where state = 'queued' and blockers = 0 and later = 0 and lane = ?"
        " order by priority desc, id limit ?",
        (lane, LOOK_AHEAD),
    ).fetchall()
    put_off = db.execute(
        f"select {columns} from job indexed by job_put_off where later = 1 and state = 'queued' and blockers = 0"
        " and lane = ? order by available_at limit ?",
        (lane, SOONEST),
    ).fetchall()
    blocked = db.execute(
        f"select {columns} from job indexed by job_blocked where state = 'queued' and blockers > 0 and lane = ?"
        " order by id limit ?",
        (lane, LOOK_AHEAD),
    ).fetchall()
    like: dict[tuple[str, str, str], float | None] = {}
    found = []
    first = sorted([*free, *blocked], key=_rank)[:LOOK_AHEAD]
    for row in sorted([*first, *put_off], key=_rank):
        recipe = (row["kind"], row["name"], row["args"])
        if recipe not in like:
            like[recipe] = typical_s(db, *recipe)
        takes_s = left_s(row["done"], row["total"], row["ran_s"], like[recipe])
        needs = db.execute(
            "select needs_id from need join job on job.id = needs_id where job_id = ? and state <> 'succeeded'",
            (row["id"],),
        )
        found.append(_Waiting(
            row["id"], lane, row["priority"], max(now, row["available_at"]), takes_s,
            frozenset(need["needs_id"] for need in needs),
        ))  # fmt: skip
    return found


def _rank(row: sqlite3.Row) -> tuple[int, int]:
    return -row["priority"], row["id"]


def left_s(done: float, total: float, ran_s: float, typical: float | None) -> float | None:
    """Seconds that a job has left: by the pace of its own earlier attempts, else by what its like took."""
    if 0 < done <= total and ran_s > 0:
        return ran_s * (total - done) / done
    return None if typical is None else max(0.0, typical - ran_s)


def typical_s(db: sqlite3.Connection, kind: str, name: str, args: str) -> float | None:
    """The median of what the newest successes of its like ran, in seconds; None when there is none.

    Its like: the same kind, name and args; where there is none, the same kind and name. A program without a name of
    its own is like nothing but itself.
    """
    rows = db.execute(
        "select args, ran_s from job where kind = ? and name = ? and state = 'succeeded'"
        " order by finished_at desc limit ?",
        (kind, name, LIKE),
    ).fetchall()
    same = [row["ran_s"] for row in rows if row["args"] == args]
    others = [row["ran_s"] for row in rows] if kind != "command" or name != kind else []
    known = sorted(same or others)
    return float(known[len(known) // 2]) if known else None  # the statistics module takes 10 ms to come in


def _end(db: sqlite3.Connection, job: Job, now: float) -> float | None:
    """When a running job ends: as it says itself, else as its like did."""
    if job.eta_at is not None:
        return max(job.eta_at, now)
    plain = {key: value for key, value in job.args.items() if key != "env"}
    takes_s = typical_s(db, job.kind, job.name, json.dumps(plain))
    return max(now, (job.started_at or now) + takes_s - job.ran_s) if takes_s is not None else None
