"""jobctl in your shell: completion, and a segment of its prompt."""

import argparse
import sqlite3
import time

from supervisor import home as homes
from supervisor import meta
from supervisor.commands.words import Register, show_json
from supervisor.errors import Refused

SHELLS = ("bash", "zsh", "fish")
MOST_COUNTED = 1000  # queued jobs: more are 999+
NAME_COLUMNS = 24


def completion(told: argparse.Namespace) -> None:
    """A script for a shell to read at its start."""
    from argcomplete import shell_integration

    print(shell_integration.shellcode(["jobctl"], shell=told.shell))


def prompt(told: argparse.Namespace) -> None:
    """What runs and how far it is, on one line; nothing where there is no home, or nothing to say. Never an error."""
    try:
        home = homes.find(told.home)
        facts = _facts(home)
    except (Refused, sqlite3.Error, OSError):
        return
    if not show_json(told, facts) and (text := segment(facts)):
        print(text)


def _facts(home: homes.Home) -> dict[str, object]:
    from supervisor import queue
    from supervisor.screen import view

    db, now = home.connect(), time.time()
    job = min(queue.running(db), key=lambda job: (job.lane != "gpu", job.id), default=None)
    queued = db.execute(
        "select count(*) from (select 1 from job where state = 'queued' limit ?)", (MOST_COUNTED,)
    ).fetchone()[0]
    wrong = "disk low" if meta.read(db, "disk_low") else "GPU lane closed" if meta.read(db, "lane_closed") else None
    return {
        "running": None if job is None else view.cut(view.safe(job.name), NAME_COLUMNS),
        "share": job.done / job.total if job and job.total else None,
        "left_s": job.eta_at - now if job and job.eta_at else None,
        "queued": queued, "paused": queue.is_paused(db), "serves": view.serving(home), "wrong": wrong,
    }  # fmt: skip


def segment(facts: dict[str, object]) -> str:
    """'▶ train 43% 2h10m · 3 queued'"""
    from supervisor.screen import view

    parts = []
    if not facts["serves"]:
        parts.append("✗ no jobd" if facts["queued"] else "")
    elif facts["wrong"]:
        parts.append(f"✗ {facts['wrong']}")
    elif facts["paused"]:
        parts.append("‖ paused")
    elif facts["running"]:
        share, left_s = facts["share"], facts["left_s"]
        done = f" {view.percent(share)}" if isinstance(share, float) else ""
        left = f" {view.duration(left_s).replace(' ', '')}" if isinstance(left_s, float) else ""
        parts.append(f"▶ {facts['running']}{done}{left}")
    if queued := facts["queued"]:
        parts.append(f"{queued if queued != MOST_COUNTED else f'{MOST_COUNTED - 1}+'} queued")
    return " · ".join(filter(None, parts))


def register(command: Register) -> None:
    one = command("completion", completion, "a script that completes jobctl in your shell: bash, zsh or fish")
    one.add_argument("shell", choices=SHELLS)
    command("prompt", prompt, "what runs, for a shell's prompt; empty where there is no home")
