"""`jobctl run`: a recipe served and watched to its end, and then what it made."""

import functools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supervisor import origin, plan, queue
from supervisor.children import tree
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.house import space
from supervisor.job import Job
from supervisor.screen import finale, view
from supervisor.screen.line import SIGNS, line
from supervisor.screen.news import News, data_version, until_changed

SAY_EVERY_S = 15.0  # where nobody watches a terminal: a line per running job so often
PIPE_COLUMNS = 120  # where there is no terminal to ask
START_S = 10.0  # a jobd that serves says so in a fraction of it
GONE_S = 5.0  # so long nobody serves: who only starts it again is quicker


def run(home: Home, recipe: plan.Recipe, *, said: Sequence[str] = ()) -> int:
    """Plan, serve, watch, show. Exit 0 when every job succeeded, 1 when one failed, 130 after Ctrl-C."""
    db, began = home.connect(), time.time()
    came = origin.of_add(said, "", {})
    ids = plan.plan(db, home, recipe, base=Path.cwd(), now=began, origin=came)
    for job in plan.replace_older(db, recipe, ids, now=began):
        print(f"Replaced: job {job.id} {view.safe(job.name)} (`jobctl retry {job.id}` queues it again)")
    _dare_again(db, plan.family(db, ids))
    if not all(job.state == "succeeded" for job in _family(db, ids)):
        space.require_room(home)
        print(f"Recipe {view.safe(recipe.name)}, home {home.path}. Ctrl-C saves and leaves.\n")
        try:
            _serve_until_done(home, db, ids)
        except KeyboardInterrupt:
            return 130
    else:
        print(f"Recipe {view.safe(recipe.name)}: everything is done already ({len(plan.family(db, ids))} jobs).\n")
    if bad := [job for job in _family(db, ids) if job.state != "succeeded"]:
        _show_failures(home, db, bad)
        return 1
    finale.show(home, db, recipe, plan.family(db, ids))
    return 0


def _dare_again(db: sqlite3.Connection, ids: list[int]) -> None:
    """Who says `run` again wants what failed tried again."""
    with transaction(db):
        for job_id in ids:
            if queue.get(db, job_id).state in ("failed", "cancelled"):
                queue.again(db, job_id, now=time.time())


def _family(db: sqlite3.Connection, ids: list[int]) -> list[Job]:
    return [queue.get(db, job_id) for job_id in plan.family(db, ids)]


def _serve_until_done(home: Home, db: sqlite3.Connection, ids: list[int]) -> None:
    """Watch until all is over, with a jobd of our own if none serves. Ctrl-C lets it save first."""
    for signum in (signal.SIGTERM, signal.SIGHUP):  # a closed window is no reason to leave a jobd behind
        signal.signal(signum, signal.default_int_handler)
    jobd = None if view.serving(home) else _start_jobd(home)
    home.ring()
    screen, news, served_at = Screen(), News(home.path), time.monotonic()
    try:
        while True:
            seen = data_version(db)
            found = _family(db, ids)
            screen.draw(db, home, found)
            if all(job.state in queue.OVER for job in found) or _stuck(found):
                break
            if view.serving(home):
                served_at = time.monotonic()
                jobd = None if jobd is not None and jobd.poll() is not None else jobd  # another one was quicker
            elif jobd is not None and jobd.poll() is not None:
                screen.say(
                    f"jobd ended with {jobd.returncode} (its words: {home.path / 'jobd.log'}); starting it again"
                )
                jobd = _start_jobd(home)
            elif jobd is None and time.monotonic() - served_at > GONE_S:
                screen.say("The jobd that served this home has left; starting one.")
                jobd = _start_jobd(home)
            until_changed(db, news, seen)
    except KeyboardInterrupt:
        _say_goodbye(home, jobd)
        raise
    if jobd is not None:
        _stop(jobd)


def _say_goodbye(home: Home, jobd: "subprocess.Popen[bytes] | None") -> None:
    if jobd is None:
        who = "The jobd that serves this home goes on." if view.serving(home) else "Nobody serves this home now."
        print(f"\n{who} The same command watches it again.", flush=True)
        return
    print("\nSaving ...", flush=True)
    if _stop(jobd):
        print("Saved. The same command goes on from here.", flush=True)


