"""Into the queue: add, plan, run, init."""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from supervisor import home as homes
from supervisor.commands.words import Register, id_list, positive, seconds, settings, show_json, whole
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import MAX_FAILURES, NewJob

OF_ONE = {  # an option of a job that is added alone: (what argparse calls it, what a line of very many does)
    "--name": ("name", "name"), "--tag": ("tag", "tags"), "--priority": ("priority", "priority"),
    "--lane": ("lane", "lane"), "--after": ("after", "after"), "--at": ("at", "not_before"),
    "--in": ("delay", "not_before"), "--max-failures": ("max_failures", "max_failures"),
    "--vram": ("vram", "needs_vram_mib"), "--stall": ("stall", "stall_s"), "--set": ("set", "args"),
    "--args": ("args", "args"),
}  # fmt: skip
PATIENCE_S = 600  # of who has read very many lines, for others who write


def add(told: argparse.Namespace) -> None:
    """Queue a job; prints its id. With --from, very many."""
    if told.lines is not None:
        add_lines(told)
        return
    import jobs.kind
    from supervisor import origin, queue, tags
    from supervisor.card import vram
    from supervisor.db import transaction

    home = homes.find(told.home)
    args = jobs.kind.parse(told.kind, args_of_new(told), cwd=Path.cwd())
    jobs.kind.check(told.kind, args, home.path)
    now = time.time()
    new = NewJob(
        kind=told.kind, args=jobs.kind.as_given(args), lane=told.lane or jobs.kind.lane(told.kind), name=told.name,
        priority=told.priority, preemptible=jobs.kind.is_preemptible(told.kind, args), after=told.after,
        available_at=_when(told, now), max_failures=told.max_failures or MAX_FAILURES,
        stall_s=stall_s(told), needs_vram_mib=told.vram,
        origin=origin.of_add(told.said, told.kind, jobs.kind.as_given(args)),
    )  # fmt: skip
    db = home.connect()
    if told.vram is not None:
        vram.refuse_more_than_all(db, told.vram)
    with transaction(db):
        job_id = queue.add(db, new, now=now)
        tags.change(db, [job_id], told.tag)
    home.ring()
    show_json(told, {"id": job_id}) or print(job_id)


def add_lines(told: argparse.Namespace) -> None:
    """Queue every line of a file, or none; prints how many and which ids."""
    import gc

    from supervisor import lines, origin

    if told.kind is not None or told.program is not None:
        raise Refused("--from takes the kinds from its lines: name no other beside it")
    for option, (name, field) in OF_ONE.items():
        if getattr(told, name) not in (None, 0, []):
            raise Refused(f"{option} beside --from says nothing: each line has its own, the field {field!r}")
    home, now = homes.find(told.home), time.time()
    came = origin.of_add(told.said, "", {})
    gc.disable()  # it would look through all lines again and again, a quarter of the time, and find nothing
    try:
        with _opened(told.lines) as file:
            db = home.connect()
            db.execute(f"pragma busy_timeout = {PATIENCE_S * 1000}")  # two who add a million each: one waits
            ids = lines.add(db, lines.read(file, told.lines, home.path, came, now=now), now=now)
    except UnicodeDecodeError as error:
        raise Refused(f"--from {told.lines}: it takes text in UTF-8 ({error}). Nothing of it was queued") from error
    finally:
        gc.enable()
    home.ring()
    if not show_json(told, {"added": len(ids), "ids": list(ids)}):
        print(f"{len(ids)} jobs: {min(ids)} to {max(ids)}" if ids else "no jobs: the file holds none")


def _opened(name: str) -> TextIO:
    """A file of lines; - is standard input."""
    if name == "-":
        return sys.stdin
    try:
        return open(name, encoding="utf-8")
    except OSError as error:
        raise Refused(f"--from {name}: {error.strerror}. It takes a file with a JSON object a line, or -") from error


def args_of_new(told: argparse.Namespace) -> dict[str, Any]:
    """The args that a new job, or what is to make jobs, was given."""
    given = given_args(told)
    if told.kind == "command" and not given.get("argv"):
        raise Refused("a command takes a program, behind two dashes: command -- PROGRAM ARGUMENTS..")
    return given


def given_args(told: argparse.Namespace) -> dict[str, Any]:
    """What --args, --set and -- say, together."""
    given: dict[str, Any] = {}
    if told.args is not None:
        try:
            given = json.loads(Path(told.args).read_text())
        except (OSError, ValueError) as error:
            raise Refused(f"--args {told.args}: it takes a file with one JSON object ({error})") from error
        if not isinstance(given, dict):
            raise Refused(f"--args {told.args}: it holds no JSON object, but {type(given).__name__}")
    given |= settings(told.set)
    if told.kind == "command":
        if told.program:
            given["argv"] = told.program
        given = {"cwd": os.getcwd(), "env": dict(os.environ)} | given
    elif told.program is not None:
        raise Refused(f"only kind `command` takes a program after --, not {told.kind!r}")
    return given


