"""Logs on a terminal: the end of one, one attempt of one, or all that runs, as it grows."""

import codecs
import re
import sqlite3
import time
from pathlib import Path

from supervisor import queue, view
from supervisor.errors import Refused
from supervisor.home import Home

LOOK_EVERY_S = 0.2
MARK = re.compile(r"── attempt (\d+) · .* ──")
PIECE_BYTES = 1 << 16


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
    while True:
        claim = claim or _claim_after(db, last)
        if claim is not None:
            job = queue.get(db, claim["job_id"])
            print(f"━━ job {job.id} {view.safe(job.name)}, attempt {claim['attempt']} ━━", flush=True)
            at = print_end(home, job.id, lines, None) if not last else _start_of(home.log(job.id), claim["attempt"])
            if not on:
                return 0
            _follow(home, job.id, at, claim["attempt"])
            last, claim = claim["id"], None
        else:
            time.sleep(LOOK_EVERY_S)


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


def _start_of(path: Path, attempt: int) -> int:
    """Where in a log an attempt begins, in bytes; its end when it has not begun yet."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return 0
    found = content.rfind(f"── attempt {attempt} ·".encode())
    return found if found >= 0 else len(content)


def print_end(home: Home, job_id: int, lines: int, attempt: int | None) -> int:
    """Print the end of a log. How many bytes the log had: what comes after them has not been shown."""
    path = home.log(job_id)
    size = path.stat().st_size if path.exists() else 0
    if attempt is None:
        text = view.tail(path, lines)
    else:
        text = "\n".join(of_attempt(view.tail(path, 1 << 30, most_bytes=1 << 30), attempt)[-lines:])
    if text:
        print(text, flush=True)
    return size


def of_attempt(text: str, attempt: int) -> list[str]:
    """The lines of a log between an attempt's mark and the next one's."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if match := MARK.fullmatch(line):
            inside = int(match[1]) == attempt
        if inside:
            found.append(line)
    if not found:
        raise Refused(f"the log holds nothing of an attempt {attempt}")
    return found


def _follow(home: Home, job_id: int, at: int, attempt: int | None = None) -> None:
    """Print what a log holds beyond `at` bytes, until this attempt (without one: the job) is over."""
    db = home.connect()
    path = home.log(job_id)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a piece may end inside a letter
    while True:
        job = queue.get(db, job_id)
        if path.exists():
            with open(path, "rb") as file:
                file.seek(at)
                while piece := file.read(PIECE_BYTES):
                    at += len(piece)
                    print(view.safe_lines(decoder.decode(piece)), end="", flush=True)
        ended = job.state in queue.OVER if attempt is None else (job.state, job.attempt) != ("running", attempt)
        if ended:  # looked at before the reading: what it said last is out
            return
        time.sleep(LOOK_EVERY_S)
