"""The card as the supervisor sees it: asked again and again in a process of its own, never waited for.

A card that can't be used is asked again, each time after a longer wait. One that was there never becomes the CPU.
"""

import dataclasses
import json
import math
import selectors
import sqlite3
import time

from supervisor import meta
from supervisor.card import gpu
from supervisor.card.gpu import Gpu
from supervisor.db import transaction
from supervisor.notify import say
from supervisor.outside import notices
from supervisor.settings import Settings

FRESH_S = 1.0  # so old may an answer be by which the card is given away
FIRST_AGAIN_S, LAST_AGAIN_S = 5.0, 60.0  # at a card that can't be used: the wait doubles
XIDS_KEPT = 10


class Card:
    """The card of the GPU lane, or that there is none."""

    def __init__(self, options: Settings, selector: selectors.BaseSelector) -> None:
        """selector: the loop's; the card is the data of what it waits at."""
        self.is_named = options.device != "auto"
        self.device = options.device  # what `go` names
        self.now: Gpu | None = None  # as it was at the last look; None: there is none, or it can't be used
        self.broken: str | None = None  # why it can't be used
        self.name = ""  # of the card, once there was one
        self.asked_at = 0.0  # monotonic: of the question that `now` answers
        self._answered_at = 0.0  # monotonic
        self._selector = selector
        index = options.device.partition(":")[2]
        self._probe = None if options.device == "cpu" else gpu.Probe(int(index or 0), options.nvml_deadline_s)
        self._listens_at: int | None = None  # the descriptor of the probe that the selector knows
        self._look_at: float | None = None  # monotonic: when to look again; None: there is nothing to look for
        self._again_s = FIRST_AGAIN_S
        self._used_s = [0.0, 0.0]  # busy and known seconds that the queue does not know yet
        self._xids: list[int] = []
        self._untold_xids: list[int] = []  # no notice was made of them yet
        self._is_written = False

    def find(self) -> None:
        """At the start: wait for the answer, so that the first job goes where it belongs."""
        if self._probe is not None:
            self.asked_at = time.monotonic()
            self.take(gpu.wait(self._probe))
            self._listen()

    @property
    def wakes_at(self) -> float:
        """Monotonic: when `look` has something to do; for ever away when it has not."""
        if self._probe is not None and self._probe.asked_at is not None:
            return self._probe.answers_until
        return math.inf if self._look_at is None else self._look_at

    def look_in(self, seconds: float) -> None:
        """The next look comes then at the latest, where there is anything to look at."""
        if self.now is not None:
            self._look_at = min(self._look_at or math.inf, time.monotonic() + seconds)

    def look(self, *, closely: bool = False) -> bool:
        """Ask when it is time to; take the answer when it is there. Whether one was taken."""
        if self._probe is None:
            return False
        if self._probe.has_ended():
            self._listen()  # or its end would wake the loop for ever
        if self._look_at is not None and self._probe.asked_at is None and time.monotonic() >= self._look_at:
            self._ask(closely)
        found = self._probe.answer()
        if found is None:
            return False
        self.take(found)
        self._listen()
        return True

    def is_fresh(self) -> bool:
        """Whether we know how it is now, or there is nothing to know. If not, it is asked, and says so soon."""
        if self.now is None or time.monotonic() < self._answered_at + FRESH_S:
            return True
        self.look_in(0.0)
        return False

    def _ask(self, closely: bool) -> None:
        assert self._probe is not None
        self.asked_at, self._look_at = time.monotonic(), math.inf
        if not self._probe.ask(closely=closely):
            self._look_at = time.monotonic() + self._again_s  # the kernel holds the process that hung
        self._listen()

    def _listen(self) -> None:
        """Have the loop wake up at an answer."""
        output = self._probe.output if self._probe is not None else None
        if output == self._listens_at:
            return
        if self._listens_at is not None:
            self._selector.unregister(self._listens_at)
        if output is not None:
            self._selector.register(output, selectors.EVENT_READ, self)
        self._listens_at = output

    def take(self, found: Gpu) -> None:
        """What it is like decides what `go` names, and whether anybody is told `go` at all."""
        self._answered_at = time.monotonic()
        if found.state == "no-nvml" and self.name:
            found = dataclasses.replace(found, state="lost")  # it was there: the CPU is no place for its jobs
        for xid in found.xids:
            say(f"ALARM: the GPU's driver reports Xid {xid}")
        self._xids = (self._xids + found.xids)[-XIDS_KEPT:]
        self._untold_xids += found.xids
        usable = found.device is not None
        broken = None if usable else f"the card can't be used ({found.state}: {found.why})"
        device = self.device if self.is_named else found.device or self.device
        if (device, broken, found.name or self.name) != (self.device, self.broken, self.name):
            place = f"jobs go to {device}" if usable else "nobody gets it"
            say(f"GPU: {found.name or found.state}{f' ({found.why})' if found.why else ''}; {place}")
        self.device, self.broken = device, broken
        self.now = found if found.state == "healthy" else None
        if self.now is None:
            worth_it = not usable or bool(gpu.cards())  # its driver may come yet
            self._look_at = time.monotonic() + self._again_s if worth_it else None
            self._again_s = min(2 * self._again_s, LAST_AGAIN_S)
            return
        self.name, self._again_s = found.name, FIRST_AGAIN_S
        self._used_s = [self._used_s[0] + found.busy_s, self._used_s[1] + found.known_s]

    def write_down(self, db: sqlite3.Connection, *, now: float) -> None:
        """Now and then: how it is, for `jobctl status`, and how long kernels ran."""
        if self.now is None and not (self._is_written or self._untold_xids):
            return
        told = {**dataclasses.asdict(self.now), "xids": self._xids, "at": now} if self.now else {}
        with transaction(db):
            meta.write(db, "gpu", json.dumps(told) if told else "")
            if self._used_s[1]:
                gpu.note_use(db, *self._used_s, now=now)
            for xid in self._untold_xids:
                notices.add(db, "gpu", f"the driver of the {self.name} reports Xid {xid}", now=now)
        self._used_s, self._untold_xids, self._is_written = [0.0, 0.0], [], self.now is not None
