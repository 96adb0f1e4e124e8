"""The gap between two short jobs: from the end of one to the start of the next, as the jobs themselves see it.

    python -m bench.hand_over [--jobs 200] [--job-ms 20] [--rounds 3] [--idle-s 60] [--json FILE]

In the same run, with the same program as the job: jobd; Debian's task-spooler (`apt-get install task-spooler`), which
keeps its queue in memory; and a bare loop of one durable SQLite commit, fork and exec. A job sleeps for `--job-ms`,
which is the time that the next one has to stand by; with 0 nobody can stand by in time, and the gap is what a whole
start costs. Rounds alternate, so that a busy machine is busy for all; `chrt -f 1 python -m bench.hand_over` puts all
who take part, alike, before whoever else computes here. Then what a jobd costs that has nothing to do: three paused
jobs and a schedule.
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor import db as database
from supervisor import queue, standing
from supervisor.children import cgroup
from supervisor.home import Home
from supervisor.job import NewJob

WORK_MS = 20  # below a second: it goes into a nanosleep
WARM_UP = 3  # gaps left out: the first jobs meet cold caches
IDLE_S = 60.0
DEADLINE_S = 300.0
Contender = Callable[[Path, tuple[str, ...], int, int], "Gaps"]

SOURCE = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
int main(int argc, char **argv) {
    long long began = now();
    struct timespec work = {0, atol(argv[2]) * 1000000L};
    nanosleep(&work, 0);
    char line[64];
    int file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0600);
    int size = snprintf(line, sizeof line, "%lld %lld\n", began, now());
    return write(file, line, size) == size ? 0 : 1;
}
"""


@dataclass(frozen=True)
class Gaps:
    """Milliseconds from the end of a job to the start of the next."""

    of: str
    median_ms: float
    p99_ms: float
    fastest_ms: float
    jobs: int


@dataclass(frozen=True)
class Idle:
    """What a jobd with nothing to do costs."""

    rss_mib: float
    cpu_s_per_min: float
    cpu_percent: float  # of one core


def make_program(folder: Path) -> tuple[str, ...]:
    """A job that writes when it began and ended to the file it is given: compiled where there is a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:  # its own cost, some milliseconds, then counts as a gap, for all alike
        return (
            "/bin/sh",
            "-c",
            'now=$(date +%s%N); sleep "$(printf 0.%03d "$2")"; echo "$now $(date +%s%N)" >> "$1"',
            "sh",
        )
    (folder / "stamp.c").write_text(SOURCE)
    made = subprocess.run([compiler, "-O", "-static", "-o", folder / "stamp", folder / "stamp.c"], capture_output=True)
    if made.returncode != 0:  # no static libc
        subprocess.run([compiler, "-O", "-o", folder / "stamp", folder / "stamp.c"], check=True)
    return (str(folder / "stamp"),)


def measure(of: str, stamps: Path, jobs: int) -> Gaps:
    """What the jobs wrote, as gaps."""
    times = [tuple(map(int, line.split())) for line in stamps.read_text().splitlines()]
    if len(times) != jobs:
        raise RuntimeError(f"{of}: {len(times)} of {jobs} jobs ran")
    gaps_ms = [(later[0] - sooner[1]) / 1e6 for sooner, later in itertools.pairwise(times)][WARM_UP:]
    p99 = statistics.quantiles(gaps_ms, n=100)[98]
    return Gaps(of, statistics.median(gaps_ms), p99, min(gaps_ms), jobs)


def through_jobd(folder: Path, program: tuple[str, ...], jobs: int, work_ms: int, *, cgroups: bool = True) -> Gaps:
    """A queue filled first, then served by a jobd to its end."""
    stamps = folder / "stamps"
    home = make_home(folder, cgroups=cgroups)
    args = {"argv": [*program, str(stamps), str(work_ms)], "cwd": str(folder), "env": {"PATH": os.defpath}}
    with contextlib.closing(home.connect()) as db, database.transaction(db):
        for _ in range(jobs):
            queue.add(db, NewJob("command", args, "gpu", preemptible=False), now=time.time())
    subprocess.run(serve(home, "--until-empty"), check=True, timeout=DEADLINE_S)
    return measure("jobd" if cgroups else "jobd, no cgroups", stamps, jobs)


def make_home(folder: Path, *, cgroups: bool = True) -> Home:
    home = Home(folder)
    database.create(home.queue_db)
    (folder / "settings.toml").write_text(f'device = "cpu"\ncgroups = {json.dumps(cgroups)}\n')
    return home


def serve(home: Home, *options: str) -> list[str]:
    return [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(home.path), *options]


def through_task_spooler(folder: Path, program: tuple[str, ...], jobs: int, work_ms: int) -> Gaps:
    """The same through `tsp`: a first job keeps the others waiting until all are queued."""
    stamps, gate = folder / "stamps", folder / "gate"
    env = {"PATH": os.defpath, "TS_SOCKET": str(folder / "socket"), "TMPDIR": str(folder), "HOME": str(folder)}

    def tsp(*words: str) -> None:
        subprocess.run(["tsp", *words], env=env, check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE_S)

    try:
        tsp("-n", "/bin/sh", "-c", f"until [ -e {gate} ]; do sleep 0.01; done")
        for _ in range(jobs):
            tsp("-n", *program, str(stamps), str(work_ms))
        gate.touch()
        tsp("-w")
    finally:
        tsp("-K")
    return measure("task-spooler", stamps, jobs)


def bare_loop(folder: Path, program: tuple[str, ...], jobs: int, work_ms: int) -> Gaps:
    """The floor: one durable commit that ends a row and begins the next, fork, exec, wait."""
    stamps = folder / "stamps"
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table job (id integer primary key, state text not null) strict")
    db.executemany("insert into job values (?, 'queued')", [(n,) for n in range(jobs + 1)])
    for n in range(jobs):
        db.execute("begin immediate")
        db.execute("update job set state = 'succeeded' where state = 'running'")
        db.execute("update job set state = 'running' where id = ?", (n,))
        db.execute("commit")
        subprocess.run([*program, str(stamps), str(work_ms)], check=True, env={"PATH": os.defpath})
    db.close()
    return measure("bare loop", stamps, jobs)


def idle_jobd(folder: Path, idle_s: float = IDLE_S) -> Idle:
    """What a jobd costs that has served one job and waits for the next."""
    home = make_home(folder)
    args = {"argv": ["/bin/true"], "cwd": "/", "env": {}}
    db = home.connect()
    job_id = queue.add(db, NewJob("command", args, "gpu"), now=time.time())
    for _ in range(3):
        queue.pause(db, queue.add(db, NewJob("command", args, "gpu"), now=time.time()), now=time.time())
    schedule = standing.Standing(
        "schedule", "nightly", "command", args, "gpu", 0, False, 1, cron="0 3 * * *", timezone="UTC"
    )
    standing.add(db, schedule, now=time.time())
    jobd = subprocess.Popen(serve(home))
    try:
        until = time.monotonic() + DEADLINE_S
        while queue.get(db, job_id).state != "succeeded" and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(2.5)  # its last turn of the loop that has to do with the job
        before = cpu_s(jobd.pid)
        time.sleep(idle_s)
        spent_s = cpu_s(jobd.pid) - before
        status = Path(f"/proc/{jobd.pid}/status").read_text()
    finally:
        jobd.send_signal(signal.SIGTERM)
        jobd.wait()
        db.close()
    rss_kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    return Idle(rss_kib / 1024, spent_s * 60 / idle_s, spent_s * 100 / idle_s)


def cpu_s(pid: int) -> float:
    """Processor seconds a process of one thread has used, as the scheduler counts them."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def contenders() -> dict[str, Contender]:
    """Who takes part, on this machine."""
    found: dict[str, Contender] = {"jobd": through_jobd}
    if cgroup.Cgroups().usable:
        found["jobd, no cgroups"] = functools.partial(through_jobd, cgroups=False)
    if shutil.which("tsp"):
        found["task-spooler"] = through_task_spooler
    return found | {"bare loop": bare_loop}


