"""The GPU lane: which device it is, and whether anybody may be given it.

It is closed, with the reason in the queue, while one of these lasts: a child of ours that the kernel will not let
die, a stranger to every other sweep that holds the lane lock, a card that was there and can't be used. The CPU takes
the lane's jobs only where there is no card: a 183M model must not spend a night on it because a driver was updated.
"""

import os
import signal
import sqlite3
import time

from supervisor import child as children
from supervisor import gpu, queue, tree
from supervisor.child import Child
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.notify import say
from supervisor.settings import Settings

LOOK_AGAIN_S = 30.0  # at a card that could not be used


class Lane:
    """The GPU lane of one home."""

    def __init__(self, home: Home, home_id: str, options: Settings) -> None:
        self.home_id, self.options = home_id, options
        self.lock = home.lane_lock("gpu")
        self.device = options.device
        self.stuck: dict[Child, str] = {}  # children of the lane that can't be killed
        self._holder: str | None = None  # who holds its lock and can't be killed
        self._held_since: float | None = None  # monotonic
        self._card: str | None = None  # why the card can't be used
        self._look: gpu.Look | None = None  # at the card, under way
        self._look_at: float | None = None  # monotonic: when to look again; None: there is nothing to look for
        self._said: tuple[str | None, str] = (None, "")  # closed, device: as the queue knows them

    @property
    def closed(self) -> str | None:
        """Why nobody gets the GPU; None when it is open."""
        return next(iter(self.stuck.values()), None) or self._holder or self._card

    def is_free(self) -> bool:
        """Whether somebody may be claimed for it: it is open, and nobody holds its lock. Who does, escaped every
        other sweep: it is killed, and we look again."""
        if self.stuck or self._card:
            return False
        try:
            os.close(children.take_lock(self.lock))
        except children.LaneHeld:
            self._kill_holders()
            return False
        self._held_since = self._holder = None
        return True

    def _kill_holders(self) -> None:
        now = time.monotonic()
        holders = [
            process for process in tree.holders(self.lock)
            if (tree.mark_of(process.pid) or self.home_id).startswith(self.home_id)
        ]  # fmt: skip
        pids = ", ".join(str(process.pid) for process in holders) or "nobody we can see"
        if self._held_since is None:
            self._held_since = now
            say(f"process {pids} still holds the GPU lane: killed")
        for process in holders:
            process.kill(signal.SIGKILL)
        if now > self._held_since + self.options.reclaim_s:
            self._holder = f"its lock is held by process {pids}, which can't be killed"

    @property
    def is_held(self) -> bool:
        """Whether its lock was held when we last looked: look again soon."""
        return self._held_since is not None

    # ── the card ──────────────────────────────────────────────────────────────────────────────────────────────────

    def find_device(self) -> None:
        """At the start: wait for the answer, so that the first job goes where it belongs."""
        if self.options.device == "auto":
            self.take(gpu.probe())

    def take(self, found: gpu.Gpu) -> None:
        """What the card is like decides what `go` names, and whether anybody is told `go` at all."""
        self._look = None
        usable = found.device is not None
        news = (found.device or self.device, None if usable else f"the card can't be used ({found.state}: {found.why})")
        if news != (self.device, self._card):
            place = f"jobs go to {found.device}" if usable else "nobody gets it"
            say(f"GPU: {found.name or found.state}{f' ({found.why})' if found.why else ''}; {place}")
        self.device, self._card = news
        worth_it = not usable or (found.state == "no-nvml" and bool(gpu.cards()))  # its driver may come yet
        self._look_at = time.monotonic() + LOOK_AGAIN_S if worth_it else None

    def look_again(self) -> None:
        """When the card could not be used: has it come back? Asked in a process of its own; never waits for it."""
        if self._look is None and self._look_at is not None and time.monotonic() >= self._look_at:
            self._look = gpu.Look()
        if self._look is not None and (found := self._look.answer()) is not None:
            self.take(found)

    # ── what the queue is told ────────────────────────────────────────────────────────────────────────────────────

    def write_down(self, db: sqlite3.Connection) -> None:
        """Say that it was closed or opened, and keep what it is like now, when that changed since the last time."""
        news = (self.closed, self.device)
        if news == self._said:
            return
        if self.closed != self._said[0]:
            say(f"ALARM: the GPU lane is closed: {self.closed}" if self.closed else "the GPU lane is open again")
        with transaction(db):
            queue.set_meta(db, "lane_closed", self.closed or "")
            queue.set_meta(db, "device", self.device)
        self._said = news
