"""What wakes the loop: signals, and the doorbell in the home that jobctl rings (0004)."""

import os
import selectors
import signal
from collections.abc import Callable
from types import FrameType

from supervisor.home import Home


def listen(home: Home, selector: selectors.BaseSelector, on_signal: Callable[[int, FrameType | None], None]) -> None:
    """Have both wake the selector. on_signal hears of SIGTERM, SIGINT and SIGHUP; an ended child only wakes it."""
    wake, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, on_signal)
    if not home.doorbell.exists():
        os.mkfifo(home.doorbell, 0o600)
    bell = os.open(home.doorbell, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # RDWR: never at its end
    selector.register(wake, selectors.EVENT_READ)
    selector.register(bell, selectors.EVENT_READ)


def quiet(descriptor: int) -> None:
    """Read what woke us: it says nothing more than that."""
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass
