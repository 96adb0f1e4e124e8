"""jobctl: the queue from the command line. It writes to queue.db and rings jobd's bell; with jobd down nothing is lost.

Exit 0: done. 1: refused, with a sentence that helps. 2: wrong usage.
"""

import argparse
import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor import home as homes
from supervisor.errors import Refused
from supervisor.home import Home

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
JOBS_SHOWN = 40


def main(argv: list[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    program: list[str] | None = None
    if "--" in given:  # what follows is a command's own argv: argparse must not read it
        cut = given.index("--")
        given, program = given[:cut], given[cut + 1 :]
    told = parser().parse_args(given)
    told.program = program
    if program is not None and told.command != "add":
        parser().error("only `jobctl add command -- PROGRAM ...` takes a --")
    from jobs.contract import BadArgs

    try:
        return int(told.act(told) or 0)
    except (Refused, BadArgs) as refusal:
        print(f"jobctl: {refusal}", file=sys.stderr)
    except sqlite3.OperationalError as error:
        print(f"jobctl: the queue can't be written ({error}): nothing was changed. Is the disk full?", file=sys.stderr)
    except OverflowError as error:
        print(f"jobctl: one of the numbers is too large ({error}): nothing was changed", file=sys.stderr)
    except BrokenPipeError:  # `jobctl logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    return 1


# ── into the queue ────────────────────────────────────────────────────────────────────────────────────────────────


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
    given |= _settings(told.set)
    if told.kind == "command":
        if told.program:
            given["argv"] = told.program
        given = {"cwd": os.getcwd(), "env": dict(os.environ)} | given
    elif told.program is not None:
        raise Refused(f"only kind `command` takes a program after --, not {told.kind!r}")
    return given


def _settings(pairs: list[str]) -> dict[str, str]:
    """--set key=value ..., as a dict."""
    for pair in pairs:
        if "=" not in pair:
            raise Refused(f"--set takes key=value, not {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


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
    recipe = recipes.read(Path(told.recipe), _settings(told.set))
    ids = recipes.plan(home.connect(), home, recipe, base=Path.cwd(), now=time.time())
    home.ring()
    show_json(told, {"ids": ids}) or print(*ids, sep="\n")


def run(told: argparse.Namespace) -> int:
    """Queue a recipe, serve it if nobody does, watch it to its end, and show what it made."""
    from supervisor import watch

    path = Path(told.home or os.environ.get("NEVERREST_HOME") or ".").absolute()
    make_home(path)
    return watch.run(Home(path), Path(told.recipe), _settings(told.set))


# ── moving what is in it ──────────────────────────────────────────────────────────────────────────────────────────


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
    args = jobs.kind.parse(job.kind, job.args | _settings(told.set), cwd=Path.cwd())
    jobs.kind.check(job.kind, args, home.path)
    queue.set_args(db, told.id, jobs.kind.as_given(args), now=time.time())
    home.ring()


# ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────


def list_jobs(told: argparse.Namespace) -> None:
    """Jobs, newest work first."""
    import shutil

    from supervisor import queue, view

    home = homes.find(told.home)
    db, now = home.connect(), time.time()
    where, values = ["1"], []
    for column, wanted in (("state", told.state), ("kind", told.kind)):
        if wanted:
            words = wanted.split(",")
            if column == "state" and (wrong := set(words) - set(queue.STATES)):
                raise Refused(f"there is no state {wrong.pop()!r}: take {', '.join(queue.STATES)}")
            where.append(f"{column} in ({','.join('?' * len(words))})")
            values += words
    rows = db.execute(
        f"select * from job where {' and '.join(where)} order by state = 'running' desc,"
        " coalesce(finished_at, started_at, created_at) desc, id desc limit ?",
        [*values, told.limit],
    ).fetchall()
    found = [queue.Job.from_row(row) for row in rows]
    if not show_json(told, [view.as_dict(db, job, home, now=now) for job in found] if told.json else None):
        width = shutil.get_terminal_size((120, 40)).columns
        print("\n".join(view.table(db, found, home, now=now, width=width)) if found else "no such job")


def show(told: argparse.Namespace) -> None:
    """Everything about one job."""
    from supervisor import queue, view

    home = homes.find(told.home)
    db = home.connect()
    facts = view.as_dict(db, queue.get(db, told.id), home, now=time.time())
    events = db.execute("select at, attempt, what, detail from event where job_id = ? order by id", (told.id,))
    facts["events"] = [dict(row) for row in events]
    if show_json(told, facts):
        return
    for name, value in facts.items():
        if name == "events":
            print("events")
            for event in value:
                detail = f"  {view.safe(event['detail'])}" if event["detail"] else ""
                print(f"  {view.moment(event['at'])}  attempt {event['attempt']}  {event['what']}{detail}")
        elif name == "args":
            shown = {key: item for key, item in value.items() if key != "env"}
            print(f"{name:12} {view.safe(json.dumps(shown, ensure_ascii=False))}")
        elif value not in (None, "", []):
            text = view.moment(value) if name.endswith("_at") else view.safe(str(value))
            print(f"{name:12} {text}")
    print(f"{'log':12} {home.log(told.id)}")


def logs(told: argparse.Namespace) -> int:
    """A job's log, or with -f and no id: whatever runs now, and the next after it."""
    from supervisor import follow

    home = homes.find(told.home)
    return follow.logs(home, told.id, lines=told.n, on=told.follow, attempt=told.attempt)


def wait(told: argparse.Namespace) -> int:
    """Until all are over: exit 0 when all succeeded, else 1."""
    from supervisor import queue

    home = homes.find(told.home)
    db = home.connect()
    until = time.monotonic() + told.timeout if told.timeout is not None else None
    while True:
        found = [queue.get(db, job_id) for job_id in told.ids]
        if all(job.state in queue.OVER for job in found):
            break
        if until is not None and time.monotonic() >= until:
            still = ", ".join(f"{job.id} ({job.state})" for job in found if job.state not in queue.OVER)
            raise Refused(f"not over after {told.timeout:g} s: {still}")
        time.sleep(0.05)
    if bad := [job for job in found if job.state != "succeeded"]:
        raise Refused("; ".join(f"job {job.id} {job.state}" + (f": {job.error}" if job.error else "") for job in bad))
    return 0


def status(told: argparse.Namespace) -> None:
    """How the house is: jobd, the lanes, the queue, where today's time went."""
    from supervisor import report

    report.status(homes.find(told.home), as_json=told.json)


def doctor(told: argparse.Namespace) -> int:
    """Look for what would hinder jobs, and say what to do."""
    from supervisor import doctor as checks

    return checks.examine(homes.find(told.home), as_json=told.json)


def service(told: argparse.Namespace) -> None:
    """Put jobd under systemd, or take it out."""
    from supervisor import service as units

    home = homes.find(told.home)
    (units.install if told.what == "install" else units.uninstall)(home, user=told.user, dry_run=told.dry_run)


def pass_on(module: str) -> Callable[[argparse.Namespace], int]:
    """models, ask and chat: another process, since jobctl never imports torch."""

    def apply(told: argparse.Namespace) -> int:
        home = homes.find(told.home)
        more = ["--json"] if told.json else []
        os.execv(sys.executable, [sys.executable, "-P", "-m", module, "--home", str(home.path), *_passed(told), *more])

    return apply


def _passed(told: argparse.Namespace) -> list[str]:
    if told.command == "models":
        return [told.what, *told.rest]
    questions = [word for question in getattr(told, "question", []) for word in ("--question", question)]
    device = ["--device", told.device] if told.device else []
    return [told.model, *questions, *device]


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def show_json(told: argparse.Namespace, value: Any) -> bool:
    """Print it as JSON when asked so. Whether it was."""
    if told.json:
        text = json.dumps(value, ensure_ascii=False, indent=1)
        try:
            text.encode()
        except UnicodeEncodeError:  # bytes of an environment that are no text: no terminal would take them
            text = json.dumps(value, indent=1)
        print(text)
    return bool(told.json)


def id_list(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def everywhere() -> argparse.ArgumentParser:
    """The options that stand before or after the command. New each time: set_defaults would reach into it."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-C", "--home", default=argparse.SUPPRESS, help="the folder with queue.db")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return common


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="jobctl", description="The queue that never lets the GPU rest.", parents=[everywhere()]
    )
    top.set_defaults(home=None, json=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, act: Callable[[argparse.Namespace], Any], text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[everywhere()])
        one.set_defaults(act=act)
        return one

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

    one = command("list", list_jobs, "jobs of all states, newest work first")
    one.add_argument("--state", help="only these, with commas between")
    one.add_argument("--kind", help="only these, with commas between")
    one.add_argument("--limit", type=positive, default=JOBS_SHOWN, metavar="N")

    one = command("show", show, "everything about one job")
    one.add_argument("id", type=int)
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
    one = command("logs", logs, "what a job printed")
    one.add_argument("id", type=int, nargs="?", help="without: whatever runs now")
    one.add_argument("-f", "--follow", action="store_true", help="go on as it grows; without an id, on to the next job")
    one.add_argument("-n", type=positive, default=50, metavar="N", help="the last N lines (default 50)")
    one.add_argument("--attempt", type=positive, metavar="K", help="only this attempt")
    one = command("wait", wait, "until jobs are over: exit 0 when all succeeded")
    one.add_argument("ids", type=int, nargs="+", metavar="ID")
    one.add_argument("--timeout", type=float, metavar="S")
    command("status", status, "jobd, the lanes, the queue, where the time went")
    command("doctor", doctor, "look for what would hinder jobs")
    command("init", init, "make a folder a home")
    one = command("service", service, "put jobd under systemd, or take it out")
    one.add_argument("what", choices=("install", "uninstall"))
    one.add_argument("--user", help="the account jobd runs as (default: the home's owner)")
    one.add_argument("--dry-run", action="store_true", help="print the unit, change nothing")
    one = command("models", pass_on("jobs.models"), "the archive: list, show NAME, note NAME TEXT")
    one.add_argument("what", choices=("list", "show", "note"))
    one.add_argument("rest", nargs="*")
    for name, text in (("ask", "put one question to a model"), ("chat", "talk with a model")):
        one = command(name, pass_on("jobs.chat"), text)
        one.add_argument("model")
        if name == "ask":
            one.add_argument("question", nargs="+")
        one.add_argument("--device", help="where it runs (default: the CPU, never in the way of the GPU's work)")
    return top


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
