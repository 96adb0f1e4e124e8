"""`jobctl run`: a recipe served and watched to its end, and then what it made."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor import finale, plan, queue, view
from supervisor.db import transaction
from supervisor.home import Home
from supervisor.queue import Job

LOOK_EVERY_S = 0.5
SAY_EVERY_S = 15.0  # where nobody watches a terminal: a line per running job so often
SHOWN_METRICS = (("loss", "loss {:.3f}"), ("val_loss", "val {:.3f}"), ("tokens_per_s", "{:,.0f} tok/s"),
                 ("pass_rate", "pass {:.1%}"))  # fmt: skip


def run(home: Home, recipe_path: Path, overrides: Mapping[str, str]) -> int:
    """Plan, serve, watch, show. Exit 0 when every job succeeded, 1 when one failed, 130 after Ctrl-C."""
    recipe = plan.read(recipe_path, overrides)
    db, began = home.connect(), time.time()
    ids = plan.plan(db, home, recipe, base=Path.cwd(), now=began)
    _dare_again(db, plan.family(db, ids))
    if not all(job.state == "succeeded" for job in _family(db, ids)):
        try:
            _serve_until_done(home, db, ids)
        except KeyboardInterrupt:
            print("\nSaved. The same command goes on from here.", flush=True)
            return 130
    else:
        print(f"Recipe {recipe.name}: everything is done already ({len(plan.family(db, ids))} jobs).\n")
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
    jobd = None if view.serving(home) else _start_jobd(home)
    home.ring()
    screen = Screen()
    try:
        while True:
            found = _family(db, ids)
            screen.draw(db, home, found)
            if all(job.state in queue.OVER for job in found) or _stuck(found):
                return
            if jobd is not None and jobd.poll() is not None:
                print(f"jobd ended with {jobd.returncode} (its words: {home.path / 'jobd.log'}); starting it again")
                jobd = _start_jobd(home)
            time.sleep(LOOK_EVERY_S)
    finally:
        if jobd is not None:
            _stop(jobd)


def _stuck(found: list[Job]) -> bool:
    """Nothing can go on: what is left waits for a job that failed."""
    over = all(job.state in queue.OVER or (job.state == "queued" and job.blockers) for job in found)
    return over and any(job.state in ("failed", "cancelled") for job in found)


def _start_jobd(home: Home) -> "subprocess.Popen[bytes]":
    """A jobd in a session of its own: Ctrl-C at the terminal is for us, and we tell it."""
    with open(home.path / "jobd.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(home.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def _stop(jobd: "subprocess.Popen[bytes]") -> None:
    jobd.send_signal(signal.SIGTERM)
    try:
        jobd.wait()
    except KeyboardInterrupt:
        print("\nStill saving, in the background: the next run waits for it.", flush=True)


class Screen:
    """One line a job, redrawn in place on a terminal; elsewhere a line when something changes."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = 0
        self.last: dict[int, tuple[Any, ...]] = {}
        self.said_at: dict[int, float] = {}

    def draw(self, db: sqlite3.Connection, home: Home, found: list[Job]) -> None:
        now = time.time()
        lines = {job.id: line(db, home, job, now) for job in found}
        if self.live:
            width = shutil.get_terminal_size().columns
            up = f"\x1b[{self.drawn}A" if self.drawn else ""
            text = "".join(f"\x1b[2K{lines[job.id][: width - 1]}\n" for job in found)
            print(up + text, end="", flush=True)
            self.drawn = len(found)
            return
        for job in found:
            state = (job.state, job.attempt)
            due = job.state == "running" and now - self.said_at.get(job.id, 0.0) >= SAY_EVERY_S
            if state != self.last.get(job.id) or due:
                self.last[job.id], self.said_at[job.id] = state, now
                print(lines[job.id], flush=True)


def line(db: sqlite3.Connection, home: Home, job: Job, now: float) -> str:
    """One job: a sign, its name, a bar, how far, how long yet, loss and speed."""
    signs = {"succeeded": "✓", "failed": "✗", "cancelled": "✗", "running": "▶", "paused": "‖", "queued": "·"}
    head = f"{signs[job.state]} {view.safe(job.name):24.24}"
    if job.state == "succeeded":
        return f"{head} {view.bar(1.0)} {_amount(job):>22}  {_metrics(job)}".rstrip()
    if job.state == "running" or (job.state == "queued" and job.done):
        share = job.done / job.total if job.total else 0.0
        left = f"{view.duration(job.eta_at - now)} left" if job.eta_at and job.state == "running" else ""
        wait = "" if job.state == "running" else f"waits for {view.waiting_for(db, job, home, now=now)}"
        return f"{head} {view.bar(share)} {_amount(job):>22}  {left:12} {_metrics(job)} {view.safe(wait)}".rstrip()
    why = job.error if job.state == "failed" else f"waits for {view.waiting_for(db, job, home, now=now)}"
    return f"{head} {view.safe(why or job.state)}"


def _amount(job: Job) -> str:
    return f"{job.done:,.0f}/{job.total:,.0f} {job.unit}".rstrip() if job.total else ""


def _metrics(job: Job) -> str:
    shown = [text.format(job.metrics[name]) for name, text in SHOWN_METRICS if _is_number(job.metrics.get(name))]
    return "  ".join(shown)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _show_failures(home: Home, db: sqlite3.Connection, bad: list[Job]) -> None:
    for job in bad:
        if job.state != "failed":
            print(f"\njob {job.id} {job.name}: {view.waiting_for(db, job, home, now=time.time()) or job.state}")
            continue
        print(f"\njob {job.id} {job.name} failed: {view.safe(job.error or '')}\nThe end of its log:")
        print(view.tail(home.log(job.id), 15))
    print("\nThe same command tries again what failed; `jobctl show ID` and `jobctl logs ID` tell more.")
