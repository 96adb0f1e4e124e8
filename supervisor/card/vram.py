"""How much of the card a job takes: said by its user, or learned; and how small a job must be made to fit.

A recipe is a kind and those of its args that decide how much memory it takes (all but a kind's NOT_VRAM_ARGS).
Its peak is the most any job of it was seen to hold. Its fit is the micro_batch that a card with so much free memory
could take: an attempt that ran out of it teaches one, and the next attempt starts with it. A job's own args are
never changed: they are its user's. One with micro_batch "auto" takes what is there by itself; what is learned of it is
with how much it could not even begin.
"""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jobs.kind
from jobs.contract import BadArgs
from supervisor.card import gpu
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.job import Job

GROWTH = 1.1  # of what its user said: beyond it a job has outgrown its memory
SAME_FREE = 1.1  # a fit found with so much less memory free holds for this much, too
FREE_STEP_MIB = 256  # fits are kept by the free memory, in such steps
BATCH = ("micro_batch", "grad_accum")


@dataclass(frozen=True)
class Room:
    """What a card has for the next job, in MiB. best: the most it ever had free with nobody of ours on it."""

    card: str
    free_mib: int
    best_mib: int
    total_mib: int
    reserve_mib: int


# ── what a job needs ──────────────────────────────────────────────────────────────────────────────────────────────


def recipe(kind: str, args: Mapping[str, Any], *, without: Iterable[str] = ()) -> str:
    """A name for all jobs that take the same memory: the kind, and a digest of what decides."""
    try:
        others = getattr(jobs.kind.load(kind), "NOT_VRAM_ARGS", ())
    except BadArgs:
        others = ()  # a kind that is gone
    told = {name: value for name, value in args.items() if name not in others and name not in without}
    return f"{kind}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]}"


def learned_mib(db: sqlite3.Connection, job: Job, card: str) -> int | None:
    """The most that a job of this recipe was seen to hold on such a card. None when none was, or when it would have
    held more had there been more."""
    if _takes_what_is_there(job.args):
        return None
    row = db.execute(
        "select peak_mib from vram_peak where recipe = ? and card = ?", (recipe(job.kind, job.args), card)
    ).fetchone()
    return row["peak_mib"] if row else None


def note_peak(db: sqlite3.Connection, job_id: int, of: str, card: str, peak_mib: int, *, now: float) -> None:
    """So much was it seen to hold. of: its recipe."""
    with transaction(db):
        db.execute("update job set peak_vram_mib = max(coalesce(peak_vram_mib, 0), ?) where id = ?", (peak_mib, job_id))
        db.execute(
            "insert into vram_peak (recipe, card, peak_mib, at) values (?, ?, ?, ?) on conflict (recipe, card)"
            " do update set peak_mib = excluded.peak_mib, at = excluded.at where excluded.peak_mib > peak_mib",
            (of, card, peak_mib, now),
        )


def short_of(db: sqlite3.Connection, job: Job, room: Room) -> str | None:
    """Why the job can't have the card now; None when it can.

    It needs what its user said, or what its recipe was seen to take, and the reserve beside it. The reserve is given
    up where the card never had both free. What nobody said and nobody saw may try.
    """
    said = job.needs_vram_mib
    if said is None and _takes_what_is_there(job.args):
        least = least_mib(db, job, room.card)
        return None if least <= room.free_mib or least > room.best_mib else f"{least} MiB of VRAM (learned)"
    learned = learned_mib(db, job, room.card) if said is None else None
    needs = said if said is not None else min(learned, room.best_mib) if learned is not None else None
    if needs is None:
        return None
    reserve = min(room.reserve_mib, max(0, room.best_mib - needs))
    if needs + reserve <= room.free_mib:
        return None
    if needs > room.total_mib:
        return f"{needs} MiB of VRAM: the card has {room.total_mib} MiB in all"
    source = "" if said is not None else " (learned)"
    return f"{needs} MiB of VRAM{source}" + (f" and a reserve of {reserve} MiB" if reserve else "")


