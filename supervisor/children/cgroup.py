"""cgroup v2: one per attempt under our own, where we may make them. What lives in it is the attempt's, whoever made it.

A child is born in its cgroup. One that is moved there after its fork makes the kernel wait until every processor has
been seen at rest (an RCU grace period: milliseconds, tens of them when the machine is busy), and so long nobody on it
may fork or exit, not even the job that is about to end, and nobody may make or remove a cgroup.
"""

import ctypes
import errno
import os
import signal
from pathlib import Path

from supervisor.children.tree import Process, read

CLONE3, CLONE_INTO_CGROUP = 435, 0x2_0000_0000
CLONE_ARGS = 11  # numbers of 64 bits in the kernel's struct clone_args; those that we set, by their place in it:
FLAGS, EXIT_SIGNAL, CGROUP = 0, 4, 10
_libc = ctypes.PyDLL(None, use_errno=True)  # unlike CDLL it does not let go of Python's lock: the child has it as well


class Cgroups:
    """One cgroup v2 per attempt under our own, where we may make one; `usable` says whether."""

    def __init__(self, wanted: bool = True) -> None:
        self.base = _own_cgroup() if wanted else None
        if self.base is not None and not self._probe():
            self.base = None

    @property
    def usable(self) -> bool:
        return self.base is not None

    def make(self, name: str) -> Path | None:
        """A new, empty cgroup; None where we can't."""
        if self.base is None:
            return None
        group = self.base / name
        try:
            group.mkdir(exist_ok=True)
        except OSError:
            return None
        return group

    def left(self, prefix: str) -> list[Path]:
        """The cgroups an earlier supervisor left."""
        return sorted(self.base.glob(f"{prefix}*")) if self.base is not None else []

    def _probe(self) -> bool:
        """Whether a process of ours may be in a cgroup of ours."""
        for earlier in self.left("neverrest-probe-"):
            if not Path(f"/proc/{earlier.name.rpartition('-')[2]}").exists():
                remove(earlier)  # its supervisor was killed right here
        group = self.make(f"neverrest-probe-{os.getpid()}")
        if group is None:
            return False
        pid = fork_into(group)
        if pid == 0:
            os._exit(0 if _own_cgroup() == group else 1)
        _, status = os.waitpid(pid, 0)
        remove(group)
        return status == 0


def fork_into(group: Path | None) -> int:
    """os.fork, with the child in this cgroup: born there, or, where the kernel knows no clone3, moved if it may.

    The bare system call copies the calling thread alone: what another one had locked stays locked in the child for
    ever. jobd has one thread; in a process with more, os.fork knows what to do.
    """
    if group is None:
        return os.fork()
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            raise OSError(errno.EAGAIN, "other threads")
        return _clone_into(group)
    except OSError:  # a kernel before 5.7, a sandbox; if it is anything else, the fork says so
        pid = os.fork()
    if pid == 0:
        join(group)
    return pid


def _clone_into(group: Path) -> int:
    """The system call itself. What os.fork does beside it in the child is for one that lives on, not for an exec."""
    place = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    args = (ctypes.c_uint64 * CLONE_ARGS)()
    args[FLAGS], args[EXIT_SIGNAL], args[CGROUP] = CLONE_INTO_CGROUP, signal.SIGCHLD, place
    try:
        pid: int = _libc.syscall(ctypes.c_long(CLONE3), args, ctypes.c_size_t(ctypes.sizeof(args)))
        if pid == -1:
            raise OSError(ctypes.get_errno(), "clone3")
    finally:
        os.close(place)
    return pid


def join(group: Path) -> bool:
    """Move the calling process into a cgroup. In a child, before exec."""
    try:
        descriptor = os.open(group / "cgroup.procs", os.O_WRONLY)
        os.write(descriptor, b"0")
        os.close(descriptor)
    except OSError:
        return False
    return True


def members(group: Path) -> list[Process]:
    """The living processes in a cgroup and those below it."""
    if _is_empty(group):
        return []
    found = []
    for folder in _with_those_below(group):
        try:
            pids = (folder / "cgroup.procs").read_text().split()
        except OSError:
            continue  # it has just been removed
        found += [process for pid in pids if (process := read(int(pid)))]
    return found


def _is_empty(group: Path) -> bool:
    """Whether the kernel says that nothing lives in it or below it: one read where a walk would take many."""
    try:
        descriptor = os.open(f"{group}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)  # no Path: a `go` waits for this
        try:
            return b"populated 0" in os.read(descriptor, 256)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def remove(group: Path) -> None:
    """Remove a cgroup that is empty, and those below it."""
    for folder in reversed(_with_those_below(group)):
        try:
            folder.rmdir()
        except OSError:
            return  # a zombie nobody has reaped yet: the next supervisor's `left` finds it


def _with_those_below(group: Path) -> list[Path]:
    """A cgroup and all below it, parents first. Not by rglob: that asks the kernel about each of forty files."""
    return [Path(folder) for folder, _, _ in os.walk(group)]


def _own_cgroup() -> Path | None:
    try:
        with open("/proc/self/cgroup") as file:
            [path] = [line[3:].strip() for line in file if line.startswith("0::")]
        with open("/proc/self/mountinfo") as file:
            [mount] = [line.split()[4] for line in file if " - cgroup2 " in line][:1]
    except (OSError, ValueError):
        return None
    return Path(mount) / path.lstrip("/")
