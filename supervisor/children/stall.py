"""When an attempt counts as stalled: no progress for longer than its user said, or than its own pace makes likely.

Progress is a report that says something new of the work. A job that reports nothing is never stalled unless its user
gave a time, nor is one before its pace is known, or after it has said that all is done: then none is due any more.
"""

from dataclasses import dataclass

from supervisor.job import Job

LEAST_S = 600.0  # the least patience when it is learned: a checkpoint, an evaluation may hold up a quick loop
TIMES_THE_SLOWEST = 20.0  # gap between two reports of progress seen so far
GAPS_NEEDED = 3  # before a pace is known
MORE_AFTER_A_STALL = 4.0  # times as much patience: what is slow each time must not be killed each time


@dataclass
class Watch:
    """The progress of one attempt. Times are monotonic seconds; since: its `go`, then its newest progress."""

    since: float = 0.0
    set_s: float | None = None  # what its user said; None: learned
    stalls: int = 0  # that ended the attempts just before this one
    newest: tuple[float, float, str] | None = None
    gaps: int = 0
    slowest_s: float = 0.0

    def note(self, done: float, total: float, unit: str, *, now: float) -> None:
        """A report of progress came in. One that repeats the last one is none."""
        news = (done, total, unit)
        if news == self.newest:
            return
        if self.newest is not None:
            self.gaps += 1
            self.slowest_s = max(self.slowest_s, now - self.since)
        self.newest, self.since = news, now

    @property
    def patience_s(self) -> float | None:
        """How long it may go without progress from now on; None: for ever."""
        if self.set_s is not None:
            return self.set_s
        if self.newest is None or self.gaps < GAPS_NEEDED or self.newest[0] >= self.newest[1]:
            return None
        return float(max(LEAST_S, TIMES_THE_SLOWEST * self.slowest_s) * MORE_AFTER_A_STALL**self.stalls)

    @property
    def due_at(self) -> float:
        """From when on it is stalled, monotonic; infinite when nothing makes it so."""
        return float("inf") if self.patience_s is None else self.since + self.patience_s


def watch(job: Job, began: float) -> Watch:
    """The watch of a new attempt, from its `go` on."""
    return Watch(began, job.stall_s, job.failures if job.cause == "stalled" else 0)
