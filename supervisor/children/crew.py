"""The children there are: started when their turn comes, or ahead of it; reaped; let go when nothing is left."""

import errno
import os
import selectors
import sqlite3
import time
from collections.abc import Iterator

from jobs.contract import BadArgs
from supervisor import queue
from supervisor.card.lane import Lane
from supervisor.children import cgroup, held, stall, standby
from supervisor.children.child import Child, Phase
from supervisor.children.lock import LaneHeld
from supervisor.children.start import start
from supervisor.home import Home
from supervisor.house.place import can_hold_jobs
from supervisor.job import Job
from supervisor.notify import say
from supervisor.settings import Settings

REST_S = 1.0  # after the machine had no room for another process
OUT_OF_ROOM = {  # why a child can't be started that is no fault of the job's
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


class Crew:
    """The children of one home. Their report pipes are in the loop's selector."""

    def __init__(
        self, home: Home, home_id: str, db: sqlite3.Connection, options: Settings, lane: Lane,
        selector: selectors.BaseSelector,
    ) -> None:  # fmt: skip
        self.home, self.home_id, self.db, self.options = home, home_id, db, options
        self.lane, self.selector = lane, selector
        self.cgroups = cgroup.Cgroups(options.cgroups)
        self.can_hold = held.can_hold()
        self.children: list[Child] = []
        self.swept: list[Child] = []  # their pipes and cgroups can wait until the next one has its `go`
        self.rest_until = 0.0  # monotonic: the machine has no room for another process
        self.spoilt_standby: tuple[int, int] | None = None  # (job, attempt) whose standby died: it starts cold

    def exits(self) -> Iterator[Child]:
        """Reap whoever ended: our children, and the orphans we adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in [] if os.WIFSTOPPED(status) else list(self.children):
                if child.pid == pid and child.status is None:
                    child.status = child.process.returncode = os.waitstatus_to_exitcode(status)
                    yield child

    def excuse(self, away_s: float) -> None:
        """We were stopped for so long, perhaps all of us, and have not heard what they said meanwhile: nobody is late
        because of that."""
        for child in self.children:
            child.watch.since += away_s
            child.kill_others_at += away_s
            if child.deadline is not None:
                child.deadline += away_s

    def busy(self, lane: str) -> int:
        """How many of a lane's jobs have a child."""
        return sum(child.claimed and child.job.lane == lane for child in self.children)

    def launch(self, job: Job) -> bool:
        """Start a claimed job: its warm standby if there is one, else a cold child. Whether it could be."""
        job = self.lane.fit(self.db, job)
        try:
            child = standby.ready_for(self.children, job, job.attempt) or self._start(job)
            self._go(child, job)
        except (BadArgs, LaneHeld, OSError) as error:
            self._give_back(job, error)
            return False
        return True

    def begin_warm(self, job: Job) -> Child | None:
        """The standby of a due job begins; `claim` follows in this transaction. None: it has none, it starts cold."""
        child = standby.ready_for(self.children, self.lane.fitted(self.db, job), job.attempt + 1)
        try:
            if child is not None:
                self._go(child, child.job)
                os.sched_yield()  # it goes first: on its processor we would be at our commit until it sleeps
        except (LaneHeld, OSError):
            return None  # `launch` finds the same, and gives the job back
        return child

    def claim(self, begun: Child, now: float) -> None:
        """In the transaction in which it began: the queue learns that it runs."""
        job = queue.claim_job(self.db, begun.job.id, now=now)
        assert job is not None, f"job {begun.job.id} began, and is not due"
        begun.job = self.lane.fit(self.db, job)

    def _go(self, child: Child, job: Job) -> None:
        """From here on the child is this job's attempt. A program that was started cold is at work already."""
        device = self.lane.give(child) if job.lane == "gpu" else "cpu"
        if child.phase is Phase.STANDBY:
            try:
                child.go(device)
            except LaneHeld:
                self.lane.take_back(child)
                raise
        child.job, child.claimed, child.began = job, True, time.monotonic()
        child.watch = stall.watch(job, child.began)

    def _give_back(self, job: Job, error: Exception) -> None:
        """A claimed job that could not be started: whose fault was it?"""
        now, why = time.time(), f"it could not be started: {error}"
        if isinstance(error, BadArgs):
            queue.fail(self.db, job.id, job.attempt, str(error), now=now, cause="bad args")
        elif isinstance(error, LaneHeld):  # taken since we looked
            queue.release(self.db, job.id, job.attempt, "the lane was still held", now=now)
        elif isinstance(error, OSError) and (error.errno in OUT_OF_ROOM or not can_hold_jobs(self.home)):
            say(f"job {job.id} could not be started ({error}): again in {REST_S:.0f} s")
            queue.release(self.db, job.id, job.attempt, why, now=now)
            self.rest_until = time.monotonic() + REST_S
        else:
            queue.retry(self.db, job.id, job.attempt, why, now=now)

    def _start(self, job: Job, *, ahead: bool = False) -> Child:
        child = start(job, self.home, self.home_id, self.cgroups, ahead=ahead)
        self.children.append(child)
        self.selector.register(child.reports, selectors.EVENT_READ, child)
        return child

    def arrange_standby(self, *, evergreens: bool) -> None:
        """Have the job that `claim` would take next stand by; send another one away."""
        wanted = standby.wanted(
            self.db, self.children, self.options, self.spoilt_standby, self.lane, self.can_hold, evergreens=evergreens
        )
        for child in standby.standing_by(self.children):
            if wanted is not None and child.stands_for(wanted, wanted.attempt):
                return
            child.why = "another job is next"
            child.phase = self.drop(child)
        if wanted is not None:
            try:
                self._start(wanted, ahead=True)
                held.take_memory_back()
            except (OSError, BadArgs):
                self.spoilt_standby = (wanted.id, wanted.attempt)  # its own turn says what is wrong

    def drop(self, child: Child) -> Phase:
        """A standby that is not wanted any more: it has nothing to save."""
        child.kill()
        child.deadline = time.monotonic() + self.options.reclaim_s
        return Phase.KILLED

    def leave(self, child: Child) -> None:
        """Nothing is left of it."""
        self.swept.append(child)
        self.children.remove(child)
        if not child.claimed and child.why is None:
            self.spoilt_standby = (child.job.id, child.ticket.attempt)

    def clear_away(self) -> list[int]:
        """Let go of what is left of children that are over. The next one has its `go` by now. The jobs they had."""
        swept, self.swept = self.swept, []
        for child in swept:
            self.unlisten(child)
            child.close()
        return [child.job.id for child in swept]

    def unlisten(self, child: Child) -> None:
        """An ended pipe is readable for ever: without this the loop would spin."""
        if child.reports in self.selector.get_map():
            self.selector.unregister(child.reports)
