"""What is left of a child: every process it started, however it tried to get away.

Five handles, because each alone misses some escape (measured, docs/decisions/0003 and 0012):
    cgroup      misses none; but only where the kernel lets us make one (cgroup.py)
    subreaper   orphans of our children become ours; but it dies with us
    mark        NEVERREST_JOB in the environment; but a child may clear it
    lane lock   the flock its tree inherits; but close_fds drops it
    limit       a resource limit with an odd value: fork and exec keep it, nobody clears it by chance
"""

import ctypes
import hashlib
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import MARK

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """A process and when it started: the pair is never used twice, a pid is."""

    pid: int
    started: int  # clock ticks since boot
    parent: int

    def kill(self, signum: int) -> None:
        """Send a signal, unless the pid means somebody else by now. A stopped process is woken: it could not obey."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if _same(read(self.pid), self):
                signal.pidfd_send_signal(descriptor, signum)
                signal.pidfd_send_signal(descriptor, signal.SIGCONT)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or somebody else's by setuid: what does not leave is named by the alarm
        finally:
            os.close(descriptor)


def become_subreaper() -> None:
    """From now on orphans among our descendants become our children, not init's."""
    if _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(signum: int) -> None:
    """In a child, before exec: get this signal when the supervisor dies."""
    _libc.prctl(PR_SET_PDEATHSIG, signum, 0, 0, 0)


# ── who lives ─────────────────────────────────────────────────────────────────────────────────────────────────────


def limit_of(home_id: str) -> int:
    """The value of RLIMIT_RTTIME that says whose tree a process is of: microseconds, above 18,000 years of them."""
    return 1 << 59 | int.from_bytes(hashlib.blake2b(home_id.encode(), digest_size=7).digest())


def carry_limit(home_id: str) -> bool:
    """From now on we carry this home's limit, and so does every process that comes from us. Whether we may.

    It bounds nothing: it counts for realtime scheduling alone, and its end is never reached.
    """
    try:
        resource.setrlimit(resource.RLIMIT_RTTIME, (limit_of(home_id), limit_of(home_id)))
    except (OSError, ValueError):
        return False  # we were given a lower one, and may not raise it
    return True


def limited(home_id: str) -> list[Process]:
    """Every process that carries this home's limit. Not those that jobd started for itself: their mark says so."""
    wanted = str(limit_of(home_id)).encode()
    found = [process for process in everyone() if wanted in _limit(process.pid)]
    return [process for process in found if not (mark_of(process.pid) or "").startswith("neverrest:")]


def _limit(pid: int) -> bytes:
    """The line of /proc/PID/limits that names the limit."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            return next((line for line in file if line.startswith(b"Max realtime timeout")), b"")
    except OSError:
        return b""


def read(pid: int) -> Process | None:
    """A living process (not a zombie), or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name may hold spaces and brackets: count from its end
    return None if fields[0] in (b"Z", b"X") else Process(pid, int(fields[19]), int(fields[1]))


def everyone() -> Iterator[Process]:
    """Every living process but ourselves."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and (process := read(int(name))):
            yield process


def adopted(known: set[int]) -> list[Process]:
    """Our children that we did not start: orphans of a child's tree, by the subreaper. known: the pids we started."""
    try:
        pids = _children()
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        me = os.getpid()
        return [process for process in everyone() if process.parent == me and process.pid not in known]
    return [process for pid in pids if pid not in known and (process := read(pid))]


def _children() -> list[int]:
    """The pids of our children, as the kernel lists them for the main thread, which orphans come to.

    It may pass one over while another one leaves the list. Of ours none can: they leave when we reap them, not now.
    """
    descriptor = os.open("/proc/thread-self/children", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = b""
        while piece := os.read(descriptor, 1 << 16):
            text += piece
    finally:
        os.close(descriptor)
    return [int(pid) for pid in text.split()]


def marked(mark: str) -> list[Process]:
    """Every process that carries a mark (or one that begins so) in its environment."""
    needle = f"{MARK}={mark}".encode()
    return [process for process in everyone() if any(v.startswith(needle) for v in _environ(process.pid))]


def mark_of(pid: int) -> str | None:
    """The mark a process carries, or None."""
    for variable in _environ(pid):
        if variable.startswith(MARK.encode() + b"="):
            return variable.partition(b"=")[2].decode(errors="replace")
    return None


def holders(lock: Path) -> list[Process]:
    """Every process that holds a lane lock, taken or inherited. One that merely has the file open is none of ours."""
    try:
        wanted = os.stat(lock)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [process for process in everyone() if _holds(process.pid, wanted)]


def _holds(pid: int, wanted: os.stat_result) -> bool:
    try:
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            if _is_lock(pid, descriptor, wanted):
                return True
    except OSError:
        pass  # gone meanwhile, or not ours to look into
    return False


def _is_lock(pid: int, descriptor: str, wanted: os.stat_result) -> bool:
    try:
        found = os.stat(f"/proc/{pid}/fd/{descriptor}")
        if (found.st_ino, found.st_dev) != (wanted.st_ino, wanted.st_dev):
            return False
        with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:  # names the lock for everyone who inherited it
            return any(line.startswith("lock:") and " FLOCK " in line for line in file)
    except OSError:
        return False  # this descriptor was closed meanwhile; the next may still be the one


def _environ(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _same(found: Process | None, wanted: Process) -> bool:
    return found is not None and (found.pid, found.started) == (wanted.pid, wanted.started)
