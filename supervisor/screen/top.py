"""`jobctl top`: the house on one screen, drawn anew when something happens, until q. Without a terminal: once.

`frame` puts the screen into lines and knows no terminal; `_Terminal` is the terminal, and leaves it as it found it.
"""

import contextlib
import os
import select
import shutil
import signal
import sqlite3
import sys
import termios
import time
import tty
from datetime import datetime
from typing import Any

from supervisor import ledger, queue
from supervisor.counts import Seldom, by_state
from supervisor.home import Home
from supervisor.job import Job
from supervisor.outside import notices
from supervisor.screen import forecast, report, view
from supervisor.screen.line import line
from supervisor.screen.news import AT_MOST_S, News, data_version, until_changed

NEXT = 5  # jobs that come next
NOTICES = 8
PIPE_SIZE = (120, 60)  # columns and rows where there is no terminal
LEAVE = b"qQ\x04"  # keys: q, Ctrl-D
IN, OUT = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"  # another screen, no cursor, no wrapping; back


# ── what is on it ─────────────────────────────────────────────────────────────────────────────────────────────────


def facts(home: Home, db: sqlite3.Connection, *, now: float) -> dict[str, Any]:
    """What the screen shows, for `top --json`."""
    soon = forecast.of_home(home, db, now=now)
    shares, how = ledger.shares(db, since=midnight(now), until=now), report.state(home, db)
    told = soon if goes_on(how) else {}
    return how | {
        "jobs": by_state(db),
        "running": [view.as_dict(db, job, home, now=now, expected=told.get(job.id)) for job in queue.running(db)],
        "next": [view.as_dict(db, job, home, now=now, expected=told.get(job.id)) for job in following(db, soon)],
        "today": {"summary": ledger.summary(shares), "seconds": [vars(share) for share in shares]},
        "notices": notices.newest(db, NOTICES),
    }


def frame(home: Home, db: sqlite3.Connection, counted: Seldom[dict[str, int]], size: tuple[int, int]) -> list[str]:
    """The screen as lines that fit into size: (columns, rows)."""
    (width, height), now = size, time.time()
    soon, how = forecast.of_home(home, db, now=now), report.state(home, db)
    head = [*report.state_lines(how), "jobs     " + report.count_line(counted.now(db))]
    head[0] += "  " + time.strftime("%H:%M:%S", time.localtime(now)).rjust(width - view.columns(head[0]) - 2)
    today = ledger.summary(ledger.shares(db, since=midnight(now), until=now))
    parts = [
        head,
        _running(home, db, width, now),
        _next(home, db, soon if goes_on(how) else {}, following(db, soon), width, now),
        [f"today    {today}"],
    ]
    lines = [text for part in parts for text in ("", *part)][1:]
    room = min(NOTICES, height - len(lines) - 1)
    told = _notices(db, room, now) if room > 0 else []
    lines += ["", *told] if told else []
    return [view.cut(text, width) for text in lines[:height]]


def goes_on(how: dict[str, Any]) -> bool:
    """Whether anything will start: else there is an order, but no times."""
    return how["jobd"] and not how["paused"]


def following(db: sqlite3.Connection, soon: dict[int, forecast.Expected]) -> list[Job]:
    """The next jobs in the order of their start, the GPU lane's first."""
    waiting = [job_id for job_id, one in soon.items() if one.before is not None]
    return [queue.get(db, job_id) for job_id in waiting[:NEXT]]


def midnight(now: float) -> float:
    return datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def _running(home: Home, db: sqlite3.Connection, width: int, now: float) -> list[str]:
    """A line a job, and one for all it measures; or why the GPU lane rests."""
    found = sorted(queue.running(db), key=lambda job: (job.lane != "gpu", job.id))
    if not found:
        rests = ledger.open_entry(db)
        why = ledger.CLASSES.get(rests.what, rests.what) + (f": {rests.why}" if rests.why else "") if rests else ""
        return ["nothing runs" + (f" ({view.safe(why)})" if why else "")]
    names = max(view.columns(job.name) for job in found)
    lines = []
    for job in found:
        lines.append(line(db, home, job, now, width, names))
        if job.metrics:
            told = "  ".join(f"{name} {_number(value)}" for name, value in job.metrics.items())
            lines.append(f"  job {job.id}, attempt {job.attempt}:  {view.safe(told)}")
    return lines


def _number(value: object) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < view.EXACT else f"{value:,.6g}"


def _next(
    home: Home, db: sqlite3.Connection, soon: dict[int, forecast.Expected], jobs: list[Job], width: int, now: float
) -> list[str]:
    if not jobs:
        return ["nothing waits"]
    return view.table(db, jobs, home, now=now, width=width, expected=soon)


def _notices(db: sqlite3.Connection, most: int, now: float) -> list[str]:
    return [f"{view.clock(one['at'], now):>9}  {one['text']}" for one in notices.newest(db, most)]


# ── where it is shown ─────────────────────────────────────────────────────────────────────────────────────────────


def show(home: Home) -> None:
    """Until the user leaves. Where there is no terminal to draw on: print it once."""
    db, counted = home.connect(), Seldom(by_state)
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        print("\n".join(frame(home, db, counted, PIPE_SIZE)))
        return
    news = News(home.path)
    with contextlib.suppress(KeyboardInterrupt), _Terminal() as terminal:
        while not terminal.is_left():
            seen = data_version(db)
            terminal.draw(frame(home, db, counted, shutil.get_terminal_size(PIPE_SIZE)))
            until_changed(db, news, seen, AT_MOST_S, *terminal.wakers)


class _Terminal:
    """The terminal while the screen is on it: keys come one by one and are not shown."""

    def __init__(self) -> None:
        self._keys = sys.stdin.fileno()
        self._was = termios.tcgetattr(self._keys)
        self._wake, self._ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wakers = (self._keys, self._wake)  # descriptors that say: a key, a signal

    def __enter__(self) -> "_Terminal":
        signal.set_wakeup_fd(self._ring)
        signal.signal(signal.SIGWINCH, lambda *_: None)  # another size: it wakes us
        signal.signal(signal.SIGTSTP, self._step_aside)
        for signum in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.default_int_handler)
        self._take()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def _take(self) -> None:
        tty.setcbreak(self._keys)
        self._write(IN)

    def _give_back(self) -> None:
        self._write(OUT)
        termios.tcsetattr(self._keys, termios.TCSADRAIN, self._was)

    def _step_aside(self, *_: object) -> None:
        """Ctrl-Z: the shell has the terminal until `fg`."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def draw(self, lines: list[str]) -> None:
        """These lines and nothing else, the first one as a bar."""
        self._write(
            f"\x1b[H\x1b[7m{lines[0]}\x1b[0m" + "".join(f"\x1b[K\n{text}" for text in lines[1:]) + "\x1b[K\x1b[J"
        )

    def is_left(self) -> bool:
        """Whether a key was pressed that means so, or nobody is there to press one."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, 64):
                pass
        if not select.select([self._keys], [], [], 0)[0]:
            return False
        keys = os.read(self._keys, 64)
        return not keys or not set(keys).isdisjoint(LEAVE)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
