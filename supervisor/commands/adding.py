"""Into the queue: add, plan, run, init."""

import argparse
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from supervisor import home as homes
from supervisor.commands.words import Register, id_list, positive, settings, show_json
from supervisor.errors import Refused
from supervisor.home import Home

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add(told: argparse.Namespace) -> None:
    """Queue a job; prints its id."""
    import jobs.kind
    from supervisor import queue

    home = homes.find(told.home)
    given = _given_args(told)
    args = jobs.kind.parse(told.kind, given, cwd=Path.cwd())
    jobs.kind.check(told.kind, args, home.path)
    now = time.time()
    new = queue.NewJob(
        kind=told.kind, args=jobs.kind.as_given(args), lane=told.lane or jobs.kind.lane(told.kind), name=told.name,
        priority=told.priority, preemptible=jobs.kind.is_preemptible(told.kind, args), after=told.after,
        available_at=_when(told, now), max_failures=told.max_failures or queue.MAX_FAILURES,
    )  # fmt: skip
    db = home.connect()
    job_id = queue.add(db, new, now=now)
    home.ring()
    show_json(told, {"id": job_id}) or print(job_id)


def _given_args(told: argparse.Namespace) -> dict[str, Any]:
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


def _when(told: argparse.Namespace, now: float) -> float:
    """Not before: Unix seconds."""
    if told.delay is not None:
        parts = re.fullmatch(r"(?:\d+(?:\.\d+)?[smhd])+", told.delay)
        if parts is None:
            raise Refused(f"--in takes a duration like 90s, 10m, 1h30m or 2d, not {told.delay!r}")
        return now + sum(float(n) * UNITS_S[u] for n, u in re.findall(r"(\d+(?:\.\d+)?)([smhd])", told.delay))
    if told.at is None:
        return now
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
    print(path)


def make_home(path: Path) -> None:
    """A folder with an empty queue."""
    from supervisor import db

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"the home {path} can't be made: {error.strerror}") from error
    db.create(path / "queue.db")


def plan(told: argparse.Namespace) -> None:
    """Queue a recipe; prints the ids of its jobs."""
    from supervisor import plan as recipes

    home = homes.find(told.home)
    recipe = recipes.read(Path(told.recipe), settings(told.set))
    ids = recipes.plan(home.connect(), home, recipe, base=Path.cwd(), now=time.time())
    home.ring()
    show_json(told, {"ids": ids}) or print(*ids, sep="\n")


def run(told: argparse.Namespace) -> int:
    """Queue a recipe, serve it if nobody does, watch it to its end, and show what it made."""
    from supervisor import watch

    path = Path(told.home or os.environ.get("NEVERREST_HOME") or ".").absolute()
    make_home(path)
    return watch.run(Home(path), Path(told.recipe), settings(told.set))


def register(command: Register) -> None:
    one = command("add", add, "queue a job; prints its id")
    one.add_argument("kind", help="what sort of job: train, command, ...")
    one.add_argument("--name")
    one.add_argument("--priority", type=int, default=0, metavar="N", help="higher runs first (default 0)")
    one.add_argument("--lane", choices=("gpu", "cpu"))
    one.add_argument("--after", type=id_list, default=[], metavar="ID,..", help="only when these have succeeded")
    when = one.add_mutually_exclusive_group()
    when.add_argument("--at", metavar="TIME", help="not before: 03:00, or 2026-12-31T03:00")
    when.add_argument("--in", dest="delay", metavar="10m", help="not before so long from now")
    one.add_argument("--max-failures", type=positive, metavar="N")
    one.add_argument("--set", action="extend", nargs="+", default=[], metavar="key=value")
    one.add_argument("--args", metavar="FILE", help="args from a JSON file; --set goes over it")
    one.usage = "jobctl add KIND [options] [-- PROGRAM ARGUMENTS..]"

    for name, act, text in (
        ("plan", plan, "queue a recipe; prints the ids"),
        ("run", run, "queue a recipe, serve it, watch it, show what it made"),
    ):
        one = command(name, act, text)
        one.add_argument("recipe", help="a TOML file, as in jobs/recipes/")
        one.add_argument("--set", action="extend", nargs="+", default=[], metavar="variable=value")
    command("init", init, "make a folder a home")
