"""One child: started, told, stopped, killed, and what is left of it swept away.

A kind's child is `python -m jobs`: it may stand by before it is told `go`. A kind with `argv` is another program. It
begins when it is its turn, with the lane lock already in its hands; to stand by, it is loaded before, and the kernel
holds it at its first instruction.
"""

import enum
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import Ticket
from supervisor.children import cgroup, held, stall, tree
from supervisor.children.lock import lock_now
from supervisor.children.spawn import Leader
from supervisor.job import Job

READ_BYTES = 1 << 16
LONGEST_REPORT_BYTES = 1 << 20  # a line without an end must not eat the supervisor's memory
MOST_AT_ONCE_BYTES = 1 << 20  # more than a pipe holds; one that never stops talking must not hold up the loop


class Phase(enum.Enum):
    """Where a child stands."""

    STANDBY = "standby"  # warm, without the GPU, waiting for go
    RUNNING = "running"
    STOPPING = "stopping"  # asked to save and leave; has grace_s
    KILLED = "killed"  # the kernel's turn
    SWEEPING = "sweeping"  # the leader is gone; others of its tree may not be


@dataclass(eq=False)
class Child:
    """A process of ours, and what the supervisor knows of it."""

    job: Job
    ticket: Ticket
    mark: str
    process: Leader
    reports: int  # our end of the report pipe, non-blocking
    is_program: bool
    group: Path | None  # its cgroup
    phase: Phase = Phase.STANDBY
    log: int | None = None  # while it stands by: for the mark at its `go`
    lock: int | None = None  # of a program that is held: the descriptor of the lane's lock, which it shares with us
    why: str | None = None  # it was asked to leave: cancel, pause, preempt, drain, queue-paused
    card: str = "cpu"  # whose memory it has
    free_mib: int = 0  # of that memory before its `go`
    best_mib: int = 0  # the most that was ever free there
    reserve_mib: int = 0  # of it for others
    outgrew: bool = False  # it was asked to leave because it holds more than its user said
    deadline: float | None = None  # monotonic: when its phase has lasted too long
    status: int | None = None  # how the leader ended: exit code, or minus the signal
    ready: bool = False
    claimed: bool = False  # its attempt is the job's: it is settled when it ends. A standby is not yet.
    began: float = field(default_factory=time.monotonic)
    kill_others_at: float = 0.0  # monotonic: from when on the sweep may kill
    buffer: bytes = b""
    hung_up: bool = False  # nobody holds the other end of the report pipe any more
    untaken: list[dict[str, Any]] = field(default_factory=list)  # follow-up jobs the queue could not be told of yet
    progress: dict[str, Any] | None = None  # the newest, not written to the queue yet
    watch: stall.Watch = field(default_factory=stall.Watch)
    stalled: str | None = None  # it was asked to leave because it made no progress, in a sentence
    pace: tuple[float, float] | None = None  # (monotonic, done) of this attempt's first report: for the ETA

    @property
    def pid(self) -> int:
        return self.process.pid

    def stands_for(self, job: Job, attempt: int) -> bool:
        """Whether it was started as exactly this attempt of this job, with its args as they are."""
        return (self.ticket.id, self.ticket.attempt, self.ticket.args) == (job.id, attempt, job.args)

    def tell(self, line: bytes) -> None:
        """Write to the child's stdin; one that has just died is noticed by its end, not here."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def go(self, device: str) -> None:
        """It is this child's turn, on this device. Raises LaneHeld when a program can't have the lane's lock."""
        if self.lock is not None:
            lock_now(self.lock)  # for its tree, which has the descriptor too
        self._mark_log()
        if self.is_program:
            held.let_go(self.pid)
        else:
            go = {"device": device, "reserve_mib": self.reserve_mib, "vram_mib": self.job.needs_vram_mib}
            self.tell(json.dumps({"go": go}).encode() + b"\n")
        self.phase, self.began = Phase.RUNNING, time.monotonic()
        self.forget()

    def is_outdated(self) -> bool:
        """Whether a program that is held is not the one that would be started now: its file or folder was replaced."""
        try:
            places = [os.readlink(f"/proc/{self.pid}/{place}") for place in ("exe", "cwd") if self.is_program]
        except OSError:
            return True  # it is gone
        return any(place.endswith(" (deleted)") for place in places)

    def ask_to_leave(self) -> None:
        """SIGTERM: save and leave. A program's whole group hears it: its leader may be a shell that tells nobody."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to everything we can name. The sweep finds the rest."""
        if self.group is not None:
            try:
                (self.group / "cgroup.kill").write_text("1")
            except OSError:
                pass  # a kernel before 5.14
        self._signal(signal.SIGKILL, whole_group=True)

    def read_reports(self) -> Iterator[dict[str, Any]]:
        """The report lines that have come in. What is not a report is passed over: any program may write here."""
        for _ in range(MOST_AT_ONCE_BYTES // READ_BYTES):
            try:
                piece = os.read(self.reports, READ_BYTES)
            except BlockingIOError:
                return
            if not piece:
                self.hung_up = True
                return
            *lines, self.buffer = (self.buffer + piece).split(b"\n")
            if len(self.buffer) > LONGEST_REPORT_BYTES:
                self.buffer = b""
            for line in lines:
                if (report := _parse(line)) is not None:
                    yield report

    def others(self, known: set[int], *, marked: bool, unmarked: bool) -> list[tree.Process]:
        """What is left of its tree after the leader. known: the pids of all leaders.

        While we live, our children that we did not start are orphans of some tree. Their mark names the attempt.
        marked: whether those with its mark are this one's: who stood by in vain has the mark of who began in its place.
        unmarked: whether those that cleared it count as this one's, where it has no cgroup to tell.
        """
        left = cgroup.members(self.group) if self.group is not None else []
        for orphan in tree.adopted(known):
            mark = tree.mark_of(orphan.pid)
            if (marked and mark == self.mark) or (unmarked and mark is None and self.group is None):
                left.append(orphan)
        return left

    def close(self) -> None:
        """Let go of its pipes and its cgroup."""
        os.close(self.reports)
        if self.process.stdin is not None:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        self.forget()
        if self.group is not None:
            cgroup.remove(self.group)

    def _mark_log(self) -> None:
        """A line in the job's log where an attempt begins."""
        if self.log is not None:
            try:
                os.write(self.log, attempt_mark(self.ticket.attempt, self.pid))
            except OSError:
                pass  # a full disk must not stop the job that may free it

    def forget(self) -> None:
        """Close what was kept for its `go`."""
        for descriptor in (self.log, self.lock):
            if descriptor is not None:
                os.close(descriptor)
        self.log = self.lock = None

    def _signal(self, signum: int, *, whole_group: bool = False) -> None:
        try:
            if self.is_program or whole_group:
                os.killpg(self.pid, signum)  # its leader is not reaped yet, or its group is not empty: the id is ours
            else:
                os.kill(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            pass  # gone, or somebody else's by setuid: if it does not leave by itself, the alarm names it


def _parse(line: bytes) -> dict[str, Any] | None:
    """A line as a report, or None."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) and "report" in report else None


def attempt_mark(attempt: int, pid: int) -> bytes:
    """The line in a job's log where an attempt begins."""
    return f"── attempt {attempt} · {time.strftime('%Y-%m-%d %H:%M:%S %z')} · pid {pid} ──\n".encode()
