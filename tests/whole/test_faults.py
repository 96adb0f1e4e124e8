"""Each arrow of a job's life, struck at each of its writes: nothing lost, nothing twice, never two on the lane.

jobd is the unmodified one. Between it and its disk stands disk.c: at the Nth write or sync of queue.db that an arrow
makes, jobd stands still and is killed, or its child is, or both; or that call fails as on a full or a failing disk.
Here a few N of each arrow are tried; `make bench-faults` tries every N with every fault, which takes an hour.
"""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from disk import STAND_AFTER, STAND_BEFORE, Order, with_disk
from life import Life, is_held, stands
from tower import Tower, until

from supervisor import queue
from supervisor.children import tree

ALL = os.environ.get("NEVERREST_FAULTS") == "all"
SEED = int(os.environ.get("NEVERREST_FAULTS_SEED", "0"))
TRIED = int(os.environ.get("NEVERREST_FAULTS", "2")) if not ALL else 0  # faults of each arrow

LAST = 60  # calls of an arrow: a start makes a thousand before, for its log's length, and nothing of a job is in them
TRIES = 3  # of one fault: a life that wrote less than the one that was counted was over before it struck

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


def hand_over(life: Life) -> Arrow:
    """To one that stands by: it begins while the commit that says so is on its way to the disk."""
    first, second = life.at_work(), life.add()
    life.tower.set(grace_s=5.0, standby=True)
    life.tower.jobd.send_signal(signal.SIGHUP)
    mark = f"{life.tower.home_id}:{second}:1"
    until(lambda: any(is_held(process.pid) for process in tree.marked(mark)), "the second stands by")
    yield None
    life.let(first, code=0)
    yield lambda: life.is_in(second, "running") and any(line.startswith(f"start {second} ") for line in life.said())


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
    claim, progress, submit, succeed, hand_over, retry, fail, release, pause, resume, cancel, preempt, drain, recover,
    lose,
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
    Fault("the disk is read-only", errno.EROFS, times=4),
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
    for place, fault in tried:
        at = place
        for _ in range(1 if ALL else TRIES):
            made = strike(life, arrow, at, fault)
            if made >= at:
                hit += 1
                break
            at = max(1, made - dice.randint(1, LAST // 4))  # no two lives write alike: within what this one wrote
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
