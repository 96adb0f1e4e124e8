"""Nobody is killed here and nothing fails: so whatever a user does, in any order, no job may be blamed or lost.

A real jobd with both lanes at work, a standby, preemption; programs, which begin anew, and kinds, which go on. Then
with all that may be beside them: evergreens, schedules, a second jobctl, settings read again, jobd stopped and killed.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tower import Tower, until

from supervisor.children import cgroup, tree

LANES = ("gpu", "gpu", "cpu")
DEEDS = ("add", "add", "add", "pause", "resume", "cancel", "priority", "retry", "pause all", "wait")
MOST_DEEDS = 120


def add(tower: Tower, chance: random.Random, ids: list[int]) -> int:
    """A short job of either lane: a program or a kind, some of them behind another one."""
    options: list[object] = ["--lane", chance.choice(LANES), "--priority", chance.randint(-1, 1)]
    if ids and chance.random() < 0.3:
        options += ["--after", chance.choice(ids)]
    seconds = chance.choice((0.0, 0.02, 0.1, 0.3)) * chance.random()
    if chance.random() < 0.5:
        return tower.sh(f"sleep {seconds:.3f}", *options)
    return tower.add("sleep", *options, seconds=seconds, tick_s=0.02)


def do(tower: Tower, chance: random.Random, ids: list[int]) -> None:
    """One deed. What comes too late for its job is refused: that is nobody's fault."""
    match deed := chance.choice(DEEDS):
        case "add":
            ids.append(add(tower, chance, ids))
        case "pause all":
            tower.ctl("pause", "--all")
            tower.ctl("resume", "--all")
        case "wait":
            time.sleep(chance.choice((0.0, 0.01, 0.1)))
        case "priority":
            tower.ctl("priority", chance.choice(ids), chance.randint(-2, 2), code=None)
        case _:
            tower.ctl(deed, chance.choice(ids), code=None)


def served_one_after_the_other(tower: Tower) -> bool:
    """Whether the GPU lane never had two at once, by what the queue says of it in its own order."""
    rows = tower.db.execute(
        "select what, job_id from event join job on job.id = job_id where lane = 'gpu' order by event.id"
    )
    has_it = None
    for what, job_id in rows:
        if what == "claimed":
            if has_it is not None:
                return False
            has_it = job_id
        elif what in ("queued", "paused", "succeeded", "failed", "cancelled") and job_id == has_it:
            has_it = None
    return True


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_user_does_nobody_is_blamed_and_the_lane_has_one_at_a_time(tower, seed):
    tower.set(standby=True, standby_min_free_mib=1, cpu_slots=2)
    tower.start()
    chance = random.Random(seed)
    ids = [add(tower, chance, []) for _ in range(5)]
    for _ in range(MOST_DEEDS):
        do(tower, chance, ids)
    for job_id in ids:
        tower.ctl("resume", job_id, code=None)
        tower.ctl("retry", job_id, code=None)
    until(lambda: all(tower.job(job_id).state == "succeeded" for job_id in ids), "all of them")
    jobs = [tower.job(job_id) for job_id in ids]
    assert [(job.failures, job.losses, job.cause, job.error) for job in jobs] == [(0, 0, "", None)] * len(jobs)
    assert served_one_after_the_other(tower)
    assert "holds the GPU lane" not in tower.said


def test_jobs_of_both_lanes_that_nobody_touches_are_claimed_once_each(tower):
    tower.set(standby=True, cpu_slots=2)
    tower.start()
    chance, ids = random.Random(7), []
    for _ in range(60):
        lane, seconds = chance.choice(LANES), chance.uniform(0, 0.08)
        ids.append(tower.sh(f"sleep {seconds:.3f}", "--lane", lane, "--priority", chance.randint(-1, 1)))
        time.sleep(chance.choice((0.0, 0.0, 0.03)))
    for job_id in ids:
        tower.until(job_id, "succeeded")
        assert tower.events(job_id) == ["added", "claimed", "succeeded"]


# ── with all that may be beside them ──────────────────────────────────────────────────────────────────────────────

MORE_DEEDS = (
    *("job",) * 6, "old deed", "old deed", "old deed", "edit", "fire", "fire", "settings", "switch", "switch",
    "jobctl", "stop", "kill",
)  # fmt: skip
MOST_MORE_DEEDS = 50
STANDING = (  # of each kind some that end at once and one that does not
    ("evergreen", "quick", "--set", "seconds=0.05"), ("evergreen", "long", "--weight", "3", "--set", "seconds=1000"),
    ("schedule", "often", "--priority", "1", "--cron", "0 3 1 1 *", "--set", "seconds=0.05"),
)  # fmt: skip


