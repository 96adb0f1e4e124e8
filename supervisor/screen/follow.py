"""Logs on a terminal: the end of one, one attempt of one, or all that runs, as it grows."""

import codecs
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from supervisor import queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.house import logs as files
from supervisor.screen import view
from supervisor.screen.news import News

PIECE_BYTES = 1 << 16
END_BYTES = 1 << 20  # of a log, when its last lines are asked for


def logs(home: Home, job_id: int | None, *, lines: int, on: bool, attempt: int | None) -> int:
    """Print a log to the terminal. Without an id: the running job's, and with `on` every one's after it."""
    db = home.connect()
    if job_id is not None:
        queue.get(db, job_id)  # a sentence when there is none
        at = print_end(home, job_id, lines, attempt)
        if on:
            _follow(home, job_id, at)
        return 0
    claim = _claim_that_runs(db)
    if claim is None and not on:
        raise Refused("nothing runs now: give an id, or -f to wait for the next job")
    last = 0 if claim is not None else _newest_event(db)
    news = News(home.path)
    while True:
        claim = claim or _claim_after(db, last)
        if claim is not None:
            job = queue.get(db, claim["job_id"])
            print(f"━━ job {job.id} {view.safe(job.name)}, attempt {claim['attempt']} ━━", flush=True)
            at = (
                print_end(home, job.id, lines, None) if not last else files.start_of(home.log(job.id), claim["attempt"])
            )
            if not on:
                return 0
            _follow(home, job.id, at, claim["attempt"])
            last, claim = claim["id"], None
        else:
            news.wait()


def _claim_that_runs(db: sqlite3.Connection) -> sqlite3.Row | None:
    """The event by which the job that runs now was claimed; the GPU's before the CPU's."""
    row: sqlite3.Row | None = db.execute(
        "select event.* from event join job on job.id = job_id and event.attempt = job.attempt"
        " where state = 'running' and what = 'claimed' order by lane = 'gpu' desc, event.id limit 1"
    ).fetchone()
    return row


def _claim_after(db: sqlite3.Connection, last: int) -> sqlite3.Row | None:
    """The next claim on the GPU lane; on the CPU lane where the GPU lane has none that runs."""
    row: sqlite3.Row | None = db.execute(
        "select event.* from event join job on job.id = job_id where what = 'claimed' and event.id > ?"
        " order by lane = 'gpu' desc, event.id limit 1",
        (last,),
    ).fetchone()
    return row


def _newest_event(db: sqlite3.Connection) -> int:
    return int(db.execute("select coalesce(max(id), 0) as id from event").fetchone()["id"])


def print_end(home: Home, job_id: int, lines: int, attempt: int | None) -> int:
    """Print the end of a log. Where what was looked at ends, in bytes: what comes after it has not been shown."""
    path = home.log(job_id)
    if attempt is None:
        content, end = files.read_end(path, END_BYTES)
        found = content.decode(errors="replace").splitlines()
    else:
        end = path.stat().st_size if path.exists() else 0
        newest = queue.get(home.connect(), job_id).attempt
        found = files.of_attempt(path, attempt, newest) or _nothing_of(attempt)
    if found:
        print(view.safe_lines("\n".join(found[-lines:])), flush=True)
    return end


def _nothing_of(attempt: int) -> list[str]:
    raise Refused(f"the log holds nothing of an attempt {attempt}")


def _follow(home: Home, job_id: int, at: int, attempt: int | None = None) -> None:
    """Print what a log holds beyond `at` bytes, until this attempt (without one: the job) is over."""
    db, path = home.connect(), home.log(job_id)
    news = News(home.path, path)
    pieces, whole_line = Pieces(), True
    while True:
        job = queue.get(db, job_id)
        for piece, end in _beyond(path, at):
            at = end
            if text := pieces.safe(piece):
                print(text, end="", flush=True)
                whole_line = text.endswith("\n")
        ended = job.state in queue.OVER if attempt is None else (job.state, job.attempt) != ("running", attempt)
        if ended:  # looked at before the reading: what it said last is out
            news.close()
            print(end="" if whole_line else "\n", flush=True)
            return
        news.wait()


def _beyond(path: Path, at: int) -> Iterator[tuple[bytes, int]]:
    """What a log holds beyond `at` bytes, in pieces, and where each ends. What the cap took is passed over."""
    try:
        with open(path, "rb") as file:
            shortened = os.fstat(file.fileno()).st_size < at  # by hand: it begins anew
            at = max(0 if shortened else at, files.first_byte(file.fileno()))
            file.seek(at)
            while piece := file.read(PIECE_BYTES):
                gone = files.first_byte(file.fileno()) - at  # the cap may have taken some of it as we read
                at += len(piece)
                yield piece[max(0, gone) :], at
    except FileNotFoundError:
        return


class Pieces:
    """A stream of bytes as text that can't harm a terminal, wherever it is cut: in a letter, in a line's end."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def safe(self, piece: bytes) -> str:
        """The next piece. A carriage return at its end waits for what comes: it may be half of one newline."""
        text = self._held + self._decoder.decode(piece)
        self._held = "\r" if text.endswith("\r") else ""
        return view.safe_lines(text.removesuffix("\r"))
