"""Each arrow of a job's life, struck at each of its writes: nothing lost, nothing twice, never two on the lane.

jobd is the unmodified one. Between it and its disk stands disk.c: at the Nth write or sync of queue.db that an arrow
makes, jobd stands still and is killed, or its child is, or both; or that call fails as on a full or a failing disk.
Here a few N of each arrow are tried; NEVERREST_FAULTS=all tries every N with every fault (a quarter of an hour).
"""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from disk import STAND_AFTER, STAND_BEFORE, Order, with_disk
from tower import Tower, until

from supervisor import queue, tree
from supervisor.errors import Refused

ALL = os.environ.get("NEVERREST_FAULTS") == "all"
SEED = int(os.environ.get("NEVERREST_FAULTS_SEED", "0"))
TRIED = int(os.environ.get("NEVERREST_FAULTS", "3")) if not ALL else 0  # faults of each arrow

LAST = 60  # calls of an arrow: a start makes a thousand before, for its log's length, and nothing of a job is in them

WORKER = '''
"""worker.py FOLDER NAME: do what NAME.gate says, and be witness: only one at a time, no unit of work twice."""
import fcntl, json, os, signal, sys, time

folder, name = sys.argv[1:]
_, job, attempt = os.environ["NEVERREST_JOB"].split(":")

def say(*words):
    with open(f"{folder}/said", "ab", buffering=0) as file:  # O_APPEND: one write, one line
        file.write((" ".join([*map(str, words), job, attempt]) + "\\n").encode())

def report(**what):
    os.write(int(os.environ["NEVERREST_REPORT_FD"]), json.dumps(what).encode() + b"\\n")

def units():
    try:
        return len(open(f"{folder}/{name}.units").readlines())
    except FileNotFoundError:
        return 0

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
lock = os.open(f"{folder}/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    say("OVERLAP")
    raise
say("start")
submitted = False
if units():
    report(report="progress", done=units(), total=9)
while not asked:
    time.sleep(0.005)
    try:
        gate = json.load(open(f"{folder}/{name}.gate"))
    except FileNotFoundError:
        continue
    while units() < gate["units"]:
        with open(f"{folder}/{name}.units", "ab", buffering=0) as file:
            file.write(f"{units()} {job} {attempt}\\n".encode())
        report(report="progress", done=units(), total=9)
    if gate["submit"] and not submitted:
        submitted = True
        args = {"argv": ["/bin/true"], "cwd": "/", "env": {}}
        report(report="submit", kind="command", args=args, key=f"of {job}", name="then", priority_above=-9, after=[])
    if gate["exit"] is not None:
        os.rename(f"{folder}/{name}.gate", f"{folder}/{name}.passed")  # this way once
        say("end")
        os._exit(gate["exit"])
say("end")
os._exit(75)
'''


