"""jobd: the loop. Phase (where a child stands) and event (what happened) give the action; ON is all there is to decide.

One thread, one selector: signals, the doorbell, report pipes, deadlines. Children do the work, queue.py keeps it.
Between two jobs of the GPU lane lies one transaction: the end of one and the claim of the next.
"""

import argparse
import os
import selectors
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

from jobs.contract import EXIT_DONE
from supervisor import bell, booking, clock, ledger, notify, queue, recovery, settings, standing
from supervisor import db as database
from supervisor import home as homes
from supervisor.card.lane import Lane
from supervisor.children import tree, verdict
from supervisor.children.child import Child, Phase
from supervisor.children.crew import Crew
from supervisor.errors import Refused, StaleAttempt
from supervisor.home import Home
from supervisor.house import damage, space
from supervisor.house.keeper import Keeper
from supervisor.house.place import Place, home_id
from supervisor.job import LANES, Job
from supervisor.notify import say

TICK_S = 2.0  # the safety net under the events: a lost doorbell costs this much, never a night
PROGRESS_EVERY_S = 1.0  # how often a child's progress goes to the queue
SEEN_EVERY_S = 10.0  # how often the ledger learns that we live
SWEEP_EVERY_S = 0.02
CHORES_AFTER_S = 0.003  # after a `go`: a job that ends sooner is followed at once, the rest of our work can wait
CHORES_WAIT_S = 0.05  # but not longer than this in a row of such jobs
AWAY_S = 1.0  # so much later after a wait than it should have lasted, we were stopped, perhaps our children too
TROUBLE_WAIT_S = 1.0  # after the queue could not be written (a full disk): until the next try


class Event(Enum):
    """What can happen to a child."""

    REPORT = "report"  # it says something
    EXIT = "exit"  # its leader ended
    LEAVE = "leave"  # somebody wants it gone; child.why says who
    LATE = "late"  # its deadline has passed
    STALLED = "stalled"  # it makes no progress any more


