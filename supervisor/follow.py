"""Logs on a terminal: the end of one, one attempt of one, or all that runs, as it grows."""

import re
import time

from supervisor import queue, view
from supervisor.errors import Refused
from supervisor.home import Home

LOOK_EVERY_S = 0.2
MARK = re.compile(r"── attempt (\d+) · .* ──")
PIECE_BYTES = 1 << 16


def logs(home: Home, job_id: int | None, *, lines: int, on: bool, attempt: int | None) -> int:
    """Print a log to the terminal. Without an id: the running job's, and with `on` the next one's after it."""
    db = home.connect()
    if job_id is not None:
        queue.get(db, job_id)  # a sentence when there is none
        print_end(home, job_id, lines, attempt)
        if on:
            _follow(home, job_id)
        return 0
    running = queue.running(db)
    if not running and not on:
        raise Refused("nothing runs now: give an id, or -f to wait for the next job")
    last: int | None = None
    while True:
        running = [job for job in queue.running(db) if job.lane == "gpu"] or queue.running(db)
        if running and running[0].id != last:
            last = running[0].id
            print(f"━━ job {last} {view.safe(running[0].name)} ━━", flush=True)
            print_end(home, last, lines, None)
            if not on:
                return 0
            _follow(home, last)
        time.sleep(LOOK_EVERY_S)


def print_end(home: Home, job_id: int, lines: int, attempt: int | None) -> None:
    if attempt is None:
        text = view.tail(home.log(job_id), lines)
    else:
        text = "\n".join(of_attempt(view.tail(home.log(job_id), 1 << 30, most_bytes=1 << 30), attempt)[-lines:])
    if text:
        print(text, flush=True)


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


def _follow(home: Home, job_id: int) -> None:
    """Print what is added to a log until its job no longer runs and is not about to."""
    db = home.connect()
    path = home.log(job_id)
    at = path.stat().st_size if path.exists() else 0
    while True:
        job = queue.get(db, job_id)
        if path.exists():
            with open(path, "rb") as file:
                file.seek(at)
                while piece := file.read(PIECE_BYTES):
                    at += len(piece)
                    print(view.safe_lines(piece.decode(errors="replace")), end="", flush=True)
        if job.state != "running":  # looked at before the reading: what it said last is out
            return
        time.sleep(LOOK_EVERY_S)