class Life:
    """A tower whose jobd's disk is in our hands, and jobs that wait at a gate for what they shall do."""

    def __init__(self, tower: Tower) -> None:
        self.tower, self.folder = tower, tower.path / "witness"
        self.folder.mkdir()
        (self.folder / "worker.py").write_text(WORKER)
        self.order = Order(tower.path / "order")
        self.boot: dict[str, str] = {}  # the boot id of this machine, when it is not the true one
        self.ends: dict[int, str] = {}  # how each job that was acknowledged shall end
        self.blamed: Counter[int] = Counter()  # how often each ended by its own fault, as far as we told it to
        tower.set(grace_s=5.0)
        self.serve()

    def serve(self) -> None:
        """A jobd, if there is none."""
        if self.tower.jobd is None or self.tower.jobd.poll() is not None:
            self.tower.start(env=with_disk(self.order.env, self.boot))

    def reboot(self) -> None:
        """The machine that comes up again calls this boot by another name."""
        path = self.folder / f"boot {time.monotonic_ns()}"
        path.write_text(f"{path.name}\n")
        self.boot = {"DISK_BOOT": str(path)}

    def add(self, *options: object, end: str = "succeeded") -> int:
        number = len(list(self.folder.glob("*.number")))
        (self.folder / f"{number}.number").touch()
        argv = (sys.executable, "-I", "-S", self.folder / "worker.py", self.folder, number)
        job_id = self.tower.add("command", "--max-failures", 1000, *options, "--set", "preemptible=true", argv=argv)
        self.ends[job_id] = end
        return job_id

    def at_work(self, *options: object, end: str = "succeeded") -> int:
        """A job that holds the lane and waits at its gate."""
        job_id = self.add(*options, end=end)
        self.works(job_id)
        return job_id

    def works(self, job_id: int) -> None:
        until(lambda: f"start {job_id} {self.tower.job(job_id).attempt}" in self.said(), f"job {job_id} at work")
        self.tower.until(job_id, "running")

    def let(self, job_id: int, *, code: int | None = None, units: int = 0, submit: bool = False) -> None:
        """Open a job's gate: it does so many units of work, submits a follow-up, ends."""
        name = self.tower.job(job_id).args["argv"][-1]
        beside = self.folder / f"{name}.new"
        beside.write_text(json.dumps({"units": units, "submit": submit, "exit": code}))
        beside.rename(self.folder / f"{name}.gate")

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def is_in(self, job_id: int, state: str) -> bool:
        return self.tower.job(job_id).state == state

    @property
    def stands(self) -> bool:
        """Whether jobd stands still at the call it was ordered to."""
        return stands(self.tower.jobd.pid)

    def kill_child(self) -> None:
        """SIGKILL to the leader of every job that is at work."""
        for process in tree.marked(f"{self.tower.home_id}:"):
            process.kill(signal.SIGKILL)

    def until(self, fact: Callable[[], bool], what: str) -> None:
        """Wait for a fact. Meanwhile a jobd that leaves is started anew, as by systemd, and backoffs are spared."""

        def look() -> bool:
            self.serve()
            for job_id in self.ends:
                if self.is_in(job_id, "queued") and self.tower.job(job_id).available_at > time.time():
                    self.spare(job_id)
            return fact()

        until(look, f"{what}: {[vars(self.tower.job(n)) | {'args': ''} for n in self.ends]} {self.tower.said}")

    def spare(self, job_id: int) -> None:
        try:
            queue.again(self.tower.db, job_id, now=time.time())
        except Refused:
            return  # it runs meanwhile
        self.tower.home.ring()

    def finish(self) -> None:
        """Every job comes to the end it shall have: gates are opened, pauses taken back."""
        codes = {"succeeded": 0, "failed": 64}

        def over() -> bool:
            for job_id, end in self.ends.items():
                if self.is_in(job_id, "running") and end in codes:
                    self.let(job_id, code=codes[end])
                elif self.is_in(job_id, "paused"):
                    self.tower.ctl("resume", job_id)
            return all(self.is_in(job_id, end) for job_id, end in self.ends.items())

        self.until(over, f"every job at its end: {self.ends}")

    def check(self) -> None:
        """No job lost, none twice, no two on the lane, no work counted twice, nobody blamed for what we did."""
        db = self.tower.db
        known = {row["id"] for row in db.execute("select id from job where key is null")}
        assert known == set(self.ends)
        assert [row["key"] for row in db.execute("select key, count(*) as n from job group by key having n > 1")] in (
            [], [None],
        )  # fmt: skip
        ended = [row["job_id"] for row in db.execute("select job_id from event where what in ('succeeded', 'failed')")]
        assert max(Counter(ended).values(), default=1) == 1, "an end was written twice"
        claims = db.execute(
            "select count(*) as n from event where what = 'claimed' group by job_id, attempt"
        ).fetchall()
        assert all(row["n"] == 1 for row in claims)
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert [line for line in self.said() if line.startswith("OVERLAP")] == []
        for path in self.folder.glob("*.units"):
            done = [int(line.split()[0]) for line in path.read_text().splitlines()]
            assert done == list(range(len(done))), "a unit of work was done twice"
        for job_id in self.ends:
            assert self.blames(job_id) <= self.blamed[job_id], self.tower.events(job_id)

    def blames(self, job_id: int) -> int:
        """How often the queue says that an attempt of the job ended by its own fault."""
        rows = self.tower.db.execute("select what, detail from event where job_id = ?", (job_id,))
        return sum(
            row["what"] == "failed"
            or (row["what"] == "queued" and row["detail"].startswith(("exit code", "killed by")))
            for row in rows
        )


