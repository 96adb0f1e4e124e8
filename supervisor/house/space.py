"""Room on the home's disk: below the floor nobody starts, and who runs saves and leaves, while there is room to save.

It goes on by itself once there is a little more room than the floor. The logs of running jobs keep their cap here, too.
"""

import errno
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from supervisor import meta, settings
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.house import logs
from supervisor.notify import say
from supervisor.settings import Settings

MARGIN_MIB = 256  # above the floor (at most an eighth of it): so that it does not stop and go at the line
WHY = "the disk is nearly full"  # why a job was asked to leave


class Space:
    """What the home's disk has left, and whether that will do. Sizes in MiB."""

    def __init__(self, home: Home, options: Settings) -> None:
        self._home, self.options = home, options
        self._uncapped = False  # this file system gives no part of a file back: said once
        self._told: str | None = None  # as the queue knows it; None: it was not told yet
        self.low = ""  # why nobody may start; '' while there is room
        self.look()  # before the first job starts

    def look(self) -> bool:
        """What is free now. Whether it got low, or has room again."""
        before, floor = bool(self.low), self.options.disk_floor_mib
        self.low = shortage(self._home.path, floor, floor + (min(floor // 8, MARGIN_MIB) if before else 0))
        return before != bool(self.low)

    def cap_logs(self, running: Iterable[int]) -> None:
        """Give back what is too old in the logs of these jobs."""
        for job_id in running:
            try:
                logs.cap(self._home.log(job_id), self.options.log_mib << 20)
            except OSError as error:
                if not self._uncapped:
                    known = error.errno == errno.EOPNOTSUPP
                    say(f"log_mib is not kept: {'this file system knows no holes in files' if known else error}")
                self._uncapped = True

    def write_down(self, db: sqlite3.Connection) -> None:
        """Tell the queue (and so `jobctl list`, and who wants to be told) when the disk got low or has room again."""
        if bool(self.low) == bool(self._told) and self._told is not None:
            return
        if self.low:
            say(f"ALARM: {self.low}")
        elif self._told:
            say("there is room on the disk again: jobs go on")
        meta.write(db, "disk_low", self.low)
        self._told = self.low


def shortage(folder: Path, floor_mib: int, needed_mib: int) -> str:
    """Why nobody may start with so little room; '' while as much as needed is free."""
    free = free_mib(folder)
    if free >= needed_mib:
        return ""
    return f"{free} MiB are free for the home, disk_floor_mib is {floor_mib}: make room, and jobs go on"


def require_room(home: Home) -> None:
    """Before somebody sits down to watch. Raises Refused when nothing could start."""
    floor = settings.read(home.path).disk_floor_mib
    if low := shortage(home.path, floor, floor):
        raise Refused(f"nothing would start: {low}. On a small disk set disk_floor_mib lower in settings.toml")


def free_mib(folder: Path) -> int:
    """What anybody but root may still write into a folder, in MiB."""
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize >> 20