class House:
    """A tower, and what was done in it. failing: the jobs that fail by themselves, at once and for good."""

    def __init__(self, tower: Tower, chance: random.Random) -> None:
        self.tower, self.chance, self.count = tower, chance, 0
        self.ids: list[int] = []
        self.failing: set[int] = set()
        self.others: list[subprocess.Popen[bytes]] = []  # jobctls at work beside us

    def start(self) -> None:
        """Start jobd, and wait until it can hear signals."""
        self.tower.start()
        until(self._serves, "jobd serves")

    def _serves(self) -> bool:
        with socket.socket(socket.AF_UNIX) as door:
            here = os.getcwd()
            os.chdir(self.tower.path)  # a socket's path is short
            try:
                door.connect("jobd.sock")
            except OSError:
                return False
            finally:
                os.chdir(here)
        return True

    def set(self) -> None:
        of = self.chance.choice
        self.tower.set(
            standby=of((True, True, False)), standby_min_free_mib=1, cpu_slots=of((1, 2)), min_slice_s=of((0.0, 0.2)),
            turn_s=of((0.2, 0.5)), cgroups=self.tower.cgroups,
        )  # fmt: skip

    def job(self) -> int:
        """A program that fails, that says 75 the first time, that leaves something behind, that submits a job."""
        self.count += 1
        lane, before = self.chance.choice(LANES), self.tower.path / f"before-{self.count}"
        line = {"report": "submit", "kind": "sleep", "args": {"seconds": 0.02}, "key": str(before)}
        what = self.chance.choice(("fails", "again", "leaves", "submits"))
        script = {
            "fails": "exit 3",
            "again": f"[ -e {before} ] || {{ touch {before}; exit 75; }}",
            "leaves": "exec 9>&-; sleep 600 & sleep 0.02",
            "submits": f"cat {before}.line > /proc/self/fd/$NEVERREST_REPORT_FD",
        }[what]
        Path(f"{before}.line").write_text(json.dumps(line) + "\n")
        alone = f"exec 9>{self.tower.path}/one; flock -n 9 || touch {self.tower.path}/two; " if lane == "gpu" else ""
        job_id = self.tower.sh(
            alone + script, "--lane", lane, "--priority", self.chance.randint(-1, 1), "--max-failures", 1
        )
        if what == "fails":
            self.failing.add(job_id)
        return job_id

    def do(self) -> None:
        """One deed."""
        tower, of = self.tower, self.chance.choice
        match deed := of(MORE_DEEDS):
            case "job":
                self.ids.append(self.job())
            case "edit":
                tower.ctl("edit", of(self.ids), "--set", f"seconds={of((0.01, 0.2))}", code=None)
            case "fire":
                tower.db.execute("update standing set next_at = ? where what = 'schedule'", (time.time(),))
                tower.home.ring()
            case "settings":
                self.set()
                tower.jobd.send_signal(signal.SIGHUP)
            case "switch":
                what, name, *_ = of(STANDING)
                tower.ctl(what, of(("enable", "disable")), name)
            case "jobctl":
                words = of(
                    (("retry", "--state", "cancelled"), ("cancel", "--state", "queued"), ("pause", of(self.ids)))
                )
                command = [sys.executable, "-m", "supervisor.jobctl", "-C", tower.path, *words]
                self.others.append(
                    subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
            case "stop" | "kill":
                if self.chance.random() < 0.5:
                    assert tower.stop_jobd() == 0 if deed == "stop" else tower.kill_jobd() is None
                    self.ids.append(self.job())
                    self.start()
            case _:
                do(tower, self.chance, self.ids)

    def is_over(self) -> bool:
        """Whether all that can end has; whoever still waits for somebody's word gets it."""
        self.tower.ctl("resume", "--state", "paused")
        self.tower.ctl("retry", "--state", "cancelled", "--kind", "command")
        self.tower.ctl("cancel", "--name", "long")
        jobs = map(self.tower.job, self.everyone())
        return all(job.state in ("succeeded", "failed", "cancelled") or job.blockers for job in jobs)

    def everyone(self) -> list[int]:
        return [row["id"] for row in self.tower.db.execute("select id from job order by id")]

    def is_empty(self) -> bool:
        """Whether jobd has no process left, and no cgroup."""
        left = [process for process in tree.everyone() if process.parent == self.tower.jobd.pid]
        return not left and not cgroup.Cgroups().left(f"neverrest-{self.tower.home_id}-")


@pytest.mark.parametrize("seed", range(2))
def test_whatever_else_is_going_on_who_fails_is_who_fails_by_itself_and_nothing_is_left(tower, seed):
    chance = random.Random(seed)
    house = House(tower, chance)
    tower.cgroups = bool(seed % 2)
    house.set()
    for what, name, *options in STANDING:
        tower.ctl(what, "add", name, "sleep", "--set", "tick_s=0.02", *options)
    house.start()
    house.ids = [add(tower, chance, []) for _ in range(3)]
    for _ in range(MOST_MORE_DEEDS):
        house.do()
    assert all(other.wait(60) in (0, 1) for other in house.others)  # 1: what came too late is refused
    for what, name, *_ in STANDING:
        tower.ctl(what, "disable", name)
    until(house.is_over, "all of them", 200.0)
    jobs = {job_id: tower.job(job_id) for job_id in house.everyone()}
    blamed = {job_id for job_id, job in jobs.items() if job.failures or job.losses or job.cause or job.error}
    assert blamed <= house.failing, [jobs[job_id] for job_id in blamed - house.failing]
    assert all(job.state == "succeeded" for job in jobs.values() if job.kind == "sleep" and job.key is not None)
    assert served_one_after_the_other(tower)
    assert not (tower.path / "two").exists()
    assert "holds the GPU lane" not in tower.said
    until(house.is_empty, "nothing is left of them")
    assert tower.stop_jobd() == 0, tower.said
