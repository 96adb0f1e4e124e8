"""A supervisor starts where another one died: who of its children lives, what they finished, who comes back.

They were told by the kernel (stdin closed, or SIGTERM at its death) and save and leave. Nobody gets `go` before the
last of them is gone.
"""

import json
import signal
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from supervisor import meta, notify, queue, standing
from supervisor.children import cgroup, tree, verdict
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.job import Job
from supervisor.notify import say
from supervisor.settings import Settings

LOOK_EVERY_S = 0.05


def recover(
    db: sqlite3.Connection,
    home: Home,
    home_id: str,
    options: Settings,
    cgroups: cgroup.Cgroups,
    draining: Callable[[], bool],
) -> None:
    """Wait for what an earlier supervisor left, then give every job that ran back to the queue."""
    if not wait_for_strays(home, home_id, options, cgroups, draining):
        return  # we were told to leave first: the jobs stay `running`, and the next supervisor looks again
    boot_id = _boot_id()
    rebooted = meta.read(db, "boot_id") not in (None, boot_id)
    now = time.time()
    with transaction(db):
        for job in queue.running(db):
            standing.charge_lost(db, job)
            state = take_back(db, home, job, rebooted, now)
            say(f"job {job.id} was running when the supervisor went: {state}")
        meta.write(db, "boot_id", boot_id)
        meta.write(db, "lane_closed", "")


def take_back(db: sqlite3.Connection, home: Home, job: Job, rebooted: bool, now: float) -> str:
    """One job that was running: done, if its child got to say so; else back in the queue. Its new state."""
    outcome = _outcome(home, job)
    for report in outcome.get("submitted", ()):
        _submit(db, home, job, report)
    if outcome.get("exit") == 0:
        queue.succeed(db, job.id, job.attempt, now=now)
        return "succeeded"
    if job.wish == "cancel":
        queue.end_cancelled(db, job.id, job.attempt, now=now)
        return "cancelled"
    if rebooted and job.wish is None:
        return queue.lose(db, job.id, job.attempt, now=now)
    state = "paused" if job.wish == "pause" else "queued"
    queue.release(db, job.id, job.attempt, "the supervisor went away", now=now, state=state)
    return state


def wait_for_strays(
    home: Home, home_id: str, options: Settings, cgroups: cgroup.Cgroups, draining: Callable[[], bool]
) -> bool:
    """Wait until no process of an earlier supervisor is left: grace_s to save, then SIGKILL. False if told to leave."""
    kill_at = time.monotonic() + options.grace_s
    alarm_at = kill_at + options.reclaim_s
    told = False
    while left := strays(home, home_id, cgroups):
        now = time.monotonic()
        for process in left:
            if now >= kill_at:
                process.kill(signal.SIGKILL)
            elif not told:  # whom they start from now on helps them to save: it must not hear of it
                process.kill(signal.SIGTERM)
                say(f"waiting for process {process.pid} of an earlier supervisor to save")
        told = True
        if now >= alarm_at:
            alarm_at = now + options.reclaim_s
            pids = ", ".join(str(process.pid) for process in left)
            say(f"ALARM: processes {pids} of an earlier supervisor can't be killed: nothing runs beside them")
        notify.systemd("WATCHDOG=1")
        if draining():
            return False
        time.sleep(LOOK_EVERY_S)
    for group in cgroups.left(f"neverrest-{home_id}-"):
        cgroup.remove(group)
    return True


def strays(home: Home, home_id: str, cgroups: cgroup.Cgroups) -> list[tree.Process]:
    """Every process an earlier supervisor of this home started and that lives: by mark, lane lock, limit and cgroup."""
    found = tree.marked(f"{home_id}:") + tree.holders(home.lane_lock("gpu")) + tree.limited(home_id)
    for group in cgroups.left(f"neverrest-{home_id}-"):
        found += cgroup.members(group)
    return list({process.pid: process for process in found}.values())


def _outcome(home: Home, job: Job) -> dict[str, Any]:
    """What a child left on disk because its supervisor was gone, if it is this attempt's: exit code and follow-ups."""
    try:
        outcome = json.loads((home.workdir(job.id) / "outcome.json").read_text())
        return dict(outcome) if outcome["attempt"] == job.attempt else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _submit(db: sqlite3.Connection, home: Home, parent: Job, report: dict[str, Any]) -> None:
    """A follow-up job the supervisor that died may not have read. One that it had read is known by its key."""
    try:
        verdict.submit(db, parent, report, home.path)
    except verdict.CANT_BE_TAKEN as error:
        say(f"job {parent.id} submitted what can't be taken: {error}")


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()