def rounds(jobs: int, times: int, work_ms: int = WORK_MS) -> Iterator[dict[str, Gaps]]:
    """Each round has everyone once, one after the other."""
    with tempfile.TemporaryDirectory(prefix="hand-over-") as top:
        program = make_program(Path(top))
        for n in range(times):
            found = {}
            for name, run in contenders().items():
                folder = Path(top) / f"{n}-{name.replace(', ', '-').replace(' ', '-')}"
                folder.mkdir()
                found[name] = run(folder, program, jobs, work_ms)
            yield found


def best(found: list[dict[str, Gaps]]) -> dict[str, Gaps]:
    """Of each, its round with the lowest median: what the machine did meanwhile is nobody's merit."""
    return {name: min((one[name] for one in found), key=lambda gaps: gaps.median_ms) for name in found[0]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--job-ms", type=int, default=WORK_MS, metavar="MS", help="how long a job takes")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, metavar="S", help="how long an idle jobd is watched")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here, too")
    told = parser.parse_args(argv)
    found = list(rounds(told.jobs, told.rounds, told.job_ms))
    at_best = best(found)
    print(f"gap between two jobs, {told.jobs} jobs of {told.job_ms} ms, each one's best of {told.rounds} rounds:")
    print(f"{'':18}  median ms   p99 ms  fastest ms")
    for gaps in at_best.values():
        print(f"{gaps.of:18}  {gaps.median_ms:9.2f}  {gaps.p99_ms:7.2f}  {gaps.fastest_ms:10.2f}")
    for other in [name for name in at_best if not name.startswith("jobd")]:
        ratio = statistics.median(one["jobd"].median_ms / one[other].median_ms for one in found)
        p99 = statistics.median(one["jobd"].p99_ms / one[other].p99_ms for one in found)
        print(f"jobd / {other}: median {ratio:.2f}, p99 {p99:.2f} (medians of the rounds' ratios)")
    if "task-spooler" not in at_best:
        print("task-spooler is not here: apt-get install task-spooler, to see it beside")
    with tempfile.TemporaryDirectory(prefix="hand-over-idle-") as folder:
        idle = idle_jobd(Path(folder), told.idle_s)
    print(f"an idle jobd, {told.idle_s:.0f} s: {idle.rss_mib:.1f} MiB, {idle.cpu_percent:.3f} % of a core")
    if told.json is not None:
        rounds_found = [{name: dataclasses.asdict(gaps) for name, gaps in one.items()} for one in found]
        first = os.sched_getscheduler(0) == os.SCHED_FIFO
        measured = {
            "job_ms": told.job_ms, "before_others": first, "load": os.getloadavg()[0], "rounds": rounds_found,
            "idle": dataclasses.asdict(idle),
        }  # fmt: skip
        told.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
