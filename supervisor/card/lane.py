"""The GPU lane: which device it is, and whether anybody may be given it.

It is closed, with the reason in the queue, while one of these lasts: a child of ours that the kernel will not let
die, a stranger to every other sweep that holds the lane lock, a card that was there and can't be used. The CPU takes
the lane's jobs only where there is no card: a 183M model must not spend a night on it because a driver was updated.

It waits, with the reason in the queue as well, until the memory of the job before is proven to be back (stay.py), and
while none of the due jobs fits beside what strangers hold (vram.py).
"""

import dataclasses
import json
import os
import selectors
import signal
import sqlite3
import time

from supervisor import meta, queue
from supervisor.card import vram
from supervisor.card.card import Card
from supervisor.card.gpu import Gpu
from supervisor.card.stay import MARGIN_MIB, Stay, holders
from supervisor.card.vram import Room
from supervisor.children import tree
from supervisor.children.child import Child, Phase
from supervisor.children.lock import LaneHeld, take_lock
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.job import Job
from supervisor.notify import say
from supervisor.settings import Settings

BUSY_EVERY_S = 1.0  # a look at the card while a job runs or waits for memory
IDLE_EVERY_S = 30.0  # and while nothing does
RECLAIM_EVERY_S = 0.02  # and while memory is to come back, at first
SAY_AFTER_S = 1.0  # a wait this short is nobody's news
MOST_DUE = 500  # jobs looked at for one that fits


