"""Moving what is in the queue: pause, resume, cancel, retry, priority, edit."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from supervisor import home as homes
from supervisor.commands.words import Register, settings
from supervisor.errors import Refused


def on_each(act: str) -> Callable[[argparse.Namespace], None]:
    """pause, resume, cancel or retry on each id: all of them, or none when one is refused."""

    def apply(told: argparse.Namespace) -> None:
        from supervisor import queue
        from supervisor.db import transaction

        home = homes.find(told.home)
        db = home.connect()
        if getattr(told, "all", False):
            queue.set_paused(db, act == "pause")
        elif not told.ids:
            raise Refused(f"{act} whom? Give ids" + (" or --all" if act in ("pause", "resume") else ""))
        with transaction(db):
            for job_id in told.ids:
                getattr(queue, {"retry": "again"}.get(act, act))(db, job_id, now=time.time())
        home.ring()

    return apply


def priority(told: argparse.Namespace) -> None:
    """Higher runs first; a strictly higher one also interrupts what runs, once that has had its slice."""
    from supervisor import queue
    from supervisor.db import transaction

    home = homes.find(told.home)
    db = home.connect()
    *ids, number = told.ids
    if not ids:
        raise Refused("priority takes ids and then a number: jobctl priority 12 13 5")
    with transaction(db):
        for job_id in ids:
            queue.set_priority(db, job_id, number, now=time.time())
    home.ring()


def edit(told: argparse.Namespace) -> None:
    """Change the args of a job that does not run."""
    import jobs.kind
    from supervisor import queue

    home = homes.find(told.home)
    db = home.connect()
    job = queue.get(db, told.id)
    args = jobs.kind.parse(job.kind, job.args | settings(told.set), cwd=Path.cwd())
    jobs.kind.check(job.kind, args, home.path)
    queue.set_args(db, told.id, jobs.kind.as_given(args), now=time.time())
    home.ring()


def register(command: Register) -> None:
    one = command("priority", priority, "priority ID.. N: higher runs first")
    one.add_argument("ids", type=int, nargs="+", metavar="ID.. N")
    for name, text in (
        ("pause", "save, leave, free the VRAM; a queued job just waits"),
        ("resume", "queue what was paused"),
        ("cancel", "for good; a running job may save first"),
        ("retry", "queue a failed or cancelled job again"),
    ):
        one = command(name, on_each(name), text)
        one.add_argument("ids", type=int, nargs="*", metavar="ID")
        if name in ("pause", "resume"):
            one.add_argument("--all", action="store_true", help="the whole queue")
    one = command("edit", edit, "change the args of a job that does not run")
    one.add_argument("id", type=int)
    one.add_argument("--set", action="extend", nargs="+", required=True, metavar="key=value")