def _stuck(found: list[Job]) -> bool:
    """Nothing can go on: what is left waits for a job that failed."""
    over = all(job.state in queue.OVER or (job.state == "queued" and job.blockers) for job in found)
    return over and any(job.state in ("failed", "cancelled") for job in found)


def _start_jobd(home: Home) -> "subprocess.Popen[bytes]":
    """A jobd in a session of its own: Ctrl-C at the terminal is for us, and we tell it. It does not outlive us."""
    with open(home.path / "jobd.log", "ab") as log:
        jobd = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(home.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            preexec_fn=functools.partial(tree.die_with_parent, signal.SIGTERM),
        )  # fmt: skip
    give_up = time.monotonic() + START_S
    while not view.serving(home) and jobd.poll() is None and time.monotonic() < give_up:
        time.sleep(0.02)
    return jobd


def _stop(jobd: "subprocess.Popen[bytes]") -> bool:
    """Tell it to leave, and wait while it saves. Whether it has left; a second Ctrl-C does not wait."""
    jobd.send_signal(signal.SIGTERM)
    try:
        jobd.wait()
    except KeyboardInterrupt:
        print("\nStill saving, in the background: the next run waits for it.", flush=True)
        return False
    return True


class Screen:
    """One line a job, redrawn in place on a terminal; elsewhere a line when something changes."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = 0
        self.last: dict[int, tuple[Any, ...]] = {}
        self.said_at: dict[int, float] = {}

    def draw(self, db: sqlite3.Connection, home: Home, found: list[Job]) -> None:
        now = time.time()
        names = max(view.columns(job.name) for job in found)
        if not self.live:
            self._append(found, lambda job: line(db, home, job, now, PIPE_COLUMNS, names), now)
            return
        columns, rows = shutil.get_terminal_size()
        above, shown, below = fold(found, rows - 2)
        lines = [*above, *(line(db, home, job, now, columns - 1, names) for job in shown), *below]
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        print(up + "".join(f"\x1b[2K{text}\n" for text in lines) + "\x1b[J", end="", flush=True)
        self.drawn = len(lines)

    def say(self, text: str) -> None:
        """A line of its own, that stays."""
        print(text, flush=True)
        self.drawn = 0

    def _append(self, found: list[Job], text: Callable[[Job], str], now: float) -> None:
        for job in found:
            state = (job.state, job.attempt)
            due = job.state == "running" and now - self.said_at.get(job.id, 0.0) >= SAY_EVERY_S
            if state != self.last.get(job.id) or due:
                self.last[job.id], self.said_at[job.id] = state, now
                print(text(job), flush=True)


def fold(found: list[Job], rows: int) -> tuple[list[str], list[Job], list[str]]:
    """What fits into `rows` lines: (a line for what was done first, jobs, a line for what comes last)."""
    if len(found) <= rows:
        return [], found, []
    too_many = len(found) - max(1, rows - 2)
    done = [job.id for job in found if job.state == "succeeded"][:too_many]
    waiting = [job.id for job in found if job.state == "queued"][::-1][: too_many - len(done)]
    above = [f"{SIGNS['succeeded']} {len(done)} more are done"] if done else []
    below = [f"{SIGNS['queued']} {len(waiting)} more wait"] if waiting else []
    return above, [job for job in found if job.id not in {*done, *waiting}], below


def _show_failures(home: Home, db: sqlite3.Connection, bad: list[Job]) -> None:
    for job in bad:
        if job.state != "failed":
            why = view.waiting_for(db, job, home, now=time.time()) or job.state
            print(f"\njob {job.id} {view.safe(job.name)}: {view.safe(why)}")
            continue
        print(f"\njob {job.id} {view.safe(job.name)} failed: {view.safe(job.error or '')}\nThe end of its log:")
        print(view.tail(home.log(job.id), 15))
    print("\nThe same command tries again what failed; `jobctl show ID` and `jobctl logs ID` tell more.")
