"""What wakes the loop: signals, and the doorbell in the home that jobctl rings (0004)."""

import os
import selectors
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from supervisor.home import Home
from supervisor.notify import say

ENOUGH = 4096  # bytes at once; fewer were there: no need to ask again


def listen(home: Home, selector: selectors.BaseSelector, on_signal: Callable[[int, FrameType | None], None]) -> None:
    """Have both wake the selector. on_signal hears of SIGTERM, SIGINT and SIGHUP; an ended child only wakes it."""
    wake, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, on_signal)
    bell = _open(home.doorbell)
    selector.register(wake, selectors.EVENT_READ)
    selector.register(bell, selectors.EVENT_READ)


def _open(place: Path) -> int:
    """The bell, open: the one that hangs there, or a new one. What is there and is no bell is put aside."""
    if os.path.lexists(place) and not place.is_fifo():
        aside = place.with_name(f"{place.name}.{time.time_ns()}")
        os.rename(place, aside)
        say(f"{place} was no named pipe: it lies in {aside.name} now")
    if not place.exists():
        os.mkfifo(place, 0o600)
    return os.open(place, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # RDWR: never at its end


def quiet(descriptor: int) -> None:
    """Read what woke us: it says nothing more than that."""
    try:
        while len(os.read(descriptor, ENOUGH)) == ENOUGH:
            pass
    except BlockingIOError:
        pass
