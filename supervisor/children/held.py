"""A program that stands by: it is loaded, and the kernel holds it before its first instruction.

It asks to be traced before exec, and so stops behind it. It then is the program, with its environment, its descriptors
and its cgroup, and has not run a byte of it. To begin costs one system call; and it dies with us, as a standby must.
"""

import ctypes
import errno
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from supervisor.children import tree
from supervisor.children.spawn import Leader

PATIENCE_S = 2.0  # between fork and exec, which take milliseconds
MADV_POPULATE_WRITE = 23  # a kernel before 5.14 says no, and nothing is lost but time
PTRACE_TRACEME, PTRACE_DETACH, PTRACE_SETOPTIONS, PTRACE_O_EXITKILL = 0, 17, 0x4200, 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def ask() -> None:
    """In a child, before exec: the kernel stops it behind the exec, before the program's first instruction."""
    _ptrace(PTRACE_TRACEME, 0, 0)


def hold(process: Leader) -> None:
    """Hold a program at its first instruction. Raises OSError, with the process gone, when it can't stand by.

    Whoever is held by another process gets no rights by its file's mode: a program that needs them starts cold.
    """
    try:
        _wait_until_held(process.pid)
        exe = f"/proc/{process.pid}/exe"
        if os.stat(exe).st_mode & (stat.S_ISUID | stat.S_ISGID) or "security.capability" in _attributes(exe):
            raise PermissionError(errno.EPERM, "it has rights of its own", os.readlink(exe))
    except OSError:
        process.kill()
        process.wait()
        raise


@contextmanager
def patience() -> Iterator[None]:
    """While a child is started: a signal that reaches it between asking and exec stops it there, and who waits for its
    exec would wait for ever. After a while it is killed."""
    before = signal.signal(signal.SIGALRM, lambda *_: _kill_stopped_too_soon())
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _kill_stopped_too_soon() -> None:
    """One that is held, and is still a copy of us: it has no mark of its own yet."""
    for process in tree.adopted(set()):
        if tree.mark_of(process.pid) is None and _is_held(process.pid):
            process.kill(signal.SIGKILL)


def _is_held(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].startswith(b"t")
    except OSError:
        return False


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # a file system without attributes gives no rights by them
            return []
        raise


def _wait_until_held(pid: int) -> None:
    """Wait until a child that asked for it is held there. It dies with us from now on. Raises OSError when it can't."""
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise ProcessLookupError(errno.ESRCH, "it ended before it could be held")
    _ptrace(PTRACE_SETOPTIONS, pid, PTRACE_O_EXITKILL)


def let_go(pid: int) -> None:
    """Its turn: it begins. One that has been killed meanwhile is noticed by its end."""
    try:
        _ptrace(PTRACE_DETACH, pid, 0)
    except ProcessLookupError:
        pass


def can_hold() -> bool:
    """Whether this machine lets us hold a child: some sandboxes forbid it."""
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            tree.die_with_parent(signal.SIGKILL)  # stopped for ever, it would hold the home's lock after our death
            if os.getppid() == me:
                ask()
                os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(1)
    try:
        _wait_until_held(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except OSError:
        return False
    return True


def _ptrace(request: int, pid: int, data: int) -> None:
    if _libc.ptrace(request, pid, None, data) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def take_memory_back() -> None:
    """A fork left our pages shared and read-only: make them ours again now, not one by one when time counts."""
    with open("/proc/self/maps") as file:
        for line in file:
            place, mode, _, _, inode, *_ = line.split()
            if mode == "rw-p" and inode == "0":
                begin, end = (int(part, 16) for part in place.split("-"))
                _libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_POPULATE_WRITE)
