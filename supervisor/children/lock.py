"""The lane's lock: a flock that a job's whole tree inherits. Who holds it may use the GPU."""

import errno
import fcntl
import os
from pathlib import Path


class LaneHeld(Exception):
    """Somebody holds the lane lock: a process of an earlier attempt. Nobody may be started."""


def take_lock(lock: Path) -> int:
    """The lane lock, held, as an inheritable descriptor. Raises LaneHeld."""
    descriptor = open_lock(lock)
    try:
        lock_now(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_lock(lock: Path) -> int:
    """The lane lock's file as an inheritable descriptor, not locked yet."""
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        lock.parent.mkdir(exist_ok=True)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    os.set_inheritable(descriptor, True)
    return descriptor


def lock_now(descriptor: int) -> None:
    """Lock it for all who share the descriptor: for us, and for the child that inherited it. Raises LaneHeld."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise LaneHeld("the lane's lock is held") from error
        raise
