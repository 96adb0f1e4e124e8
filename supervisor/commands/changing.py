"""Moving what is in the queue: pause, resume, cancel, retry, priority; of named jobs, or of all that a filter finds."""

import argparse
import dataclasses
import time
from collections.abc import Callable

from supervisor import home as homes
from supervisor.commands import words
from supervisor.commands.words import Register, show_json, whole
from supervisor.errors import Refused
from supervisor.home import Home

SHOWN = 20  # of those that --dry-run would change
DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "queued again", "priority": "changed"}


def on_each(act: str) -> Callable[[argparse.Namespace], None]:
    """pause, resume, cancel or retry on each id: all of them, or none when one is refused. Or on a filter's jobs."""

    def apply(told: argparse.Namespace) -> None:
        from supervisor import queue
        from supervisor.db import transaction

        home = homes.find(told.home)
        db = home.connect()
        filtered = is_filtered(told, act)
        if getattr(told, "all", False):
            queue.set_paused(db, act == "pause")
        elif filtered:
            return on_filter(told, home, act)
        with transaction(db):
            for job_id in told.ids:
                getattr(queue, {"retry": "again"}.get(act, act))(db, job_id, now=time.time())
        return home.ring()

    return apply


def is_filtered(told: argparse.Namespace, act: str) -> bool:
    """Whether jobs are chosen by a filter, not by ids. Raises Refused for both, and for neither."""
    from supervisor import filters

    wanted, all_failed = filters.read(told, now=0.0), getattr(told, "all_failed", False)
    chosen = not wanted.is_empty or all_failed
    if getattr(told, "all", False):
        if chosen or told.ids or told.dry_run:
            raise Refused(f"{act} whom? --all is the whole queue: no ids, no filter and no --dry-run go with it")
        return False
    if all_failed and wanted.states:
        raise Refused("retry whom? --all-failed chooses a state: take --state alone, or --all-failed")
    told.ids = list(dict.fromkeys(told.ids))
    if chosen and told.ids:
        raise Refused(f"{act} whom? Either ids or a filter, not both")
    if told.dry_run and not chosen:
        raise Refused("--dry-run goes with a filter, such as --state failed")
    if not chosen and not told.ids:
        more = {"pause": ", --all", "resume": ", --all", "retry": ", --all-failed"}.get(act, "")
        raise Refused(f"{act} whom? Give ids{more}, or a filter such as --state or --kind")
    return bool(chosen)


def on_filter(told: argparse.Namespace, home: Home, act: str, priority: int = 0) -> None:
    """Do it to every job of the filter to which it applies, in one transaction; say how many those were."""
    from supervisor import bulk, filters

    now = time.time()
    wanted = filters.read(told, now=now)
    if getattr(told, "all_failed", False):
        wanted = dataclasses.replace(wanted, states=("failed",))
    if told.dry_run:
        return show_who(told, home, bulk.who(home.connect(), act, wanted, now=now), f"would be {DONE[act]}")
    count = bulk.apply(home.connect(), act, wanted, now=now, priority=priority)
    home.ring()
    if not show_json(told, {"changed": count}):
        print(f"{count} {'job' if count == 1 else 'jobs'} {DONE[act]}")
    return None


def show_who(told: argparse.Namespace, home: Home, ids: list[int], what: str) -> None:
    """What --dry-run prints: the first of them, and how many there are."""
    import shutil

    from supervisor import queue
    from supervisor.screen import view

    if show_json(told, {"would_change": len(ids), "ids": ids}):
        return
    db = home.connect()
    if ids:
        found = [queue.get(db, job_id) for job_id in ids[:SHOWN]]
        width = shutil.get_terminal_size((120, 40)).columns
        print("\n".join(view.table(db, found, home, now=time.time(), width=width)))
    print(f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} {what}; nothing was changed")


def priority(told: argparse.Namespace) -> None:
    """Higher runs first; a strictly higher one also interrupts what runs, once that has had its slice."""
    from supervisor import filters, queue
    from supervisor.db import transaction

    home = homes.find(told.home)
    db = home.connect()
    *told.ids, number = told.ids
    if not told.ids and filters.read(told, now=0.0).is_empty:
        raise Refused("priority takes ids, or a filter, and then a number: jobctl priority 12 13 5")
    if is_filtered(told, "priority"):
        return on_filter(told, home, "priority", number)
    with transaction(db):
        for job_id in told.ids:
            queue.set_priority(db, job_id, number, now=time.time())
    return home.ring()


def add_filter(parser: argparse.ArgumentParser) -> None:
    """The options that choose jobs instead of ids."""
    words.filters(parser)
    parser.add_argument("--dry-run", action="store_true", help="with a filter: show whom it would change")


def register(command: Register) -> None:
    one = command("priority", priority, "priority ID.. N: higher runs first")
    one.add_argument("ids", type=whole, nargs="+", metavar="ID.. N")
    add_filter(one)
    for name, text in (
        ("pause", "save, leave, free the VRAM; a queued job just waits"),
        ("resume", "queue what was paused"),
        ("cancel", "for good; a running job may save first"),
        ("retry", "queue a failed or cancelled job again"),
    ):
        one = command(name, on_each(name), text)
        one.add_argument("ids", type=whole, nargs="*", metavar="ID")
        add_filter(one)
        if name in ("pause", "resume"):
            one.add_argument("--all", action="store_true", help="the whole queue")
        if name == "retry":
            one.add_argument("--all-failed", action="store_true", help="everything that failed")
