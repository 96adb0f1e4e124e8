"""What a long queue costs: the same measures at 1,000 to 1,000,000 jobs, and their ratio to the first.

    python -m bench.scale [--jobs 1000 10000 100000 1000000] [--json FILE]

Queues are filled by `jobctl add --from`; then six in ten of their jobs are over. Then rounds go over all of them in
turn, so that a busy machine is busy for all. claim: one transaction with its commit on the disk. add, list, show,
status, prompt: whole processes, as a user waits for them. turn: from one short program's start to the next one's, under
a jobd that serves this queue. bulk_wait: the longest that another writer waited while the queue was filled. Walls are
medians.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from supervisor import bulk, meta, queue
from supervisor import db as database
from supervisor.home import Home
from supervisor.job import NewJob

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ROUNDS = 7
CLAIMS = 60  # a round
TURNS = 25
DEADLINE_S = 300.0
WRITE_EVERY_S = 0.05


@dataclass(frozen=True)
class Costs:
    """Of a queue of so many jobs. Milliseconds, but for bulk_per_s: jobs queued a second, the whole process."""

    jobs: int
    bulk_per_s: float
    bulk_wait_ms: float
    claim_p50_ms: float
    claim_p99_ms: float
    commit_p50_ms: float  # of one cell, to the disk: no claim can take less
    commit_p99_ms: float
    add_ms: float
    list_ms: float
    failed_ms: float
    show_ms: float
    status_ms: float
    prompt_ms: float
    turn_ms: float
    mib: float


class Queue:
    """One point of the curve, in a home of its own."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.home, self.jobs = Home(folder), jobs
        database.create(self.home.queue_db)
        (folder / "settings.toml").write_text('device = "cpu"\n')
        self.bulk_per_s, self.bulk_wait_ms = fill(self.home, jobs)
        with contextlib.closing(self.home.connect()) as db:
            age(db)
        self.claims: list[float] = []
        self.commits: list[float] = []
        self.walls: dict[str, list[float]] = {}

    def look(self) -> None:
        """One round."""
        with contextlib.closing(self.home.connect()) as db:
            self.claims += claim_often(db)
            self.commits += commit_often(db)
        for name, words in {
            "add": ("add", "sleep", "--priority", "-9"),
            "list": ("list",),
            "failed": ("list", "--state", "failed"),
            "show": ("show", str(self.jobs // 2)),
            "status": ("status",),
            "prompt": ("prompt",),
        }.items():
            self.walls.setdefault(name, []).append(wall(self.home, *words))

    def costs(self) -> Costs:
        """What all rounds gave."""
        walls = {f"{name}_ms": statistics.median(took) for name, took in self.walls.items()}
        return Costs(
            jobs=self.jobs,
            bulk_per_s=self.bulk_per_s,
            bulk_wait_ms=self.bulk_wait_ms,
            claim_p50_ms=statistics.median(self.claims),
            claim_p99_ms=statistics.quantiles(self.claims, n=100)[98],
            commit_p50_ms=statistics.median(self.commits),
            commit_p99_ms=statistics.quantiles(self.commits, n=100)[98],
            turn_ms=turn(self.home),
            mib=self.home.queue_db.stat().st_size / 2**20,
            **walls,
        )


def fill(home: Home, jobs: int) -> tuple[float, float]:
    """`jobctl add --from` of so many lines: (jobs a second, the interpreter's start included; bulk_wait_ms)."""
    lines = home.path / "jobs.jsonl"
    with open(lines, "w") as file:
        for number in range(jobs):
            told = {"kind": "sleep", "name": f"nap-{number}", "priority": number % 7, "args": {"seconds": number % 50}}
            file.write(json.dumps(told) + "\n")
    waits: list[float] = []
    over = threading.Event()
    writer = threading.Thread(target=write_now_and_then, args=(home, over, waits))
    writer.start()
    began = time.perf_counter()
    jobctl(home, "add", "--from", str(lines))
    took_s = time.perf_counter() - began
    over.set()
    writer.join()
    lines.unlink()
    return jobs / took_s, max(waits, default=0.0)


def write_now_and_then(home: Home, over: threading.Event, waits: list[float]) -> None:
    """What jobd or another jobctl would do meanwhile. waits: takes the milliseconds of each commit."""
    with contextlib.closing(home.connect()) as db:
        db.execute(f"pragma busy_timeout = {1e3 * DEADLINE_S:.0f}")
        while not over.wait(WRITE_EVERY_S):
            waits += commit_often(db, times=1)


def age(db: "database.sqlite3.Connection") -> None:
    """Six in ten are over, as in a queue that has served for a while."""
    with database.transaction(db):
        for rest, state in ((0, "succeeded"), (1, "succeeded"), (2, "succeeded"), (3, "succeeded"), (4, "failed"),
                            (5, "cancelled")):  # fmt: skip
            db.execute(
                "update job set state = ?, attempt = 1, started_at = created_at, finished_at = created_at + 1 + id % 9,"
                " ran_s = 1 + id % 9 where id % 10 = ?",
                (state, rest),
            )
    db.execute("pragma wal_checkpoint(truncate)")


def claim_often(db: "database.sqlite3.Connection") -> list[float]:
    """Milliseconds of each claim; the job goes back, so that the queue stays as long as it was."""
    took = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        job = queue.claim(db, "gpu", now=time.time())
        took.append(1e3 * (time.perf_counter() - began))
        assert job is not None
        queue.release(db, job.id, job.attempt, "measured", now=time.time())
    return took


def commit_often(db: "database.sqlite3.Connection", times: int = CLAIMS) -> list[float]:
    """Milliseconds of each commit of next to nothing."""
    took = []
    for number in range(times):
        began = time.perf_counter()
        meta.write(db, "bench", str(number))
        took.append(1e3 * (time.perf_counter() - began))
    return took


def wall(home: Home, *words: str) -> float:
    """Milliseconds of a whole jobctl."""
    began = time.perf_counter()
    jobctl(home, *words)
    return 1e3 * (time.perf_counter() - began)


def turn(home: Home) -> float:
    """Milliseconds from one short program's start to the next one's, in a queue that holds all the others too."""
    args = {"argv": ["/bin/true"], "cwd": "/", "env": {"PATH": os.defpath}}
    with contextlib.closing(home.connect()) as db:
        new = [NewJob("command", args, "gpu", priority=99, preemptible=False) for _ in range(TURNS)]
        ids = bulk.add_many(db, new, now=time.time())
        jobd = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(home.path)], stderr=subprocess.DEVNULL
        )
        try:
            give_up = time.monotonic() + DEADLINE_S
            while queue.get(db, ids[-1]).state != "succeeded":
                if time.monotonic() > give_up:
                    raise RuntimeError("jobd did not run the jobs it was given")
                time.sleep(0.02)
        finally:
            jobd.terminate()
            jobd.wait()
        starts = [queue.get(db, job_id).started_at or 0.0 for job_id in ids]
    return 1e3 * statistics.median(later - sooner for sooner, later in itertools.pairwise(starts[3:]))


def jobctl(home: Home, *words: str) -> None:
    """One to its end. subprocess's own timeout asks 20 times a second whether it is over: that would be the result."""
    command = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(home.path), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    alarm = threading.Timer(DEADLINE_S, process.kill)
    alarm.start()
    try:
        if code := process.wait():
            raise subprocess.CalledProcessError(code, command)
    finally:
        alarm.cancel()


def show(found: list[Costs]) -> None:
    """The curve, and how each measure compares with the shortest queue's."""
    names = [name for name in asdict(found[0]) if name != "jobs"]
    print(f"{'':14}" + "".join(f"{costs.jobs:>22,}" for costs in found))
    for name in names:
        first = getattr(found[0], name)
        cells = [f"{getattr(costs, name):>12,.1f} {f'x{getattr(costs, name) / first:.2f}':>9}" for costs in found]
        print(f"{name:14}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neverrest-scale-") as folder:
        queues = []
        for jobs in told.jobs:
            (place := Path(folder) / str(jobs)).mkdir()
            queues.append(Queue(place, jobs))
        for _ in range(ROUNDS):
            for one in queues:
                one.look()
        found = [one.costs() for one in queues]
    show(found)
    if told.json:
        told.json.write_text(json.dumps([asdict(costs) for costs in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
