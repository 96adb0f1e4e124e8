"""A home whose jobd's disk is in the test's hands, and jobs that wait at a gate for what they shall do.

The jobs are their own witness: each takes a lock of the test's (not of Neverrest's) while it works, and says so loudly
when another one holds it; each unit of work is written down where it is done.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from disk import Order, with_disk
from tower import Tower, until

from supervisor import queue
from supervisor.children import tree
from supervisor.errors import Refused

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


def stands(pid: int) -> bool:
    """Whether a process is stopped."""
    return _state(pid) == "T"


def is_held(pid: int) -> bool:
    """Whether a process is stopped by its tracer: a program that stands by."""
    return _state(pid) == "t"


def _state(pid: int) -> str:
    """The kernel's letter for what a process does; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
