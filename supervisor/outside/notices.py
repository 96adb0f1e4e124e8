"""What a person should hear of, and how it gets out. The table `notice` is the outbox.

A trigger writes what failed or was held, in the transaction that made it so. The rest is noticed here: the GPU lane or
the disk, an empty queue, a week that is over. What is due leaves in a process of its own (deliver.py), many notices as
one message. What did not get out is tried again, also after a crash: a person may hear of a thing twice, never not at
all. Those that are done with stay for `jobctl notices`; without a way to tell anybody that is where they all are.
docs/decisions/0014, 0029.
"""

import json
import socket
import sqlite3
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from supervisor import ledger, meta, queue
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.notify import say
from supervisor.outside.delivery import Delivery
from supervisor.screen import view
from supervisor.settings import Settings

LOOK_EVERY_S = 1.0
GAP_S = 10.0  # between two deliveries: many jobs that fail are one message
LEAVE_S = 5.0  # when jobd leaves: so long it waits for what is on its way
BACKOFF_S, MAX_BACKOFF_S = 30.0, 6 * 3600.0
GIVE_UP_S = 7 * 86400.0  # older news help nobody
KEEP_DAYS = 30.0  # where keep_days says nothing else
AT_ONCE = 1000  # notices in one delivery
LINES = 40  # of them are in its text
DAY_S = 86400.0
WEEK_S = 7 * DAY_S
WEEKLY_HOUR = 8  # of Monday, local time
ALARMS = {  # what: (where the queue says how it is, words when it began, words when it is over)
    "gpu": ("lane_closed", "the GPU lane is closed: {}", "the GPU lane is open again"),
    "disk": ("disk_low", "the disk is nearly full: {}", "there is room on the disk again"),
}