class Daemon:
    """The supervisor of one home."""

    def __init__(self, home: Home, options: settings.Settings, *, until_empty: bool = False) -> None:
        self.home, self.options, self.until_empty = home, options, until_empty
        self.db = home.connect()
        self.soft_db = database.connect(home.queue_db, durable=False)  # progress: a power cut may take the last second
        self.place, self.home_id = Place(home), home_id(self.db, home)
        self.selector = selectors.DefaultSelector()
        self.ended: list[Child] = []  # swept clean, not settled yet
        self.claimed: list[Job] = []  # the queue says that they run; not started yet
        self.is_well = True  # the queue could be written when it was last tried
        self.draining = self.told_to_reload = False
        self.lane = Lane(home, self.home_id, options, self.selector)
        self.crew = Crew(home, self.home_id, self.db, options, self.lane, self.selector)
        self.children = self.crew.children
        self.house = Keeper(home, self.db, options, self.selector)
        self.booking = booking.Booking(self.soft_db)
        self.seen_version = -1  # of queue.db, when we last looked who must leave
        self.due = {"turn": 0.0, "tick": 0.0, "seen": 0.0, "progress": 0.0}  # monotonic times
        self.chores: tuple[float, float] | None = None  # monotonic: when what waits behind a `go` is due, and overdue

    # ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Serve until told to drain, or until the queue is empty when asked so, and the last child is gone."""
        tree.become_subreaper()
        tree.carry_limit(self.home_id)
        bell.listen(self.home, self.selector, self._on_signal)
        self.house.socket.open()
        self.lane.card.find()
        notify.systemd("READY=1")
        recovery.recover(self.db, self.home, self.home_id, self.options, self.crew.cgroups, lambda: self.draining)
        self.lane.expect_back(self.db)
        self.booking.account.recover()
        database.make_room(self.db, self.soft_db)
        clock.set_right(self.db, now=time.time())
        while self._serves():
            try:
                for child, event in self._events():
                    child.phase = ON[child.phase][event](self, child)
            except sqlite3.OperationalError as error:  # it could not be looked at: no event is lost by that
                self._have_trouble(error)
                time.sleep(TROUBLE_WAIT_S)
            self._turn_if_due()
        notify.systemd("STOPPING=1")
        self.house.leave()
        if self.place.lost:
            self.place.rescue(self.db)
            return
        self.booking.account.enter(ledger.Entry("down", why="stopped"))

    def _serves(self) -> bool:
        if self.children or self.ended or self.claimed:
            return True
        if self.draining:
            return False
        try:
            return not self.until_empty or queue.can_still_run(self.db)
        except sqlite3.OperationalError:
            return True

    def _have_trouble(self, error: sqlite3.OperationalError) -> None:
        """A full disk, a failing one: nothing is half done; try again."""
        self.is_well = False
        say(f"the queue can't be used ({error}): again in {TROUBLE_WAIT_S:.0f} s")
        later = time.monotonic() + TROUBLE_WAIT_S
        self.due |= {"turn": later, "tick": later}

    def _events(self) -> Iterator[tuple[Child, Event]]:
        """Wait for the next thing to happen, and say to whom."""
        back_at = time.monotonic() + (wait_s := self._wait_s())
        for key, _ in self.selector.select(wait_s):
            if isinstance(key.data, Child):
                yield key.data, Event.REPORT
            elif callable(key.data):  # of the local socket
                key.data()
            elif key.data is not self.lane.card:  # whose answer `look` takes
                bell.quiet(key.fd)
                self.due["turn"] = 0.0
        if self.lane.look():
            self.due["turn"] = 0.0
        for child in self.crew.exits():
            yield child, Event.EXIT
        now = time.monotonic()
        if now - back_at > AWAY_S:
            self.crew.excuse(now - back_at)
        for child in list(self.children):
            if child.deadline is not None and now >= child.deadline:
                yield child, Event.LATE
            if child.phase is Phase.RUNNING and now >= child.watch.due_at:
                yield child, Event.STALLED
        yield from self._unwanted()

    def _unwanted(self) -> Iterator[tuple[Child, Event]]:
        """Who must leave: asked by its user, by a higher priority, by a paused queue, by our own end."""
        busy = [child for child in self.children if child.phase is Phase.RUNNING]
        if not (self.draining or (busy and self._queue_may_have_changed())):
            return
        wishes = queue.wishes(self.db)
        paused = queue.is_paused(self.db)
        for child in list(self.children):
            if self.draining:
                child.why = child.why or "the supervisor stops"
            elif child.job.id in wishes and child.claimed:
                child.why = wishes[child.job.id]
            elif paused:
                child.why = "the queue is paused"
            elif self.house.space.low:
                child.why = space.WHY
            elif child.phase is Phase.RUNNING and self._is_preempted(child):
                child.why = "a higher priority needs the GPU"
            elif child.phase is Phase.RUNNING and self._had_its_turn(child):
                child.why = "another evergreen's turn"
            if child.why is not None and child.phase in (Phase.RUNNING, Phase.STANDBY):
                yield child, Event.LEAVE

    def _queue_may_have_changed(self) -> bool:
        """Whether somebody else wrote to it, or a turn is due. A job that reports often must not cost a look each."""
        version = self.db.execute("pragma data_version").fetchone()[0]
        changed, self.seen_version = version != self.seen_version, version
        return changed or time.monotonic() >= min(self.due["turn"], self.due["tick"])

    def _is_preempted(self, child: Child) -> bool:
        if child.job.lane != "gpu" or not child.job.preemptible or self.lane.closed:
            return False  # of a closed lane nobody could be given what it left
        first = self.lane.first(self.db, now=time.time(), freed=True)
        if first is None or not self.lane.has_precedence(first, queue.get(self.db, child.job.id)):
            return False
        slice_ends = child.began + self.options.min_slice_s
        self.due["turn"] = min(self.due["turn"], slice_ends)
        return time.monotonic() >= slice_ends

    def _had_its_turn(self, child: Child) -> bool:
        ran_s = time.monotonic() - child.began
        if child.job.evergreen_id is None or ran_s < self.options.turn_s or self.lane.closed:
            return False
        return standing.turn_is_over(
            self.db, queue.get(self.db, child.job.id), ran_s, now=time.time(),
            fits=lambda job: self.lane.fits(self.db, job, freed=True),
        )  # fmt: skip

    # ── the actions of ON: (daemon, child) -> the child's next phase ──────────────────────────────────────────────

    def keep(self, child: Child) -> Phase:
        return child.phase

    def note(self, child: Child) -> Phase:
        """Take in what it says. Progress waits for the next second; a follow-up job goes into the queue at once."""
        was_preparing = child.pace is None
        for report in child.read_reports():
            if child.untaken and report["report"] == "submit":
                child.untaken.append(report)  # behind the one it may come after
            else:
                self._take(child, report)
            soon_s = 0.0 if report["report"] == "submit" else PROGRESS_EVERY_S
            self.due["turn"] = min(self.due["turn"], time.monotonic() + soon_s)
        if was_preparing and child.pace is not None:
            self.due["turn"] = 0.0  # for the ledger
        if child.hung_up:
            self.crew.unlisten(child)
        return child.phase

    def _take(self, child: Child, report: dict[str, Any]) -> None:
        try:
            verdict.take_report(self.db, child, report)
        except verdict.Unreadable as error:
            say(f"job {child.job.id} reported what can't be taken: {error}")
        except sqlite3.OperationalError:
            if report["report"] == "submit":  # a job in the making must not be lost; a note may
                child.untaken.append(report)

    def drop(self, child: Child) -> Phase:
        """A standby that is not wanted any more: it has nothing to save."""
        return self.crew.drop(child)

    def stop(self, child: Child) -> Phase:
        """Save and leave: it has grace_s."""
        self.due["turn"] = 0.0  # for the ledger
        child.ask_to_leave()
        child.deadline = time.monotonic() + self.options.grace_s
        child.kill_others_at = child.deadline if child.is_program else 0.0
        return Phase.STOPPING

    def stop_stalled(self, child: Child) -> Phase:
        """It may be stuck, or stopped: it has grace_s all the same."""
        child.stalled = f"stalled: no progress for {time.monotonic() - child.watch.since:.0f} s"
        say(f"job {child.job.id} {child.stalled}")
        return self.stop(child)

    def kill(self, child: Child) -> Phase:
        say(f"job {child.job.id} did not leave within {self.options.grace_s:.0f} s: killed")
        child.kill()
        child.deadline = time.monotonic() + self.options.reclaim_s
        return Phase.KILLED

    def alarm(self, child: Child) -> Phase:
        """SIGKILL did not end it: the kernel holds it (D state). Nobody may share the GPU with it."""
        self._hold_by(child, f"process {child.pid} of job {child.job.id} can't be killed (the kernel holds it)")
        return child.phase

    def _hold_by(self, child: Child, why: str) -> None:
        child.deadline = time.monotonic() + TICK_S
        if child.job.lane == "gpu":
            self.lane.stuck[child] = why

    def end(self, child: Child) -> Phase:
        """The leader is gone. What it said last still counts; then its tree is swept."""
        if child.job.lane == "gpu" and child.claimed:
            self.booking.gpu_free_at = self.booking.account.now()
        if self.draining:  # who told us may have told it too: it is not to blame
            child.why = child.why or "the supervisor stops"
        self.note(child)
        child.kill_others_at = max(child.kill_others_at, time.monotonic())
        return self.sweep(child)

    def sweep(self, child: Child) -> Phase:
        """Once nothing of its tree is left, it is over. A program's tree has the grace that its leader had."""
        alive = [other for other in self.children if other.status is None]
        marked = child.claimed or all(other.mark != child.mark for other in self.children if other.claimed)
        unmarked = (child.claimed and child.job.lane == "gpu") or not any(other.claimed for other in alive)
        left = child.others({other.pid for other in alive}, marked=marked, unmarked=unmarked)
        if not left:
            self._finish(child)
            return Phase.SWEEPING
        now = time.monotonic()
        if now >= child.kill_others_at:
            for process in left:
                process.kill(signal.SIGKILL)
        if now >= child.kill_others_at + self.options.reclaim_s:
            pids = ", ".join(str(process.pid) for process in left)
            self._hold_by(child, f"processes {pids} of job {child.job.id} can't be killed")
        else:
            child.deadline = now + SWEEP_EVERY_S
        return Phase.SWEEPING

    def _finish(self, child: Child) -> None:
        self.crew.leave(child)
        if child.claimed:
            self.ended.append(child)
            self.lane.take_back(child)
        self.lane.stuck.pop(child, None)
        self.due["turn"] = 0.0

    # ── the turn: settle who ended, claim who is next, one transaction ────────────────────────────────────────────

    def _turn_if_due(self) -> None:
        now = time.monotonic()
        if now < min(self.due["turn"], self.due["tick"]):
            if self.chores is not None and now >= min(self.chores):
                self._do_chores()
            return
        self.due |= {"turn": now + TICK_S, "tick": now + TICK_S}
        notify.systemd("WATCHDOG=1")  # from the loop itself: a loop that hangs must look dead
        try:
            is_go = self._turn() or bool(self.claimed)
            while self.claimed:  # one that is claimed and can't be launched nor given back stays in the list
                if not self.crew.launch(self.claimed[0]):
                    self.due["turn"] = 0.0
                del self.claimed[0]
                os.sched_yield()  # it goes first
        except sqlite3.OperationalError as error:
            self._have_trouble(error)
            self.house.space.cap_logs(self.crew.clear_away())
            return
        if is_go:
            overdue = now + CHORES_WAIT_S if self.chores is None else self.chores[1]
            self.chores = (now + CHORES_AFTER_S, overdue)
        if self.chores is None or now >= min(self.chores):  # a turn right behind a `go` does not bring them forward
            self._do_chores()

    def _do_chores(self) -> None:
        """What no `go` waits for. The standby comes first: the job that runs may be short, the disk slow."""
        self.chores = None
        self.draining |= self.place.look()
        try:
            if not (self.draining or self.house.space.low):
                self.crew.arrange_standby(evergreens=self._keeps_evergreens("gpu"))
            self._book()
            self._write_down()
            self._look_after()
        except sqlite3.OperationalError as error:
            self._have_trouble(error)
        self.house.space.cap_logs(self.crew.clear_away())

    def _turn(self) -> bool:
        """Settle and claim. Whether a standby began: it does so as soon as it is known that nobody else can be next,
        before anything is written. Who starts cold is launched once the commit is on the disk."""
        self._take_what_waits()
        now = time.time()
        if not (self.ended or standing.is_time(self.db, now=now) or any(self._has_work(lane, now) for lane in LANES)):
            return False
        begun: Child | None = None
        claimed: list[Job] = []
        try:
            with database.transaction(self.db):
                begun = self._begin_next(now)
                standing.fire(self.db, now=now)
                for child in self.ended:
                    self._settle(child, now)
                if begun is not None:
                    self.crew.claim(begun, now)
                for lane in LANES:
                    for _ in range(self._free_slots(lane) if self._has_work(lane, now) else 0):
                        if job := self._claim(lane, now) or self._claim_evergreen(lane, now):
                            claimed.append(job)
        except sqlite3.Error:
            if begun is not None:
                begun.why, begun.phase = "the queue could not be written", self.stop(begun)
            raise
        self.is_well = True
        self.ended.clear()
        self.claimed += claimed
        return begun is not None

    def _begin_next(self, now: float) -> Child | None:
        """The standby's `go`, if what is to be settled can't change whose turn it is: a job that succeeded is never
        claimed again, and where nobody waited for it, nobody else comes before the first who is due."""
        if not (self.is_well and self._free_slots("gpu") and self._may_claim()):
            return None
        if any(child.status != EXIT_DONE or queue.is_needed(self.db, child.job.id) for child in self.ended):
            return None
        first = self.lane.first(self.db, now=now)
        return self.crew.begin_warm(first) if first is not None and self.lane.is_free() else None

    def _take_what_waits(self) -> None:
        """Follow-up jobs that could not be written come before the end of the job that submitted them."""
        for child in [*self.ended, *self.children]:
            waiting, child.untaken = child.untaken, []
            for report in waiting:
                self._take(child, report)
            if child.untaken:
                raise sqlite3.OperationalError("a follow-up job could not be written")

    def _settle(self, child: Child, now: float) -> None:
        try:
            standing.charge(self.db, child.job, time.monotonic() - child.began)
            if child.job.lane == "gpu":
                child.why = child.why or self.lane.excuse
            verdict.settle(self.db, child, self.home.log(child.job.id), now=now)
        except StaleAttempt as stale:
            say(f"{stale}: ended, but the queue says that it does not run; the queue is right")

    def _has_work(self, lane: str, now: float) -> bool:
        """Whether a job may be claimed for a lane. A busy one is not looked at: who holds its lock is no escaper."""
        if not self._free_slots(lane):
            return False
        if not (self._may_claim() and self._is_due(lane, now)):
            if lane == "gpu":
                self.lane.forget_short()
            return False
        free = lane != "gpu" or self.lane.is_free()
        if self.lane.is_held:
            self.due["turn"] = min(self.due["turn"], time.monotonic() + SWEEP_EVERY_S)
        return free

    def _is_due(self, lane: str, now: float) -> bool:
        if queue.has_due(self.db, lane, now=now):
            return True
        return self._keeps_evergreens(lane) and standing.is_due(self.db, now=now)

    def _claim(self, lane: str, now: float) -> Job | None:
        """The next due job of a lane; on the GPU's, the next one that fits the card as it is."""
        if lane != "gpu" or self.lane.card.now is None:
            return queue.claim(self.db, lane, now=now)
        first = self.lane.first(self.db, now=now)
        return None if first is None else queue.claim_job(self.db, first.id, now=now)

    def _claim_evergreen(self, lane: str, now: float) -> Job | None:
        """Nothing else is due: the lane must not idle."""
        if not self._keeps_evergreens(lane):
            return None
        return standing.claim(self.db, now=now, fits=lambda job: self.lane.fits(self.db, job))

    def _keeps_evergreens(self, lane: str) -> bool:
        return lane == "gpu" and not self.until_empty  # they never come to an end

    def _may_claim(self) -> bool:
        resting = time.monotonic() < self.crew.rest_until
        return not (self.draining or resting or self.house.space.low or queue.is_paused(self.db))

    def _free_slots(self, lane: str) -> int:
        busy = self.crew.busy(lane) + sum(job.lane == lane for job in self.claimed)
        return max(0, (1 if lane == "gpu" else self.options.cpu_slots) - busy)

    def _book(self) -> None:
        """Tell the ledger how the GPU lane is, when that changed."""
        holder = next((child for child in self.children if child.claimed and child.job.lane == "gpu"), None)
        if holder is not None:
            entry = booking.busy(holder, self.lane)
        elif self.draining:
            entry = ledger.Entry("down", why="stopping")
        else:
            entry = booking.idle(self.db, self.lane, space.WHY if self.house.space.low else "")
        self.booking.write(holder, entry)

    def _look_after(self) -> None:
        """The settings when we were told that they changed, and the house around the jobs."""
        if self.told_to_reload:
            self.told_to_reload = False
            self.options, said = settings.read_again(self.home.path, self.options)
            self.lane.options = self.crew.options = self.options
            self.house.read_settings(self.options)
            say(said)
        if self.house.look([child.job.id for child in self.children if child.claimed]):
            self.due["turn"] = 0.0

    # ── small things ──────────────────────────────────────────────────────────────────────────────────────────────

    def _write_down(self) -> None:
        """Progress, the state of the lane and our own pulse go to the queue."""
        now = time.monotonic()
        self.lane.write_down(self.db)
        self.lane.write_peaks(self.soft_db, now=time.time())
        if now >= self.due["progress"]:
            self.due["progress"] = now + PROGRESS_EVERY_S
            for child in self.children:
                if child.claimed and child.progress is not None:
                    verdict.write_progress(self.soft_db, child, now=time.time())
        if now >= self.due["seen"]:
            self.due["seen"] = now + SEEN_EVERY_S
            if self.booking.account.look():  # the calendar was set
                clock.set_right(self.db, now=time.time())
                self.house.wait_to_forget()
            self.lane.card.write_down(self.soft_db, now=time.time())
        if any(child.claimed and child.progress is not None for child in self.children):
            self.due["turn"] = min(self.due["turn"], self.due["progress"])

    def _wait_s(self) -> float:
        times: list[float] = [
            max(self.due["turn"], self.crew.rest_until),
            self.due["tick"],
            self.lane.card.wakes_at,
            *(c.deadline for c in self.children if c.deadline is not None),
            *(c.watch.due_at for c in self.children if c.phase is Phase.RUNNING),
            *(() if self.chores is None else (min(self.chores),)),
        ]
        now = time.time()
        due = [queue.next_due_at(self.db, now=now), standing.wakes_at(self.db, now=now)]
        due_at = min((at for at in due if at is not None), default=None)
        if due_at is not None:
            times.append(time.monotonic() + due_at - time.time())
        wait_s = max(0.0, min(times) - time.monotonic())
        if due_at is not None and due_at <= time.time() + wait_s:
            self.due["turn"] = min(self.due["turn"], time.monotonic() + wait_s)
        return wait_s

    def _on_signal(self, signum: int, _: object) -> None:
        if signum == signal.SIGHUP:
            self.told_to_reload = True
        else:
            self.draining = True


