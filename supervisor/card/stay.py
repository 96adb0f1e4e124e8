"""One job's stay on the card: from its `go` until its memory is proven to be back. Knows processes and MiB, no queue.

Back means: no process of ours is on the card, and what is used fell to what was used before its `go`. What strangers
(a desktop, a game) took meanwhile is theirs, as far as the driver says who holds how much.
"""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from supervisor.card.gpu import Gpu
from supervisor.children import cgroup, tree
from supervisor.children.child import Child

MARGIN_MIB = 128  # a desktop's memory moves by so much without anybody doing anything
MOST_NAMED = 4
DEVICES = "/dev/nvidia"


@dataclass
class Stay:
    """child: who has the card; None for what an earlier supervisor may have left on it.

    before: the card before its `go`; None when nobody looked.
    """

    home_id: str
    child: Child | None
    before: Gpu | None
    since: float = field(default_factory=time.monotonic)
    left_at: float | None = None  # monotonic: its tree is gone since
    holds_mib: int = 0  # at the last look
    is_exact: bool = False  # whether the driver said so, process by process
    peak_mib: int = 0
    pids: set[int] = field(default_factory=set)  # of ours, as the driver names them

    def watch(self, card: Gpu) -> bool:
        """A look at the card while the job has it. Whether it holds more than it ever did."""
        ours = {pid: mib for pid, mib in card.processes.items() if self.is_ours(pid)}
        self.pids |= set(ours)
        told = [mib for mib in ours.values() if mib is not None]
        self.is_exact = bool(ours) and len(told) == len(ours)
        if self.is_exact:
            self.holds_mib = sum(told)
        elif self.before is not None:  # what nobody else can have taken
            grown = card.used_mib - self.before.used_mib - _growth(self.before, card, without=self.pids)
            self.holds_mib = max(0, grown)
        has_grown = self.holds_mib > self.peak_mib
        self.peak_mib = max(self.peak_mib, self.holds_mib)
        return has_grown

    def is_ours(self, pid: int) -> bool:
        """Whether it is of the tree that has the card: seen there before, by its mark, by its parents, by its cgroup.

        Without a child: whether an earlier supervisor left it.
        """
        mark = tree.mark_of(pid) or ""
        if self.child is None:
            return mark.startswith(f"{self.home_id}:") and not _descends(pid, os.getpid())
        return pid in self.pids or mark == self.child.mark or _descends(pid, self.child.pid) or self._in_group(pid)

    def _in_group(self, pid: int) -> bool:
        group = self.child.group if self.child else None
        return group is not None and any(process.pid == pid for process in cgroup.members(group))

    def missing_mib(self, card: Gpu) -> int:
        """How much of its memory is not back; 0 when all of it is. Who is left of ours counts with at least one."""
        if any(self.is_ours(pid) for pid in card.processes):
            return max(1, card.used_mib - (self.before.used_mib if self.before else 0))
        if self.before is None:
            return 0
        missing = card.used_mib - self.before.used_mib - _growth(self.before, card, without=self.pids)
        return missing if missing > MARGIN_MIB else 0

    def kill_ours(self, card: Gpu) -> list[int]:
        """SIGKILL to whoever of ours is on the card: it escaped every sweep. Their pids."""
        killed = []
        for pid in {*card.processes, *openers()}:
            if self.is_ours(pid) and (process := tree.read(pid)) is not None:
                process.kill(signal.SIGKILL)
                killed.append(pid)
        return killed


def holders(card: Gpu) -> str:
    """Who is on the card, for a sentence: by the driver's list, else by who has its device open."""
    pids = [pid for pid in card.processes if tree.read(pid) is not None]
    pids = pids or [pid for pid in openers() if not _descends(pid, os.getpid())]
    return ", ".join(f"process {pid} ({name_of(pid)})" for pid in pids[:MOST_NAMED]) or "nobody we can see"


def openers() -> list[int]:
    """The processes that have a card's device open, as far as we may look."""
    return [process.pid for process in tree.everyone() if _has_device(process.pid)]


def name_of(pid: int) -> str:
    """The name of a program, for a sentence."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "gone"


def _has_device(pid: int) -> bool:
    try:
        return any(
            os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith(DEVICES)
            for descriptor in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:
        return False  # gone meanwhile, or not ours to look into


def _growth(before: Gpu, now: Gpu, *, without: set[int]) -> int:
    """What living strangers, there before or new, hold more than they did, in MiB. Those that left gave back."""
    held = {pid: mib or 0 for pid, mib in now.processes.items() if pid not in without and tree.read(pid) is not None}
    return sum(held.values()) - sum(mib or 0 for mib in before.processes.values())


def _descends(pid: int, ancestor: int) -> bool:
    """Whether it is this process, or a child of a child ... of it."""
    while pid > 1 and pid != ancestor:
        process = tree.read(pid)
        pid = process.parent if process else 0
    return pid == ancestor