class Outbox:
    """The notices of one home. `look` is called at every turn of the loop and never waits."""

    def __init__(self, db: sqlite3.Connection, home: Home, options: Settings) -> None:
        self._db, self._home, self.options = db, home, options
        self._look_at = self._send_at = 0.0  # monotonic
        self._under_way: Delivery | None = None

    def look(self) -> None:
        """Write down what is new, and send what is due."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_EVERY_S
        self._notice(time.time())
        if not self.options.notify.ways:
            close_all(self._db, now=time.time())
            return
        self._collect()
        if self._under_way is None and time.monotonic() >= self._send_at:
            self._send(time.time())

    def leave(self) -> None:
        """jobd leaves: what is due goes out now, and has LEAVE_S. What does not is still in the outbox."""
        try:
            if self.options.notify.ways:
                self._empty()
        except sqlite3.OperationalError as error:
            say(f"what is due can't be told now ({error}): the next jobd tells it")
        if self._under_way is not None:
            self._under_way.stop()

    def _empty(self) -> None:
        until = time.monotonic() + LEAVE_S
        self._notice(time.time())
        while time.monotonic() < until:
            self._collect()
            if self._under_way is None and not self._send(time.time()):
                return
            time.sleep(0.02)

    # ── what is new ───────────────────────────────────────────────────────────────────────────────────────────────

    def _notice(self, now: float) -> None:
        for what, (key, began, over) in ALARMS.items():
            notice_alarm(self._db, what, meta.read(self._db, key) or "", began, over, now=now)
        notice_empty(self._db, self.options.notify.empty_after_min * 60, now=now)
        notice_week(self._db, now=now)

    # ── what is due ───────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, now: float) -> bool:
        """Start a delivery of what is due. Whether there was any."""
        due = self._db.execute(
            "select * from notice where done_at is null and next_try_at <= ? order by id limit ?", (now, AT_ONCE)
        ).fetchall()
        if silent := [row["id"] for row in due if row["what"] not in self.options.notify.on]:
            _close(self._db, silent, now=now)
        due = [row for row in due if row["id"] not in set(silent)]
        if not due:
            return bool(silent)
        by_way = {way: [row for row in due if way not in json.loads(row["told"])] for way in self.options.notify.ways}
        by_way = {way: rows for way, rows in by_way.items() if rows}
        messages = {way: self._message(rows, now) for way, rows in by_way.items()}
        told = {"notify": asdict(self.options.notify), "home": str(self._home.path), "messages": messages}
        self._send_at = time.monotonic() + GAP_S
        try:
            self._under_way = Delivery(told, {way: [row["id"] for row in rows] for way, rows in by_way.items()})
        except OSError as error:
            say(f"a notice can't be sent now ({error}): again later")
            return False
        return True

    def _message(self, rows: list[sqlite3.Row], now: float) -> dict[str, Any]:
        """What is told: `text` for a person (`content` is what some chat services call it), `notices` for a program."""
        notices = [facts(self._db, row) for row in rows]
        lines = [notice["text"] for notice in notices[:LINES]]
        if len(rows) > LINES:
            lines.append(f"... and {len(rows) - LINES} more: `jobctl list --state failed`")
        text = "\n".join(lines)
        return {
            "text": text, "content": text, "home": str(self._home.path), "host": socket.gethostname(), "at": now,
            "notices": notices,
        }  # fmt: skip

    def _collect(self) -> None:
        """Take in how a delivery ended."""
        if self._under_way is None or (ended := self._under_way.ended()) is None:
            return
        ids, now, failed = self._under_way.ids, time.time(), []
        with transaction(self._db):
            for way, error in ended.items():
                if error is None:
                    _tell(self._db, ids[way], way)
                else:
                    failed.append(f"by {way}: {error}")
            for notice_id in {one for rows in ids.values() for one in rows}:
                _settle(self._db, notice_id, self.options.notify.ways, now)
        self._under_way = None
        if failed:
            say(view.safe(f"a notice did not get out {'; '.join(failed)}: again later"))


# ── the table ─────────────────────────────────────────────────────────────────────────────────────────────────────


def add(db: sqlite3.Connection, what: str, text: str, *, now: float) -> None:
    """A notice of the house itself, due at once."""
    with transaction(db):
        db.execute("insert into notice (at, what, text, next_try_at) values (?, ?, ?, ?)", (now, what, text, now))


def notice_alarm(db: sqlite3.Connection, what: str, why: str, began: str, over: str, *, now: float) -> None:
    """Something is wrong with the house, or is right again. Told once each, also when jobd dies in between."""
    key = f"told_{what}"
    if bool(meta.read(db, key)) == bool(why):
        return
    with transaction(db):
        add(db, what, began.format(why) if why else over, now=now)
        meta.write(db, key, why)


def notice_empty(db: sqlite3.Connection, after_s: float, *, now: float) -> None:
    """The GPU has had nothing to do for after_s seconds: told once for each time that it rests."""
    span = db.execute("select id, class, began_at from span where closed = 0").fetchone()
    if span is None or span["class"] != "empty" or now - span["began_at"] < after_s:
        return
    if meta.read(db, "told_empty") == str(span["id"]):
        return
    with transaction(db):
        add(
            db, "empty", f"nothing to do for the GPU since {view.moment(span['began_at'])}: the queue is empty", now=now
        )
        meta.write(db, "told_empty", str(span["id"]))


def notice_week(db: sqlite3.Connection, *, now: float) -> None:
    """Each Monday: where the GPU lane's week went. A machine that was off then tells it when it is back, once."""
    due = meta.read(db, "weekly_at")
    if due is not None and now < float(due):
        return
    with transaction(db):
        shares = ledger.shares(db, since=now - WEEK_S, until=now) if due is not None else []
        if shares:
            add(db, "weekly", f"the last 7 days of the GPU lane: {ledger.summary(shares)}", now=now)
        meta.write(db, "weekly_at", str(next_monday(now)))