class Lane:
    """The GPU lane of one home."""

    def __init__(self, home: Home, home_id: str, options: Settings, selector: selectors.BaseSelector) -> None:
        self.home_id, self.options = home_id, options
        self.lock = home.lane_lock("gpu")
        self.card = Card(options, selector)
        self.stuck: dict[Child, str] = {}  # children of the lane that can't be killed
        self._holder: str | None = None  # who holds its lock or its memory and can't be killed
        self._held_since: float | None = None  # monotonic
        self._stay: Stay | None = None  # who has the card, or had it until its memory is back
        self._best_mib = 0  # the most that was ever free with nobody of ours there, of a card of this name
        self._short: dict[int, str] = {}  # due jobs that do not fit now: {id: what they need}
        self._held_by = ""  # who holds what they need
        self._overtaken: set[int] = set()  # who of them was due before the job that runs
        self._peaks: dict[int, tuple[str, int]] = {}  # the queue does not know yet: {job: (its recipe, MiB)}
        self._boot_id = ""
        self._said: tuple[str | None, ...] = (None, "", "", "{}", "", "")  # as the queue knows it

    @property
    def closed(self) -> str | None:
        """Why nobody gets the GPU; None when it is open."""
        return next(iter(self.stuck.values()), None) or self._holder or self.card.broken

    @property
    def excuse(self) -> str | None:
        """Why a job that fails now is not to blame; None when it is."""
        return "the card was lost" if self.card.broken is not None else None

    @property
    def waits(self) -> tuple[str, str] | None:
        """Why nobody gets it although jobs may be due: (class of the ledger, reason). None when nothing is in the way.

        Classes: lost, reclaiming, waiting-vram.
        """
        if self.card.broken is not None:
            return "lost", self.card.broken
        if self._is_reclaiming:
            return "reclaiming", "the VRAM of the job before it, which is not back yet"
        if self._short and self._stay is None:
            return "waiting-vram", next(iter(self._short.values()))
        return None

    # ── who gets it ───────────────────────────────────────────────────────────────────────────────────────────────

    def is_free(self) -> bool:
        """Whether somebody may be claimed for it: it is open, what its last job held is back, and nobody holds its
        lock. Who does, escaped every other sweep: it is killed, and we look again."""
        if self.stuck or self.card.broken or self._is_reclaiming or not self.card.is_fresh():
            return False
        try:
            os.close(take_lock(self.lock))
        except LaneHeld:
            self._kill_holders()
            return False
        except OSError as error:  # its folder is none, or may not be written
            self._holder = f"its lock can't be taken ({error})"
            return False
        self._held_since = self._holder = None
        return True

    def _kill_holders(self) -> None:
        now = time.monotonic()
        held_by = [
            process for process in tree.holders(self.lock)
            if (tree.mark_of(process.pid) or self.home_id).startswith(self.home_id)
        ]  # fmt: skip
        pids = ", ".join(str(process.pid) for process in held_by) or "nobody we can see"
        if self._held_since is None:
            self._held_since = now
            say(f"process {pids} still holds the GPU lane: killed")
        for process in held_by:
            process.kill(signal.SIGKILL)
        if now > self._held_since + self.options.reclaim_s:
            self._holder = f"its lock is held by process {pids}, which can't be killed"

    @property
    def is_held(self) -> bool:
        """Whether its lock was held when we last looked: look again soon."""
        return self._held_since is not None

    def first(self, db: sqlite3.Connection, *, now: float, freed: bool = False) -> Job | None:
        """The due job that gets the card: the first in the queue's order that fits. None when none does.

        freed: as if who has the card had left it. One that does not fit is overtaken by those behind it; it is asked
        first again whenever the card is given away, and takes it back from who overtook it (has_precedence).
        """
        if self.card.now is None:
            return queue.peek(db, "gpu", now=now)
        self._short = {}
        due = queue.due(db, "gpu", now=now, most=MOST_DUE)
        return next((job for job in due if self.fits(db, job, freed=freed)), None)

    def fits(self, db: sqlite3.Connection, job: Job, *, freed: bool = False) -> bool:
        """Whether the card has room for this job, as it is or as if it were freed. If not, the list says what lacks."""
        if self.card.now is None:
            return True
        needs = vram.short_of(db, self.fitted(db, job), self._room(freed))
        if needs is None:
            return True
        if not self._short:
            self._held_by = holders(self.card.now)
            self.card.look_in(BUSY_EVERY_S)
        self._short[job.id] = f"{needs}; held by {self._held_by}"
        return False

    def forget_short(self) -> None:
        """Nobody is due, or nobody may be claimed: it is not for want of memory that the card rests."""
        self._short = {}

    def fitted(self, db: sqlite3.Connection, job: Job) -> Job:
        """The job with the micro_batch that was learned to fit a card with so much free."""
        room = self._room(freed=True)
        return vram.fitted(db, job, room.card, room.free_mib)

    def fit(self, db: sqlite3.Connection, job: Job) -> Job:
        """The same for a job that was claimed: what its user did not ask for is written down."""
        made = self.fitted(db, job) if job.lane == "gpu" else job
        if made.args != job.args:
            text = f"runs with {vram.batch_words(made.args)}, not {vram.batch_words(job.args)}: that fits the memory"
            queue.set_note(db, job.id, job.attempt, text, now=time.time())
        return made

    def has_precedence(self, job: Job, runs: Job) -> bool:
        """Whether a due job that would fit takes the card from the one that runs."""
        return job.priority > runs.priority or (job.priority == runs.priority and job.id in self._overtaken)

    def _room(self, freed: bool) -> Room:
        """What the next job may have. freed: with what the job that runs holds."""
        card = self.card.now
        if card is None:
            return Room(self.card.name or "cpu", 0, 0, 0, 0)
        held_mib = self._stay.holds_mib if freed and self._stay is not None else 0
        return Room(self.card.name, card.free_mib + held_mib, self._best_mib, card.memory_mib, self.options.reserve_mib)

    # ── a job's stay ──────────────────────────────────────────────────────────────────────────────────────────────

    def give(self, child: Child) -> str:
        """This child gets its `go` now: the device to name."""
        room = self._room(freed=False)
        child.card, child.free_mib, child.best_mib = room.card, room.free_mib, room.best_mib
        child.reserve_mib = self.options.reserve_mib
        if self.card.now is not None:
            self._stay = Stay(self.home_id, child, self.card.now)
            self._overtaken = set(self._short)
            self.card.look_in(BUSY_EVERY_S)
        return self.card.device

    def take_back(self, child: Child) -> None:
        """Its tree is gone. Nobody gets the card before its memory is back."""
        if self._stay is not None and self._stay.child is child:
            self._stay.left_at, self._overtaken = time.monotonic(), set()
            self.card.look_in(0.0)

    def expect_back(self, db: sqlite3.Connection) -> None:
        """At the start: what an earlier supervisor's job held is back before anybody gets the card."""
        self._boot_id = meta.read(db, "boot_id") or ""
        boot_id, _, used = (meta.read(db, "vram_before") or "").partition(" ")
        best, _, name = (meta.read(db, "vram_best") or "").partition(" ")
        if (card := self.card.now) is not None:
            self._best_mib = int(best) if name == card.name and best.isdigit() else card.free_mib
            known = boot_id == self._boot_id and used.isdigit()
            before = dataclasses.replace(card, free_mib=card.memory_mib - int(used), processes={}) if known else None
            self._stay = Stay(self.home_id, None, before, left_at=time.monotonic())
            self.card.look_in(0.0)

    def look(self) -> bool:
        """Ask the card when it is time to, and act on its answer; never wait. Whether a turn of the loop is due."""
        broken = self.card.broken
        if not self.card.look(closely=self._is_reclaiming):
            return False
        is_due = self.card.broken != broken or (self.card.now is not None and self._watch(self.card.now))
        self.card.look_in(self._pace_s())
        return is_due

    def _pace_s(self) -> float:
        if self._stay is not None and self._stay.left_at is not None:
            waited_s = time.monotonic() - self._stay.left_at
            return min(max(RECLAIM_EVERY_S, waited_s / 10), BUSY_EVERY_S)  # who holds it is looked for each time
        return BUSY_EVERY_S if self._stay is not None or self._short else IDLE_EVERY_S

    @property
    def _is_reclaiming(self) -> bool:
        return self._stay is not None and self._stay.left_at is not None

    def _watch(self, card: Gpu) -> bool:
        """A look at the card, whoever has it. Whether the loop should act on it."""
        stay = self._stay
        if stay is None:
            self._best_mib = max(self._best_mib, card.free_mib)
            return True  # somebody may wait for a fresh look, or for room
        if stay.left_at is not None:
            asked_since = self.card.asked_at >= stay.left_at
            return asked_since and self._reclaim(stay, card, time.monotonic() - stay.left_at)
        assert stay.child is not None
        if has_grown := stay.watch(card):
            self._peaks[stay.child.job.id] = (vram.recipe(stay.child.job.kind, stay.child.ticket.args), stay.peak_mib)
        return self._outgrew(stay, stay.child) or has_grown or bool(self._overtaken)

    def _outgrew(self, stay: Stay, child: Child) -> bool:
        """Whether it took more than its user said: then it saves, leaves, and its death gives the memory back."""
        said = child.job.needs_vram_mib
        if said is None or not stay.is_exact or stay.holds_mib <= said * vram.GROWTH:
            return False
        if child.why is None and child.phase is Phase.RUNNING:
            child.outgrew, child.why = True, f"it holds {stay.holds_mib} MiB of VRAM, and said {said}"
        return True

    def _reclaim(self, stay: Stay, card: Gpu, waited_s: float) -> bool:
        """Whether it is over: its memory is back, or past the deadline nobody of ours has it."""
        missing_mib = stay.missing_mib(card)
        late = waited_s > self.options.reclaim_s
        if missing_mib:
            ours = stay.kill_ours(card)
            if ours and not late:
                say(f"process {', '.join(map(str, ours))} is still on the GPU after its job: killed")
            if ours and late:
                self._holder = f"process {', '.join(map(str, ours))} holds its memory and can't be killed"
            if ours or not late:
                return False
            say(f"{missing_mib} MiB of VRAM did not come back within {waited_s:.0f} s: held by {holders(card)}")
        self._stay = self._holder = None
        self._best_mib = max(self._best_mib, card.free_mib)
        return True

    # ── what the queue is told ────────────────────────────────────────────────────────────────────────────────────

    def write_down(self, db: sqlite3.Connection) -> None:
        """Say that it was closed or opened, and keep what it is like now, when that changed since the last time."""
        best = f"{self._best_mib} {self.card.name}" if self._best_mib else ""
        news = (self.closed, self.card.device, self._wait_words(), json.dumps(self._short), self._before(), best)
        if news == self._said:
            return
        if self.closed != self._said[0]:
            say(f"ALARM: the GPU lane is closed: {self.closed}" if self.closed else "the GPU lane is open again")
        with transaction(db):
            meta.write(db, "lane_closed", self.closed or "")
            meta.write(db, "device", self.card.device)
            meta.write(db, "lane_waits", news[2])
            meta.write(db, "vram_short", news[3])
            meta.write(db, "vram_before", news[4])
            if best:
                meta.write(db, "vram_best", best)
        self._said = news

    def _wait_words(self) -> str:
        """Why nobody gets it, when that has lasted."""
        if self._is_reclaiming and self._stay and time.monotonic() < (self._stay.left_at or 0.0) + SAY_AFTER_S:
            return ""
        return self.waits[1] if self.waits else ""

    def _before(self) -> str:
        """What is used with nobody of ours there, for a supervisor that finds our job dead: of this boot, in MiB."""
        known = self._said[4] or ""
        if self._stay is None or self._stay.before is None:
            return known
        boot_id, _, mib = known.partition(" ")
        used_mib = self._stay.before.used_mib
        if boot_id == self._boot_id and mib.isdigit() and abs(int(mib) - used_mib) <= MARGIN_MIB:
            return known  # a transaction a job would be too dear for a few MiB
        return f"{self._boot_id} {used_mib}"

    def write_peaks(self, db: sqlite3.Connection, *, now: float) -> None:
        """What jobs were seen to hold, since the last time."""
        for job_id, (recipe, peak_mib) in self._peaks.items():
            vram.note_peak(db, job_id, recipe, self.card.name, peak_mib, now=now)
        self._peaks.clear()
