"""How the house is, for a program that asks: Prometheus text, and a yes or no with its reasons.

Every number is read from the queue at the moment it is asked for, within DEADLINE_S: what takes longer is left out
and said, since jobd answers from its loop. How many jobs there are is counted anew for at most a hundredth of the time:
of a million the count may be some seconds old (counts.py).
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from supervisor import counts, ledger, meta, queue
from supervisor.home import Home
from supervisor.house.space import free_mib

DEADLINE_S = 0.25
STEPS = 1000  # of SQLite's machine, between two looks at the clock
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
Sample = tuple[Mapping[str, object], float]  # labels, value


class Counted:
    """How many jobs there are, from one answer to the next: a million are counted seldom."""

    def __init__(self) -> None:
        self.jobs, self.in_line = counts.Seldom(counts.by_kind), counts.Seldom(counts.in_line)


@dataclass(frozen=True)
class Asked:
    """What the samples come from."""

    db: sqlite3.Connection
    home: Home
    counted: Counted


@dataclass(frozen=True)
class Metric:
    """One name, what it means, and where its samples come from."""

    name: str
    kind: str  # gauge or counter
    text: str
    samples: Callable[[Asked], Iterable[Sample]]


def jobs(asked: Asked) -> Iterator[Sample]:
    for (state, kind), number in asked.counted.jobs.now(asked.db).items():
        yield {"state": state, "kind": kind}, number


def depth(asked: Asked) -> Iterator[Sample]:
    """What waits for nothing but its turn, or its time."""
    for lane, number in asked.counted.in_line.now(asked.db).items():
        yield {"lane": lane}, number


def failures(asked: Asked) -> Iterator[Sample]:
    for job in queue.running(asked.db):
        yield {"job": job.id, "kind": job.kind}, job.failures


def progress(asked: Asked) -> Iterator[Sample]:
    for job in queue.running(asked.db):
        yield {"job": job.id, "kind": job.kind, "name": job.name}, job.done / job.total if job.total else 0.0


def measured(asked: Asked) -> Iterator[Sample]:
    """What running jobs say of themselves: loss, tokens_per_s ..."""
    for job in queue.running(asked.db):
        for name, value in job.metrics.items():
            if isinstance(value, int | float):
                yield {"job": job.id, "kind": job.kind, "metric": name}, value


def lane_seconds(asked: Asked) -> Iterator[Sample]:
    for share in ledger.shares(asked.db, since=0.0, until=time.time()):
        yield {"class": share.what, "kind": share.kind}, share.seconds


def lane_open(asked: Asked) -> Iterator[Sample]:
    yield {}, not meta.read(asked.db, "lane_closed")


def disk_free(asked: Asked) -> Iterator[Sample]:
    yield {}, free_mib(asked.home.path) << 20


def notices_waiting(asked: Asked) -> Iterator[Sample]:
    yield {}, asked.db.execute("select count(*) from notice where done_at is null").fetchone()[0]


def memory(asked: Asked) -> Iterator[Sample]:
    with open("/proc/self/statm") as file:
        yield {}, int(file.read().split()[1]) * PAGE_BYTES


METRICS = (  # the dearest last: a million jobs are counted in 0.1 s, and time may run out
    Metric("neverrest_job_failures", "gauge", "Blamed attempts of a running job since its last progress.", failures),
    Metric("neverrest_job_progress_ratio", "gauge", "Share of a running job that is done.", progress),
    Metric("neverrest_job_metric", "gauge", "What a running job measures of itself.", measured),
    Metric("neverrest_gpu_lane_open", "gauge", "1 while the GPU lane may be given to a job.", lane_open),
    Metric("neverrest_disk_free_bytes", "gauge", "Room on the home's disk.", disk_free),
    Metric("neverrest_notices_waiting", "gauge", "Notices that have not gone out yet.", notices_waiting),
    Metric("neverrest_jobd_resident_bytes", "gauge", "Memory of jobd.", memory),
    Metric("neverrest_gpu_lane_seconds_total", "counter", "Where the GPU lane's time went.", lane_seconds),
    Metric("neverrest_queue_depth", "gauge", "Jobs that wait for nothing but their turn, or their time.", depth),
    Metric("neverrest_jobs", "gauge", "Jobs by state and kind.", jobs),
)


def prometheus(db: sqlite3.Connection, home: Home, counted: Counted | None = None) -> str:
    """All metrics as Prometheus text, format 0.0.4. counted: who asks again and again keeps it."""
    asked = Asked(db, home, counted or Counted())
    until = time.monotonic() + DEADLINE_S
    lines = []
    db.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        for metric in METRICS:
            try:
                samples = list(metric.samples(asked))
            except sqlite3.OperationalError as error:
                lines.append(f"# {metric.name} is left out: {error}")
                continue
            lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(labels)} {float(value)!r}" for labels, value in samples]
    finally:
        db.set_progress_handler(None, 0)
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, object]) -> str:
    """{name="value",...}, a job's own words escaped."""
    pairs = []
    for name, value in labels.items():
        text = str(value).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        pairs.append(f'{name}="{text}"')
    return "{" + ",".join(pairs) + "}" if pairs else ""


def health(db: sqlite3.Connection) -> tuple[bool, str]:
    """Whether jobs can run, and a JSON object that says why not."""
    wrong = {name: why for name in ("lane_closed", "disk_low") if (why := meta.read(db, name))}
    return not wrong, json.dumps({"ok": not wrong, "paused": queue.is_paused(db)} | wrong) + "\n"