def next_monday(now: float) -> float:
    """The next Monday at WEEKLY_HOUR by this machine's clock, in Unix seconds."""
    at = datetime.fromtimestamp(now).replace(hour=WEEKLY_HOUR, minute=0, second=0, microsecond=0)
    at += timedelta(days=(7 - at.weekday()) % 7)
    return (at if at.timestamp() > now else at + timedelta(days=7)).timestamp()


def facts(db: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    """A notice for those outside: its text can't harm a terminal. job: None where it is of none, or forgotten."""
    told = {"id": row["id"], "what": row["what"], "at": row["at"], "text": view.safe(row["text"]), "job": None}
    if row["job_id"] is not None:
        job = queue.get(db, row["job_id"])
        told["job"] = {"id": job.id, "kind": job.kind, "name": job.name, "state": job.state, "attempt": job.attempt}
        told["text"] = view.safe(f"{row['what']}: job {job.id} {job.name}: {row['text']}")
    return told


def newest(db: sqlite3.Connection, most: int, *, since: float = 0.0) -> list[dict[str, Any]]:
    """The last notices as `jobctl notices` has them, newest first. since: Unix seconds."""
    seen = _seen(db)
    rows = db.execute("select * from notice where at >= ? order by id desc limit ?", (since, most))
    return [
        facts(db, row) | {"told": json.loads(row["told"]), "done": row["done_at"] is not None, "new": row["id"] > seen}
        for row in rows.fetchall()
    ]


def unseen(db: sqlite3.Connection) -> int:
    """How many there are that nobody has looked at."""
    return int(db.execute("select count(*) from notice where id > ?", (_seen(db),)).fetchone()[0])


def mark_seen(db: sqlite3.Connection) -> None:
    """Somebody has looked at them."""
    [last] = db.execute("select coalesce(max(id), 0) from notice").fetchone()
    if last > _seen(db):
        meta.write(db, "notices_seen", str(last))


def _seen(db: sqlite3.Connection) -> int:
    return int(meta.read(db, "notices_seen") or 0)


def close_all(db: sqlite3.Connection, *, now: float) -> None:
    """Nobody is to be told: whoever sets a way later hears of what happens then."""
    if db.execute("select 1 from notice where done_at is null limit 1").fetchone():
        with transaction(db):
            db.execute("update notice set done_at = ? where done_at is null", (now,))


def forget(db: sqlite3.Connection, keep_days: float, *, now: float) -> None:
    """What was done with so long ago goes. Never the newest: its number must not come again, or nobody would see it."""
    oldest = db.execute("select done_at from notice order by id limit 1").fetchone()
    if oldest is None or oldest["done_at"] is None or oldest["done_at"] >= now - keep_days * DAY_S:
        return
    with transaction(db):
        db.execute(
            "delete from notice where done_at < ? and id < (select max(id) from notice)", (now - keep_days * DAY_S,)
        )


def _tell(db: sqlite3.Connection, ids: list[int], way: str) -> None:
    """These notices have gone out by this way."""
    db.executemany("update notice set told = json_insert(told, '$[#]', ?) where id = ?", [(way, one) for one in ids])


def _settle(db: sqlite3.Connection, notice_id: int, ways: tuple[str, ...], now: float) -> None:
    """A notice that went out by every way is done; else it is tried again later; one too old is given up."""
    row = db.execute("select * from notice where id = ?", (notice_id,)).fetchone()
    if row is None:
        return
    if set(ways) <= set(json.loads(row["told"])) or now - row["at"] > GIVE_UP_S:
        _close(db, [notice_id], now=now)
        return
    wait_s = min(BACKOFF_S * 4 ** min(row["tries"], 10), MAX_BACKOFF_S)
    db.execute("update notice set tries = tries + 1, next_try_at = ? where id = ?", (now + wait_s, notice_id))


def _close(db: sqlite3.Connection, ids: list[int], *, now: float) -> None:
    """These are done with."""
    with transaction(db):
        db.executemany("update notice set done_at = ? where id = ?", [(now, one) for one in ids])