ON: dict[Phase, dict[Event, Callable[[Daemon, Child], Phase]]] = {
    Phase.STANDBY: {
        Event.REPORT: Daemon.note, Event.EXIT: Daemon.end, Event.LEAVE: Daemon.drop, Event.LATE: Daemon.drop,
        Event.STALLED: Daemon.keep,
    },
    Phase.RUNNING: {
        Event.REPORT: Daemon.note, Event.EXIT: Daemon.end, Event.LEAVE: Daemon.stop, Event.LATE: Daemon.keep,
        Event.STALLED: Daemon.stop_stalled,
    },
    Phase.STOPPING: {
        Event.REPORT: Daemon.note, Event.EXIT: Daemon.end, Event.LEAVE: Daemon.keep, Event.LATE: Daemon.kill,
        Event.STALLED: Daemon.keep,
    },
    Phase.KILLED: {
        Event.REPORT: Daemon.note, Event.EXIT: Daemon.end, Event.LEAVE: Daemon.keep, Event.LATE: Daemon.alarm,
        Event.STALLED: Daemon.keep,
    },
    Phase.SWEEPING: {
        Event.REPORT: Daemon.note, Event.EXIT: Daemon.keep, Event.LEAVE: Daemon.keep, Event.LATE: Daemon.sweep,
        Event.STALLED: Daemon.keep,
    },
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="jobd", description="Serve the queue of one home: never let the GPU rest.")
    parser.add_argument("-C", "--home", help="the folder for queue.db (else $NEVERREST_HOME, else here)")
    parser.add_argument("--until-empty", action="store_true", help="leave when nothing in the queue can run any more")
    told = parser.parse_args(argv)
    try:
        home = homes.find(told.home)
        database.require_access(home.path)
        options = settings.read(home.path)
        lock = home.hold()
        damage.mend(home)
        database.create(home.queue_db)
        daemon = Daemon(home, options, until_empty=told.until_empty)
        daemon.run()
        os.close(lock)
    except Refused as refusal:
        say(str(refusal))
        return 1
    except sqlite3.OperationalError as error:  # at the start or the end; what lies between goes on
        say(f"the queue can't be used ({error}): see that its disk has room, then start jobd again")
        return 1
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a law of the schema broken: our mistake
            raise
        say(f"the queue is damaged ({error}): jobs save and leave; started again, jobd goes on from the newest backup")
        return 1
    return 1 if daemon.place.lost else 0


if __name__ == "__main__":
    sys.exit(main())
