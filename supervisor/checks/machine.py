"""The machine jobd stands on: Python, kernel, memory, clock."""

import ctypes
import os
import sqlite3
import sys
import time
from pathlib import Path

from supervisor.checks.finding import Finding, asked, settings_of
from supervisor.home import Home
from supervisor.screen import view
from supervisor.screen.news import News

SQLITE_OLDEST = (3, 37, 0)  # strict tables
KERNEL_OLDEST = (5, 14)  # cgroup.kill
CLOCK_SLACK_S = 2.0
TIME_ERROR, TIMEX_BYTES = 5, 256  # of adjtimex(2): the answer of a clock nobody sets; room for its struct


def python(home: Home) -> Finding:
    found = f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        return Finding("bad", "python", found, f"The queue needs SQLite {oldest} or newer: take a newer Python")
    return Finding("ok", "python", found)


def kernel(home: Home) -> Finding:
    """What the sweep of a child's tree stands on."""
    release = os.uname().release
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding("bad", "kernel", f"{release} gives no pidfd ({error.strerror})", "Take Linux 5.14 or newer")
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version < KERNEL_OLDEST:
        return Finding("warn", "kernel", f"{release} has no cgroup.kill", "Trees are killed one by one; 5.14 has it")
    return Finding("ok", "kernel", f"{release}, with pidfd and cgroup.kill")


def memory(home: Home) -> Finding:
    facts = meminfo()
    total, free = facts["MemTotal"], facts["MemAvailable"]
    found = f"{free / 1024:.1f} of {total / 1024:.1f} GiB free"
    needed = settings_of(home).standby_min_free_mib
    if free < needed:
        return Finding("warn", "memory", found, f"Below {needed} MiB no job stands by, so hand-overs are slower")
    return Finding("ok", "memory", found)


def clock(home: Home) -> Finding:
    """Records go by the wall clock: one that was set back makes schedules wait and times overlap."""
    now = time.time()
    newest = max(Path(__file__).stat().st_mtime, asked(home, "select max(at) from event") or 0.0)
    if now < newest - CLOCK_SLACK_S:
        behind = view.duration(newest - now)
        return Finding("bad", "clock", f"{view.moment(now)}, {behind} before something already done", "Set the clock")
    return Finding("ok", "clock", view.moment(now))


def clock_source(home: Home) -> Finding:
    """Whether somebody keeps the clock right: schedules and the ledger go by it."""
    if ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)) == TIME_ERROR:
        todo = "Schedules come early or late: sudo timedatectl set-ntp true, or install chrony"
        return Finding("warn", "clock source", "nobody sets the clock by the network", todo)
    return Finding("ok", "clock source", "set by the network")


def events(home: Home) -> Finding:
    """Whether `logs -f` and `wait` are woken by what happens."""
    watch = News(home.path)
    heard = watch.has_events
    watch.close()
    if not heard:
        todo = "`logs -f` and `wait` ask five times a second: sudo sysctl fs.inotify.max_user_instances=1024"
        return Finding("warn", "events", "inotify has nothing left for this account", todo)
    return Finding("ok", "events", "inotify tells of changes")


def meminfo() -> dict[str, int]:
    """/proc/meminfo, in MiB."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) >> 10 for name, _, rest in (line.partition(":") for line in file)}
