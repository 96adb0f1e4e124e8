"""What the ledger is told: who has the GPU and what for, or why nobody has it."""

import sqlite3
import time

from supervisor import ledger, queue
from supervisor.card.lane import Lane
from supervisor.children.child import Child, Phase
from supervisor.ledger import Entry


class Booking:
    """The ledger's account, and who had the GPU when it was last told. Its commits hold up nobody: a power cut may take
    the last second."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.account = ledger.Account(db)
        self._booked: Child | None = None
        self.gpu_free_at = self.account.now()  # when the last one on the GPU ended

    def write(self, holder: Child | None, entry: Entry) -> None:
        """How the lane is now. Between two who had it lies the time since the first one ended."""
        if self._booked not in (None, holder):
            self.account.enter(entry if holder is None else Entry("switching"), at=self.gpu_free_at)
        self._booked = holder
        self.account.enter(entry)


def busy(child: Child, lane: Lane) -> Entry:
    """What the one who has the GPU does with it."""
    if child.phase in (Phase.KILLED, Phase.SWEEPING) and lane.closed:
        return Entry("closed", why=lane.closed)
    if child.phase is Phase.RUNNING and (child.is_program or child.pace is not None):
        return Entry("running", child.job.kind, child.job.id)
    if child.phase is Phase.RUNNING:
        return Entry("preparing", job_id=child.job.id)
    why = child.why or child.stalled
    return Entry("saving" if why else "switching", job_id=child.job.id, why=why or "")


def idle(db: sqlite3.Connection, lane: Lane, closed: str) -> Entry:
    """Why nobody has the GPU. closed: why nobody may, for a reason that is not the lane's own."""
    if lane.waits is not None:
        return Entry(lane.waits[0], why=lane.waits[1])
    if lane.closed or closed:
        return Entry("closed", why=lane.closed or closed)
    if queue.is_paused(db):
        return Entry("paused")
    if queue.has_due(db, "gpu", now=time.time()):
        return Entry("switching")
    later = queue.next_due_at(db, now=time.time()) is not None
    return Entry("empty", why="what is queued is not due yet" if later else "")