def stall_s(told: argparse.Namespace) -> float | None:
    """So long without progress, and it is stuck; None: learned from its own pace."""
    found = None if told.stall is None else seconds("--stall", told.stall)
    if found == 0:
        raise Refused(f"--stall {told.stall} would stop the job at once: take a time like 30m")
    return found


def _when(told: argparse.Namespace, now: float) -> float:
    """Not before: Unix seconds. 0 when no time was said: whatever the calendar is set to, it is due."""
    if told.delay is not None:
        return now + seconds("--in", told.delay)
    if told.at is None:
        return 0.0
    import datetime

    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", told.at):  # the next time the clock shows it
            today = datetime.datetime.fromtimestamp(now)
            hour, minute = map(int, told.at.split(":"))
            at = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return (at if at > today else at + datetime.timedelta(days=1)).timestamp()
        return datetime.datetime.fromisoformat(told.at).timestamp()
    except ValueError as error:
        raise Refused(f"--at takes 03:00 or 2026-12-31T03:00, not {told.at!r}") from error


def init(told: argparse.Namespace) -> None:
    """Make a folder a home."""
    path = Path(told.home or ".").absolute()
    make_home(path)
    show_json(told, {"home": str(path)}) or print(path)


def make_home(path: Path) -> None:
    """A folder with an empty queue."""
    from supervisor import db as database
    from supervisor.house import damage

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"the home {path} can't be made: {error.strerror}") from error
    database.require_access(path)
    damage.begin(Home(path))


def plan(told: argparse.Namespace) -> None:
    """Queue a recipe; prints the ids of its jobs."""
    from supervisor import origin
    from supervisor import plan as recipes

    home = homes.find(told.home)
    recipe = recipes.read(Path(told.recipe), settings(told.set))
    came = origin.of_add(told.said, "", {})
    ids = recipes.plan(home.connect(), home, recipe, base=Path.cwd(), now=time.time(), origin=came)
    home.ring()
    show_json(told, {"ids": ids}) or print(*ids, sep="\n")


def run(told: argparse.Namespace) -> int:
    """Queue a recipe, serve it if nobody does, watch it to its end, and show what it made."""
    from supervisor import plan as recipes
    from supervisor.screen import watch

    recipe = recipes.read(Path(told.recipe), settings(told.set))  # before a folder is made a home for nothing
    path = Path(told.home or os.environ.get("NEVERREST_HOME") or ".").absolute()
    make_home(path)
    return watch.run(Home(path), recipe, said=told.said)


def limits(parser: argparse.ArgumentParser) -> None:
    """The options that say what a job may take, and how long it may make no progress."""
    parser.add_argument("--vram", type=positive, metavar="MIB", help="GPU memory it needs: a tenth more is too much")
    parser.add_argument("--stall", metavar="30m", help="so long without progress, and it is stopped and tried again")


def register(command: Register) -> None:
    one = command("add", add, "queue a job; prints its id")
    one.add_argument("kind", nargs="?", help="what sort of job: `jobctl kinds` names them")
    one.add_argument("--from", dest="lines", metavar="FILE", help="very many: a JSON object a line; - is stdin")
    one.add_argument("--name", help="what `list` calls it (default: the kind)")
    one.add_argument("--tag", action="extend", nargs="+", default=[], metavar="TAG", help="words to find it by")
    one.add_argument("--priority", type=whole, default=0, metavar="N", help="higher runs first (default 0)")
    one.add_argument("--lane", choices=("gpu", "cpu"), help="where it waits and runs (default: its kind's)")
    one.add_argument("--after", type=id_list, default=[], metavar="ID,..", help="only when these have succeeded")
    when = one.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="TIME", help="not before: 03:00, or 2026-12-31T03:00")
    when.add_argument("--in", dest="delay", metavar="10m", help="not before so long from now")
    one.add_argument("--max-failures", type=positive, metavar="N", help="given up after so many (default 3)")
    limits(one)
    one.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="key=value", help="see `jobctl kinds KIND`"
    )
    one.add_argument("--args", metavar="FILE", help="args from a JSON file; --set goes over it")
    one.usage = "jobctl add KIND [options] [-- PROGRAM ARGUMENTS..], or jobctl add --from FILE"

    for name, act, text in (
        ("plan", plan, "queue a recipe; prints the ids"),
        ("run", run, "queue a recipe, serve it, watch it, show what it made"),
    ):
        one = command(name, act, text)
        one.add_argument("recipe", help="a TOML file, as in jobs/recipes/")
        one.add_argument("--set", action="extend", nargs="+", default=[], metavar="variable=value")
    command("init", init, "make a folder a home")
