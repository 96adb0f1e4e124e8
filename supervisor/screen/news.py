"""Waiting for a home to change without asking again and again: inotify on queue.db's folder and on a log.

A commit is seen in two steps: its bytes are written (that is the event), and once they are on the disk readers see it.
So after an event it is worth looking a few more times, soon. Where inotify can't be had we look five times a second.
"""

import ctypes
import os
import select
import sqlite3
import time
from pathlib import Path

MODIFIED, MOVED_IN, CREATED = 0x002, 0x080, 0x100  # of inotify(7)
LOOK_AGAIN_S = (0.005, 0.02, 0.08, 0.3)  # after an event: the commit it came from becomes visible
AT_MOST_S = 2.0  # the safety net under the events
AT_LEAST_S = 0.02  # between two looks: who writes without end must not keep us busy
WITHOUT_EVENTS_S = 0.2
_libc = ctypes.CDLL(None, use_errno=True)


class News:
    """What changes in a folder, or in files that may not be there yet."""

    def __init__(self, *places: Path) -> None:
        """places: files and folders; of one that is not there yet, the nearest folder above it is watched."""
        self._places = places
        self._inotify: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)  # -1: too many; then we ask instead
        self._coming = list(LOOK_AGAIN_S)
        self._looked_at = 0.0  # monotonic
        self.watch()

    def watch(self, *more: Path) -> None:
        """Watch these too, and what has come to be since the last time."""
        self._places += more
        if not all(self._add(place) for place in self._places):
            self.close()

    def _add(self, place: Path) -> bool:
        while not place.exists() and place != place.parent:
            place = place.parent
        watched: int = _libc.inotify_add_watch(self._inotify, os.fsencode(place), MODIFIED | MOVED_IN | CREATED)
        return watched >= 0

    def wait(self, most_s: float = AT_MOST_S, *others: int) -> bool:
        """Until it is worth looking, at most most_s seconds.

        others: descriptors that end it too, such as a keyboard's. Whether one of them is ready.
        """
        if self._inotify < 0:
            return bool(select.select(others, [], [], min(most_s, WITHOUT_EVENTS_S))[0])
        time.sleep(max(0.0, min(most_s, self._looked_at + AT_LEAST_S - time.monotonic())))
        until = min(most_s, self._coming.pop(0) if self._coming else AT_MOST_S)
        ready = select.select([self._inotify, *others], [], [], until)[0]
        if self._inotify in ready:
            self._coming = list(LOOK_AGAIN_S)
            self._forget()
        self.watch()  # before the caller looks: what comes after this is an event, what came before is seen
        self._looked_at = time.monotonic()
        return not {*ready}.isdisjoint(others)

    def _forget(self) -> None:
        """Only that something happened counts, not what."""
        try:
            while os.read(self._inotify, 1 << 16):
                pass
        except BlockingIOError:
            pass

    @property
    def has_events(self) -> bool:
        """Whether inotify could be had."""
        return self._inotify >= 0

    def close(self) -> None:
        """Events are not to be had, or not needed any more."""
        if self._inotify >= 0:
            os.close(self._inotify)
        self._inotify = -1


def data_version(db: sqlite3.Connection) -> int:
    """A number that is another one once somebody else has written to the queue."""
    return int(db.execute("pragma data_version").fetchone()[0])


def until_changed(db: sqlite3.Connection, news: News, seen: int, most_s: float = AT_MOST_S, *others: int) -> None:
    """Until somebody else has written since data_version was `seen`, one of others is ready, or most_s are over."""
    until = time.monotonic() + most_s
    while data_version(db) == seen and (left_s := until - time.monotonic()) > 0:
        if news.wait(left_s, *others):
            return
