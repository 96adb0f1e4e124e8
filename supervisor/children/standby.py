"""The standby: the next job's child, there before its turn. A kind's has its imports done, its checkpoint in host
memory, and no CUDA context; a program is loaded, and held before its first instruction. It is told `go` when the lane
is free, or killed: it has nothing to save.
"""

import dataclasses
import sqlite3
import time
from collections.abc import Sequence

import jobs.kind
from jobs.contract import BadArgs
from supervisor import queue, standing
from supervisor.card.lane import Lane
from supervisor.children.child import Child, Phase
from supervisor.job import Job
from supervisor.settings import Settings

MEMINFO = "/proc/meminfo"


def standing_by(children: Sequence[Child]) -> list[Child]:
    """The standbys that are wanted still."""
    return [child for child in children if child.phase is Phase.STANDBY and child.why is None]


def ready_for(children: Sequence[Child], job: Job, attempt: int) -> Child | None:
    """The standby that is exactly this attempt of this job with its args, alive; None if there is none."""
    for child in children:
        if child.phase is Phase.STANDBY and child.status is None and child.stands_for(job, attempt):
            return None if child.is_outdated() else child
    return None


def wanted(
    db: sqlite3.Connection,
    children: Sequence[Child],
    options: Settings,
    spoilt: tuple[int, int] | None,
    lane: Lane,
    can_hold: bool,
    evergreens: bool = False,
) -> Job | None:
    """The attempt that should stand by now, as it will be once claimed; None when nobody should.

    spoilt: (job, attempt) whose standby died: it starts cold when its turn comes, and its own end says why.
    can_hold: whether programs can be held. evergreens: whether they give work when nothing else is due.
    """
    busy = any(child.claimed and child.job.lane == "gpu" for child in children)
    if not (busy and options.standby) or queue.is_paused(db):
        return None
    job = lane.first(db, now=time.time(), freed=True)
    if job is None and evergreens:
        job = standing.peek(db, now=time.time())
    if job is None or (job.id, job.attempt + 1) == spoilt:
        return None
    job = lane.fitted(db, job)
    if is_program(job.kind):
        return next_attempt(job) if can_hold else None  # it takes no memory before it runs
    # what a standby took itself must not end it: hence half
    needed_mib = options.standby_min_free_mib // (2 if standing_by(children) else 1)
    return next_attempt(job) if free_memory_mib() >= needed_mib else None


def next_attempt(job: Job) -> Job:
    """The job as it will be once claimed: what a standby is told."""
    return dataclasses.replace(job, attempt=job.attempt + 1)


def is_program(kind: str) -> bool:
    """Whether jobs of this kind are programs of their own."""
    try:
        return hasattr(jobs.kind.load(kind), "argv")
    except BadArgs:
        return False  # a kind that is gone: its own turn says so


def free_memory_mib() -> int:
    """Host memory that a new process may have, by the kernel's estimate."""
    with open(MEMINFO) as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) >> 10
    return 0
