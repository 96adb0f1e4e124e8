"""Where every second of the GPU lane went: a row of spans, each in exactly one class, the newest one open.

A span's length is time that really passed: within one life of jobd by a clock that nobody can set, over a restart by
the same clock when the machine stayed up, and by the calendar when it did not. Where the calendar was set, a span ends
and the next one begins at the new date: the dates jump, no second is lost or counted twice.
"""

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass

from supervisor import meta
from supervisor.db import transaction

CLASSES = {  # in words
    "running": "running",
    "preparing": "preparing",  # from `go` to the first progress
    "saving": "saving",  # from being asked to leave to being gone
    "switching": "switching jobs",  # from the end of a job to the next one's go
    "reclaiming": "reclaiming VRAM",
    "waiting-vram": "waiting for VRAM",
    "empty": "queue empty",  # nothing is due
    "paused": "paused by hand",
    "lost": "GPU lost",
    "closed": "lane closed",
    "down": "no supervisor",
    "off": "machine off",  # or asleep
}
STEP_S = 1.0  # what the calendar may drift from the seconds that passed before we say that it was set


@dataclass(frozen=True)
class Moment:
    """at: Unix seconds. boot: which start of the machine. up_s: seconds since then, those it slept through too.

    drift_s: how far the calendar is ahead of `at`, which counts on without it as long as that is little.
    """

    at: float
    boot: str
    up_s: float
    drift_s: float = 0.0


@dataclass(frozen=True)
class Entry:
    """How the lane is. kind: of a running job."""

    what: str
    kind: str = ""
    job_id: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Share:
    """Seconds of the lane's time in one class (and kind, for `running`)."""

    what: str
    kind: str
    seconds: float


