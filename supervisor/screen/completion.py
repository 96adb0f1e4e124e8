"""What the shell offers behind `jobctl ... <TAB>`: commands and options by argcomplete, ids and names from the home.

Only loaded when a shell asks. Whatever goes wrong, nothing is offered: a prompt is no place for an error.
"""

import argparse
import sqlite3
from collections.abc import Callable
from typing import Any

from jobs.contract import BadArgs
from supervisor import home as homes
from supervisor.errors import Refused

NEWEST = 2000  # jobs looked at: among a million nobody types an old id with the help of TAB
FITTING = {  # a command: the states of the jobs it can do something to
    "pause": ("queued", "running"), "resume": ("paused", "running"), "cancel": ("queued", "running", "paused"),
    "retry": ("failed", "cancelled", "queued"), "priority": ("queued", "running", "paused"),
    "edit": ("queued", "paused", "failed", "cancelled"), "wait": ("queued", "running", "paused"),
}  # fmt: skip
Offers = dict[str, str]  # a word, and what it stands for


def answer(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asked, and end; does nothing when none did."""
    import argcomplete

    _attach(parser)
    argcomplete.autocomplete(parser, always_complete_options=False)


def _attach(parser: argparse.ArgumentParser) -> None:
    """Give each argument of a command, and of the commands below it, what completes it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _attach(below)
        elif not action.choices and (offer := _offer_for(action)) is not None:
            action.completer = _careful(offer)  # type: ignore[attr-defined]


def _offer_for(action: argparse.Action) -> "Callable[[argparse.Namespace], Offers] | None":
    by_dest = {
        "id": jobs, "ids": jobs, "after": jobs, "kind": kinds, "state": states, "model": models, "set": settings,
        "tag": tags,
    }  # fmt: skip
    if action.dest == "name":  # of something standing; a job's --name is free
        return None if action.option_strings else standing
    return by_dest.get(action.dest)


def _careful(offer: Callable[[argparse.Namespace], Offers]) -> Callable[..., Offers]:
    """As argcomplete calls it."""

    def complete(parsed_args: argparse.Namespace, **_: Any) -> Offers:
        try:
            return offer(parsed_args)
        except (Refused, BadArgs, OSError, sqlite3.Error):
            return {}

    return complete


# ── what there is ─────────────────────────────────────────────────────────────────────────────────────────────────


def jobs(told: argparse.Namespace) -> Offers:
    """Ids, newest first, of those the command can do something to."""
    from supervisor import queue
    from supervisor.screen import view

    wanted = FITTING.get(told.command, queue.STATES)
    rows = _home(told).connect().execute("select id, name, state from job order by id desc limit ?", (NEWEST,))
    return {str(row["id"]): view.safe(f"{row['name']}, {row['state']}") for row in rows if row["state"] in wanted}


def kinds(told: argparse.Namespace) -> Offers:
    from jobs import kind

    return {name: (kind.load(name).__doc__ or "").splitlines()[0] for name in kind.names()}


def settings(told: argparse.Namespace) -> Offers:
    """A kind's settings, each ending in = for the value that follows."""
    import dataclasses

    from jobs import kind
    from supervisor import queue

    wanted = getattr(told, "kind", None)
    if wanted is None and getattr(told, "ids", None):
        wanted = queue.get(_home(told).connect(), told.ids[0]).kind
    fields = dataclasses.fields(kind.load(wanted).Args) if wanted else ()
    return {f"{field.name}=": "" for field in fields}


def states(told: argparse.Namespace) -> Offers:
    from supervisor import queue

    return dict.fromkeys(queue.STATES, "")


def tags(told: argparse.Namespace) -> Offers:
    return {row[0]: "" for row in _home(told).connect().execute("select distinct name from tag limit 200")}


def standing(told: argparse.Namespace) -> Offers:
    rows = _home(told).connect().execute("select name, kind from standing where what = ?", (told.command,))
    return {row["name"]: row["kind"] for row in rows}


def models(told: argparse.Namespace) -> Offers:
    folder = _home(told).path / "models"
    return {path.parent.name: "" for path in sorted(folder.glob("*/manifest.json"))}


def _home(told: argparse.Namespace) -> homes.Home:
    return homes.find(getattr(told, "home", None))