def refuse_more_than_all(db: sqlite3.Connection, needs_mib: int) -> None:
    """Raises Refused when the card has less memory in all than a job is said to need."""
    card = gpu.last_seen(db)
    if card and needs_mib > card["memory_mib"]:
        raise Refused(f"--vram {needs_mib}: the {card['name']} has {card['memory_mib']} MiB in all; take less")


# ── what fits ─────────────────────────────────────────────────────────────────────────────────────────────────────


def fitted(db: sqlite3.Connection, job: Job, card: str, free_mib: int) -> Job:
    """The job with the micro_batch that fits, by what was learned with as much memory free or more."""
    if not _has_batch(job.args):
        return job
    row = db.execute(
        "select min(micro_batch) as most from fit where recipe = ? and card = ? and free_mib * ? >= ?",
        (recipe(job.kind, job.args, without=BATCH), card, SAME_FREE, free_mib),
    ).fetchone()
    if row["most"] is None or row["most"] >= job.args["micro_batch"]:
        return job
    return dataclasses.replace(job, args={**job.args, **regrouped(job.args, row["most"])})


def learn_fit(
    db: sqlite3.Connection, kind: str, args: Mapping[str, Any], card: str, free_mib: int, *, now: float
) -> dict[str, int] | None:
    """These args ran out of memory. What to try next is kept, and told; None when nothing smaller is left.

    free_mib: what was free before the attempt had its `go`.
    """
    if not _has_batch(args) or args["micro_batch"] < 2:
        return None
    smaller = regrouped(args, args["micro_batch"] // 2)
    with transaction(db):
        db.execute(
            "insert into fit (recipe, card, free_mib, micro_batch, grad_accum, at) values (?, ?, ?, ?, ?, ?)"
            " on conflict (recipe, card, free_mib) do update set micro_batch = excluded.micro_batch,"
            " grad_accum = excluded.grad_accum, at = excluded.at",
            (recipe(kind, args, without=BATCH), card, -(-free_mib // FREE_STEP_MIB) * FREE_STEP_MIB,
             smaller["micro_batch"], smaller["grad_accum"], now),
        )  # fmt: skip
    return smaller


def learn_least(
    db: sqlite3.Connection, kind: str, args: Mapping[str, Any], card: str, free_mib: int, best_mib: int, *, now: float
) -> bool:
    """A job that takes what is there could not begin with so much free. Whether it is worth waiting for more."""
    if not _takes_what_is_there(args) or free_mib + FREE_STEP_MIB > best_mib:
        return False
    with transaction(db):
        db.execute(
            "insert into fit (recipe, card, free_mib, micro_batch, grad_accum, at) values (?, ?, ?, 0, 0, ?)"
            " on conflict (recipe, card, free_mib) do update set at = excluded.at",
            (recipe(kind, args), card, free_mib, now),
        )
    return True


def least_mib(db: sqlite3.Connection, job: Job, card: str) -> int:
    """So much must be free before a job that takes what is there tries again; 0 when it never failed to begin."""
    row = db.execute(
        "select max(free_mib) as most from fit where recipe = ? and card = ? and micro_batch = 0",
        (recipe(job.kind, job.args), card),
    ).fetchone()
    return 0 if row["most"] is None else int(row["most"]) + FREE_STEP_MIB


def regrouped(args: Mapping[str, Any], most: int) -> dict[str, int]:
    """The same step in micro-batches of at most `most`: the biggest that divides it, so its contexts stay the same, and
    into as many for each of its processes."""
    step, told = args["micro_batch"] * args["grad_accum"], args.get("processes")
    processes = told if type(told) is int and told > 0 else 1  # a kind of its user's may mean something else by it
    micro_batch = next(size for size in range(max(1, most), 0, -1) if step % (size * processes) == 0 or size == 1)
    return {"micro_batch": micro_batch, "grad_accum": step // micro_batch}


def batch_words(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={args[name]}" for name in BATCH)


def _takes_what_is_there(args: Mapping[str, Any]) -> bool:
    return args.get("micro_batch") == "auto"


def _has_batch(args: Mapping[str, Any]) -> bool:
    return all(type(args.get(name)) is int and args[name] > 0 for name in BATCH)