# ── the arrows: up to the first yield all is quiet; up to the second the arrow is set going, and what it yields is the
#    fact that says it was made; what comes after happens in a quiet house again, whatever the fault was ─────────────


Arrow = Iterator[Callable[[], bool] | None]


def claim(life: Life) -> Arrow:
    first = life.at_work()
    life.let(first, code=0)
    life.until(lambda: life.is_in(first, "succeeded"), "jobd serves")
    yield None
    job = life.add()
    yield lambda: any(line.startswith(f"start {job} ") for line in life.said())


def progress(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    life.let(job, units=3)
    yield lambda: life.tower.job(job).best_done == 3.0
    life.let(job, units=3)  # one that was struck comes back to what it has done
    life.until(lambda: life.tower.job(job).best_done == 3.0, "three units done")


def submit(life: Life) -> Arrow:
    job = life.at_work()
    key = f"of {job}"
    yield None
    life.let(job, submit=True)
    yield lambda: queue.find_key(life.tower.db, key) is not None
    life.until(lambda: queue.find_key(life.tower.db, key) is not None, "the follow-up job is there")


def succeed(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    life.let(job, code=0)
    yield lambda: life.is_in(job, "succeeded")


def retry(life: Life) -> Arrow:
    job = life.at_work()
    life.blamed[job] += 1
    yield None
    life.let(job, code=1)
    yield lambda: life.tower.job(job).failures == 1


def fail(life: Life) -> Arrow:
    job = life.at_work(end="failed")
    life.blamed[job] += 1
    yield None
    life.let(job, code=64)
    yield lambda: life.is_in(job, "failed")


def release(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    life.let(job, code=75)
    yield lambda: life.tower.job(job).attempt == 2 and life.is_in(job, "running")


def pause(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    life.tower.ctl("pause", job)
    yield lambda: life.is_in(job, "paused")
    life.until(lambda: life.is_in(job, "paused"), "it is paused in the end")


def resume(life: Life) -> Arrow:
    job = life.at_work()
    life.tower.ctl("pause", job)
    life.tower.until(job, "paused")
    yield None
    life.tower.ctl("resume", job)
    yield lambda: life.is_in(job, "running")


def cancel(life: Life) -> Arrow:
    job = life.at_work(end="cancelled")
    yield None
    life.tower.ctl("cancel", job)
    yield lambda: life.is_in(job, "cancelled")


def preempt(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    first = life.add("--priority", 5)
    yield lambda: life.is_in(job, "queued") and life.is_in(first, "running")


def drain(life: Life) -> Arrow:
    job = life.at_work()
    yield None
    life.tower.jobd.terminate()
    yield lambda: False  # jobd's end is the end of it
    life.until(lambda: life.tower.job(job).attempt >= 2, "it goes on with the next supervisor")


def recover(life: Life) -> Arrow:
    job = life.at_work()
    life.tower.kill_jobd()
    until(lambda: not tree.marked(f"{life.tower.home_id}:"), "its child leaves")
    yield None
    life.serve()
    yield lambda: life.tower.job(job).attempt == 2


def lose(life: Life) -> Arrow:
    """A power cut: nobody had time for anything, and the machine comes up with another boot id."""
    job = life.at_work()
    life.tower.kill_jobd()
    life.kill_child()
    until(lambda: not tree.marked(f"{life.tower.home_id}:"), "its child is gone")
    life.reboot()
    yield None
    life.serve()
    yield lambda: life.tower.job(job).losses == 1
    life.until(lambda: life.tower.job(job).attempt >= 2, "it goes on by itself")
    assert life.tower.job(job).losses <= 1, "one power cut was counted twice"


ARROWS = (
    claim, progress, submit, succeed, retry, fail, release, pause, resume, cancel, preempt, drain, recover, lose,
)  # fmt: skip


# ── the faults ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fault:
    """what: how the call ends (or where jobd stands while somebody is killed). times: how many calls in a row."""

    name: str
    what: int
    times: int = 1
    child: bool = False
    jobd: bool = False


FAULTS = (
    Fault("jobd is killed", STAND_BEFORE, jobd=True),
    Fault("jobd is killed behind it", STAND_AFTER, jobd=True),
    Fault("the child is killed", STAND_BEFORE, child=True),
    Fault("both are killed", STAND_BEFORE, child=True, jobd=True),
    Fault("the disk is full", errno.ENOSPC),
    Fault("the disk stays full", errno.ENOSPC, times=4),
    Fault("the disk fails", errno.EIO),
)


def strike(life: Life, arrow: Callable[[Life], Arrow], at: int, fault: Fault | None) -> int:
    """Let an arrow happen, with a fault at its at-th call. How many calls it made; fewer than `at`: it was spared."""
    steps = arrow(life)
    next(steps)
    known = set(life.ends)
    life.order.give(at, fault.what if fault else STAND_BEFORE, fault.times if fault else 1)
    made = next(steps)
    assert made is not None
    until(
        lambda: life.stands or made() or life.tower.jobd.poll() is not None,
        f"{arrow.__name__}, {fault} at {at}: {life.tower.said}",
    )
    seen = life.order.take_back()
    if fault and fault.child:
        life.kill_child()
        life.blamed.update(life.ends.keys() | known)
    if fault and fault.jobd and life.tower.jobd.poll() is None:
        life.tower.kill_jobd()
    elif life.stands:
        os.kill(life.tower.jobd.pid, signal.SIGCONT)
    life.serve()
    next(steps, None)
    life.finish()
    life.check()
    return seen


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.__name__)
def test_an_arrow_struck_at_any_of_its_writes_is_made_once_and_forgets_nothing(tower, arrow):
    life, dice = Life(tower), random.Random(f"{SEED} {arrow.__name__}")
    calls = strike(life, arrow, 1 << 30, None)
    assert calls >= 2, "it wrote nothing: nothing would be tried"
    first = max(1, calls - LAST)
    every = [(at, fault) for at in range(first, calls + 1) for fault in FAULTS]
    tried = every if ALL else [(dice.randint(first, calls), fault) for fault in dice.sample(FAULTS, TRIED)]
    hit = 0
    for at, fault in tried:
        hit += strike(life, arrow, at, fault) >= at
    assert hit >= len(tried) // 2, "most faults came too late: the arrow was over"
    print(f"{arrow.__name__}: {calls} calls on the disk; {hit} of {len(tried)} faults struck")


@pytest.mark.parametrize("fault", [one for one in FAULTS if not one.child], ids=lambda fault: fault.name)
def test_an_id_that_jobctl_printed_is_a_job_whatever_became_of_jobctl(tower, fault):
    order = Order(tower.path / "order")
    acknowledged: list[int] = []
    for at in range(1, 100, 1 if ALL else 4):
        order.give(at, fault.what, fault.times)
        printed = add_by_jobctl(tower, order)
        acknowledged += [int(printed)] if printed else []
        if order.take_back() < at:
            break
    assert at > 4, "jobctl wrote nothing: nothing was tried"
    assert set(acknowledged) <= {row["id"] for row in tower.db.execute("select id from job")}
    assert len(set(acknowledged)) == len(acknowledged) >= 1


def add_by_jobctl(tower: Tower, order: Order) -> str:
    """`jobctl add` as a process of its own; one that stands still is killed. What it printed."""
    add = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), "add", "sleep"]
    with subprocess.Popen(add, env=with_disk(order.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as jobctl:
        until(lambda: jobctl.poll() is not None or stands(jobctl.pid))
        if jobctl.poll() is None:
            os.kill(jobctl.pid, signal.SIGKILL)
        return jobctl.communicate()[0].decode().strip()


def stands(pid: int) -> bool:
    """Whether a process is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except FileNotFoundError:
        return False
