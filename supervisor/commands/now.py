"""What is going on: notices, top."""

import argparse
import contextlib
import sqlite3
import time
from typing import Any

from supervisor import home as homes
from supervisor.commands.words import Register, positive, seconds, show_json

NOTICES_SHOWN = 20


def notices(told: argparse.Namespace) -> None:
    """What a person should know, newest first. Who looks has seen them: `status` speaks of later ones only."""
    from supervisor.outside import notices as outbox
    from supervisor.screen import view

    db, now = homes.find(told.home).connect(), time.time()
    since = now - seconds("--since", told.since) if told.since else 0.0
    found = outbox.newest(db, told.limit, since=since)
    if not show_json(told, found):
        for one in found:
            mark = "new" if one["new"] else "   "
            print(f"{mark} {view.moment(one['at'])}  {one['text']}{_how(one)}")
        if more := outbox.unseen(db) - sum(one["new"] for one in found):
            print(f"and {more} more that are new: `jobctl notices --limit {len(found) + more}`")
            return
        if not found:
            print("nothing has happened that you should know of")
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: they stay new
            outbox.mark_seen(db)


def _how(one: dict[str, Any]) -> str:
    """By which way it was told, where anybody is."""
    if one["told"]:
        return f"  (told by {' and '.join(one['told'])})"
    return "" if one["done"] else "  (not told yet)"


def top(told: argparse.Namespace) -> None:
    """The house on one screen, until q. Where there is no terminal, once."""
    from supervisor.screen import top as screen

    home = homes.find(told.home)
    if told.json:
        show_json(told, screen.facts(home, home.connect(), now=time.time()))
    else:
        screen.show(home)


def register(command: Register) -> None:
    one = command("top", top, "the house on one screen, as it changes: q leaves")
    one = command("notices", notices, "what failed, was held or went wrong: newest first")
    one.add_argument("--since", metavar="1d", help="no longer ago")
    one.add_argument(
        "--limit", type=positive, default=NOTICES_SHOWN, metavar="N", help=f"at most so many (default {NOTICES_SHOWN})"
    )
