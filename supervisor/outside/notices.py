"""What a person should hear of, and how it gets out. The table `notice` is the outbox.

A trigger writes what failed or was held, in the transaction that made it so. The rest is noticed here: the GPU lane or
the disk, an empty queue, a week that is over. What is due leaves in a process of its own (deliver.py), many notices as
one message. What did not get out is tried again, also after a crash: a person may hear of a thing twice, never not at
all. docs/decisions/0014.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from jobs.contract import MARK
from supervisor import ledger, meta, queue
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.notify import say
from supervisor.screen import view
from supervisor.settings import Settings

LOOK_EVERY_S = 1.0
GAP_S = 10.0  # between two deliveries: many jobs that fail are one message
DEADLINE_S = 75.0  # for all ways: each has a shorter one of its own
REAP_S = 0.2
LEAVE_S = 5.0  # when jobd leaves: so long it waits for what is on its way
BACKOFF_S, MAX_BACKOFF_S = 30.0, 6 * 3600.0
GIVE_UP_S = 7 * 86400.0  # older news help nobody
KEEP_S = 30 * 86400.0
AT_ONCE = 1000  # notices in one delivery
LINES = 40  # of them are in its text
WEEK_S = 7 * 86400.0
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
        if not self.options.notify.ways:
            forget(self._db)
            return
        self._notice(time.time())
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
        notices = [self._facts(row) for row in rows]
        lines = [notice["text"] for notice in notices[:LINES]]
        if len(rows) > LINES:
            lines.append(f"... and {len(rows) - LINES} more: `jobctl list --state failed`")
        text = "\n".join(lines)
        return {
            "text": text, "content": text, "home": str(self._home.path), "host": socket.gethostname(), "at": now,
            "notices": notices,
        }  # fmt: skip

    def _facts(self, row: sqlite3.Row) -> dict[str, Any]:
        facts = {"id": row["id"], "what": row["what"], "at": row["at"], "text": view.safe(row["text"]), "job": None}
        if row["job_id"] is not None:
            job = queue.get(self._db, row["job_id"])
            facts["job"] = {
                "id": job.id,
                "kind": job.kind,
                "name": job.name,
                "state": job.state,
                "attempt": job.attempt,
            }
            facts["text"] = view.safe(f"{row['what']}: job {job.id} {job.name}: {row['text']}")
        return facts

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


class Delivery:
    """A message under way, in a process of its own. ids: by each way, the notices in it."""

    def __init__(self, told: dict[str, Any], ids: dict[str, list[int]]) -> None:
        self.ids, self._said = ids, b""
        self._ended: dict[str, str | None] | None = None
        self._until = time.monotonic() + DEADLINE_S
        given = os.memfd_create("notice")  # a pipe would hold up the loop when the message is long
        try:
            os.write(given, json.dumps(told).encode())
            os.lseek(given, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor.outside.deliver"],
                stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | {MARK: "neverrest:notice"},  # no orphan of any job: no sweep takes it for one
            )  # fmt: skip
        finally:
            os.close(given)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    def ended(self) -> dict[str, str | None] | None:
        """By each way: None when it got out, else why not. None while it is under way. May be asked again."""
        if self._ended is not None:
            return self._ended
        while piece := self._read():
            self._said += piece
        if piece is None and time.monotonic() < self._until:
            return None
        self.stop()
        self._ended = dict.fromkeys(self.ids, "no answer in time")
        for line in self._said.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of a word
            self._ended[said["way"]] = said["error"]
        return self._ended

    def stop(self) -> None:
        """Its time is over, or its work is done."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            pass  # the kernel holds it; whoever waits for children next takes it

    def _read(self) -> bytes | None:
        """What has come in; nothing at its end; None when there is nothing yet."""
        try:
            return os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return None


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


def forget(db: sqlite3.Connection) -> None:
    """Nobody wants to be told: nothing piles up."""
    if db.execute("select 1 from notice limit 1").fetchone():
        with transaction(db):
            db.execute("delete from notice")


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
    """These are done with. What was done with long ago goes."""
    with transaction(db):
        db.executemany("update notice set done_at = ? where id = ?", [(now, one) for one in ids])
        db.execute("delete from notice where done_at < ?", (now - KEEP_S,))