class Account:
    """The ledger in one life of jobd: it writes only when the lane changes. Commits need not be durable.

    wall, up and awake are the calendar, the seconds since boot, and those of them that the machine was not asleep.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        wall: Callable[[], float] = time.time,
        up: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        awake: Callable[[], float] = time.monotonic,
        boot: str | None = None,
    ) -> None:
        self.db, self.boot = db, boot or boot_id()
        self._wall, self._up, self._awake = wall, up, awake
        self._offset = wall() - up()
        self._asleep = up() - awake()
        self._last: Entry | None = None  # what is open, when we know it

    def now(self) -> float:
        """The date by the seconds that passed since we began, whatever was done to the calendar since."""
        return self._up() + self._offset

    def recover(self) -> None:
        recover(self.db, Moment(self.now(), self.boot, self._up()))

    def enter(self, entry: Entry, *, at: float | None = None) -> None:
        """The lane is like this from now on, or from `at` on."""
        if entry != self._last:
            self._last = None  # unless the commit succeeds we do not know
            enter(self.db, entry, now=self.now() if at is None else at)
            self._last = entry

    def look(self) -> bool:
        """We are still here. Did the machine sleep, was the calendar set? Whether it was set."""
        with transaction(self.db):
            asleep_s = self._up() - self._awake() - self._asleep
            if asleep_s > STEP_S and (last := open_entry(self.db)) is not None:
                enter(self.db, Entry("off", why="asleep"), now=self.now() - asleep_s)
                enter(self.db, last, now=self.now())
            drift_s = self._wall() - self.now()
            stepped = abs(drift_s) > STEP_S
            if stepped:
                step(self.db, now=self.now(), to=self.now() + drift_s)
            at = self.now() + (drift_s if stepped else 0.0)
            touch(self.db, Moment(at, self.boot, self._up(), 0.0 if stepped else drift_s))
        self._asleep += asleep_s
        self._offset += drift_s if stepped else 0.0
        return stepped


# ── written ───────────────────────────────────────────────────────────────────────────────────────────────────────


def enter(db: sqlite3.Connection, entry: Entry, *, now: float) -> None:
    """The lane is like this from now on. The span before ends here, unless it is the same one going on."""
    with transaction(db):
        last = _open(db)
        if last is not None:
            now = max(now, last["began_at"])
            if open_entry(db) == entry:
                db.execute("update span set seen_at = max(?, seen_at) where id = ?", (now, last["id"]))
                return
            db.execute("update span set seen_at = ?, closed = 1 where id = ?", (now, last["id"]))
        _insert(db, entry, now, now)


def touch(db: sqlite3.Connection, now: Moment) -> None:
    """We are still here: the open span reaches until now."""
    with transaction(db):
        db.execute("update span set seen_at = max(?, seen_at) where closed = 0", (now.at,))
        meta.write(db, "pulse", json.dumps(vars(now)))


def step(db: sqlite3.Connection, *, now: float, to: float) -> None:
    """The calendar was set while we lived: the open span ends at `now` and goes on at `to`, the same moment."""
    with transaction(db):
        last = open_entry(db)
        if last is not None:
            db.execute("update span set seen_at = max(?, seen_at), closed = 1 where closed = 0", (now,))
            _insert(db, last, to, to)


def recover(db: sqlite3.Connection, now: Moment) -> None:
    """A supervisor starts: the open span ended when the last one was last seen, and nobody served until now."""
    with transaction(db):
        last = _open(db)
        if last is not None:
            down_s, off_s = _gone(db, last["seen_at"], now)
            db.execute("update span set closed = 1 where id = ?", (last["id"],))
            if off_s > 0:
                _insert(db, Entry("off"), now.at - down_s - off_s, now.at - down_s)
                db.execute("update span set closed = 1 where closed = 0")
            _insert(db, Entry("down"), now.at - down_s, now.at)
        meta.write(db, "pulse", json.dumps(vars(now)))


def _gone(db: sqlite3.Connection, seen_at: float, now: Moment) -> tuple[float, float]:
    """Seconds since the last supervisor was last seen: with the machine up, and with the machine off."""
    told = meta.read(db, "pulse")
    pulse = Moment(**json.loads(told)) if told else None
    if pulse is not None and pulse.boot == now.boot:
        return max(0.0, now.up_s - pulse.up_s - (seen_at - pulse.at)), 0.0
    gone_s = max(0.0, now.at - seen_at - (pulse.drift_s if pulse is not None else 0.0))
    down_s = min(gone_s, now.up_s) if pulse is not None else gone_s
    return down_s, gone_s - down_s


def _insert(db: sqlite3.Connection, entry: Entry, began_at: float, seen_at: float) -> None:
    db.execute(
        "insert into span (class, kind, job_id, why, began_at, seen_at) values (?, ?, ?, ?, ?, ?)",
        (entry.what, entry.kind, entry.job_id, entry.why, began_at, seen_at),
    )


def _open(db: sqlite3.Connection) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("select * from span where closed = 0").fetchone()
    return row


def open_entry(db: sqlite3.Connection) -> Entry | None:
    """How the lane is; None when nobody has said yet."""
    row = _open(db)
    return Entry(row["class"], row["kind"], row["job_id"], row["why"]) if row is not None else None


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


# ── read ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Line:
    """One class (and kind) in the account: seconds in all, how often, the longest, and the reason of that one."""

    what: str
    kind: str
    seconds: float
    times: int
    longest_s: float
    why: str


def account(db: sqlite3.Connection, *, since: float, until: float) -> list[Line]:
    """The lane's time between two dates by class (and kind), most first. The seconds sum to the time on record."""
    rows = db.execute(
        "select class, kind, why, sum(inside) as seconds, count(*) as times, max(inside) as longest from ("
        " select *, min(seen_at, :until) - max(began_at, :since) as inside from span"
        " where seen_at > :since and began_at < :until)"
        " where inside > 0 group by class, kind order by seconds desc",
        {"since": since, "until": until},
    )
    return [Line(row["class"], row["kind"], *(row[name] for name in ("seconds", "times", "longest", "why")))
            for row in rows]  # fmt: skip


def shares(db: sqlite3.Connection, *, since: float, until: float) -> list[Share]:
    """The seconds of each class (and kind) between two dates, most first."""
    return [Share(line.what, line.kind, line.seconds) for line in account(db, since=since, until=until)]


def summary(found: list[Share]) -> str:
    """'busy 99.2 %, idle 41 min: 22 queue empty, 10 switching jobs, 9 preparing': the parts sum to the whole."""
    total_s = sum(share.seconds for share in found)
    if not total_s:
        return "nothing is on record yet"
    idle = [share for share in found if share.what != "running"]
    idle_s = sum(share.seconds for share in idle)
    unit, unit_s = ("s", 1) if idle_s < 600 else ("min", 60) if idle_s < 36000 else ("h", 3600)
    parts = [(round(share.seconds / unit_s), share.what) for share in idle]
    words = ", ".join(f"{number} {CLASSES.get(what, what)}" for number, what in parts if number)
    busy = f"busy {1 - idle_s / total_s:.1%}".replace("%", " %")
    return f"{busy}, idle {sum(number for number, _ in parts)} {unit}" + (f": {words}" if words else "")
