"""Looking: list, show, logs, wait, status, doctor."""

import argparse
import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from supervisor import home as homes
from supervisor.commands import words
from supervisor.commands.words import Register, positive, show_json, whole
from supervisor.errors import Refused
from supervisor.home import Home

if TYPE_CHECKING:
    from supervisor.job import Job
    from supervisor.screen import forecast

JOBS_SHOWN = 40
CHANGED_S = 0.03  # so long `list` looks for files that have changed


def list_jobs(told: argparse.Namespace) -> None:
    """Jobs, newest work first."""
    import shutil

    from supervisor import filters
    from supervisor.screen import view

    home = homes.find(told.home)
    db, now = home.connect(), time.time()
    wanted = filters.read(told, now=now)
    found = filters.newest(db, wanted, told.limit)
    soon = expected(home, db, now)
    changed = changed_files(found)
    facts = [
        view.as_dict(db, job, home, now=now, expected=soon.get(job.id)) | {"changed_files": changed.get(job.id, [])}
        for job in found if told.json
    ]  # fmt: skip
    if not show_json(told, facts):
        width = shutil.get_terminal_size((120, 40)).columns
        lines = view.table(db, found, home, now=now, width=width, expected=soon, changed=changed)
        nothing = "no jobs yet: `jobctl add` queues one" if wanted.is_empty else "no such job"
        print("\n".join(lines) if found else nothing)


def changed_files(found: "list[Job]") -> dict[int, list[str]]:
    """Which files of those that wait are not as they were when they were added, as far as a moment tells."""
    waiting = {job.id: job.origin for job in found if job.state in ("queued", "paused") and job.origin.get("files")}
    if not waiting:
        return {}
    from supervisor import origin

    return origin.changed_files(waiting, most_s=CHANGED_S)


def expected(home: Home, db: sqlite3.Connection, now: float) -> dict[int, "forecast.Expected"]:
    """When jobs will start and end, while somebody serves the queue."""
    from supervisor import queue
    from supervisor.screen import view

    if not view.serving(home) or queue.is_paused(db):
        return {}
    from supervisor.screen import forecast

    return forecast.of_home(home, db, now=now)


def show(told: argparse.Namespace) -> None:
    """Everything about one job."""
    from supervisor import origin, queue, tags
    from supervisor.children import verdict
    from supervisor.screen import view

    home = homes.find(told.home)
    db, now = home.connect(), time.time()
    job = queue.get(db, told.id)
    facts = view.as_dict(db, job, home, now=now, expected=expected(home, db, now).get(job.id))
    facts |= {
        "tags": tags.of(db, job.id), "memo": job.memo, "origin": view.shown_origin(job.origin),
        "changed": origin.changed(job.origin) if job.state not in queue.OVER else [],
    }  # fmt: skip
    events = db.execute("select at, attempt, what, detail from event where job_id = ? order by id", (told.id,))
    facts["events"] = [dict(row) for row in events]
    if job.state == "failed":
        facts["last_lines"] = verdict.last_lines(home.log(job.id))
    if show_json(told, facts):
        return
    for name, value in facts.items():
        if name == "events":
            print("events")
            for event in value:
                detail = f"  {view.safe(event['detail'])}" if event["detail"] else ""
                print(f"  {view.moment(event['at'])}  attempt {event['attempt']}  {event['what']}{detail}")
        elif value not in (None, "", [], {}):
            for line in said_of(name, value, now):
                print(f"{name:12} {view.safe(line)}".rstrip())
                name = ""
    print(f"{'log':12} {home.log(told.id)}")


def said_of(name: str, value: Any, now: float) -> list[str]:
    """A fact of `show` as lines."""
    import shlex

    from supervisor.screen import view

    if name == "memo":
        return list(value.splitlines())
    if name == "last_lines":
        return ["", *(f"  {line}" for line in value)]
    if name == "args":
        return [json.dumps({key: item for key, item in value.items() if key != "env"}, ensure_ascii=False)]
    if name == "origin":
        files = [f"{path} ({was or 'not there'})" for path, was in value.get("files", {}).items()]
        said = [f"made by {value['made_by']}"] if "made_by" in value else []
        said += [shlex.join(value["said"])] if "said" in value else []
        return [*said, *(f"{key}: {value[key]}" for key in ("cwd", "user") if key in value),
                *view.code_lines(value.get("code", {})), *files]  # fmt: skip
    if name == "expected":
        soon = [f"{what} ~{view.clock(value[key], now)}" for what, key in (("starts", "starts_at"), ("ends", "ends_at"))
                if value[key]]  # fmt: skip
        return [", ".join(soon)] if soon else []
    if name == "progress":
        metrics = "".join(f"  {key}={number}" for key, number in value["metrics"].items())
        done, total = view.amount(value["done"]), view.amount(value["total"])
        return [f"{done}/{total} {value['unit']}{metrics}"] if value["total"] else []
    if isinstance(value, list):
        return [str(item) for item in value] if name == "changed" else [", ".join(map(str, value))]
    if name == "ran_s":
        return [view.duration(value)]
    return [view.moment(value) if name.endswith("_at") else str(value)]


def logs(told: argparse.Namespace) -> int:
    """A job's log, or with -f and no id: whatever runs now, and the next after it."""
    from supervisor.screen import follow

    home = homes.find(told.home)
    return follow.logs(home, told.id, lines=told.n, on=told.follow, attempt=told.attempt)


def wait(told: argparse.Namespace) -> int:
    """Until all are over: exit 0 when all succeeded, else 1."""
    from supervisor import queue
    from supervisor.screen.news import AT_MOST_S, News

    home = homes.find(told.home)
    db = home.connect()
    until = time.monotonic() + told.timeout if told.timeout is not None else None
    news = News(home.path)
    while True:
        found = [queue.get(db, job_id) for job_id in told.ids]
        if all(job.state in queue.OVER for job in found):
            break
        if until is not None and time.monotonic() >= until:
            still = ", ".join(f"{job.id} ({job.state})" for job in found if job.state not in queue.OVER)
            raise Refused(f"not over after {told.timeout:g} s: {still}")
        news.wait(max(0.0, until - time.monotonic()) if until is not None else AT_MOST_S)
    if bad := [job for job in found if job.state != "succeeded"]:
        raise Refused("; ".join(f"job {job.id} {job.state}" + (f": {job.error}" if job.error else "") for job in bad))
    return 0


def status(told: argparse.Namespace) -> None:
    """How the house is: jobd, the lanes, the queue, where today's time went."""
    from supervisor.screen import report

    report.status(homes.find(told.home), as_json=told.json)


def doctor(told: argparse.Namespace) -> int:
    """Look for what would hinder jobs, and say what to do."""
    from supervisor import doctor as checks

    return checks.examine(homes.find(told.home), as_json=told.json)


def register(command: Register) -> None:
    one = command("list", list_jobs, "jobs of all states, newest work first")
    words.filters(one)
    one.add_argument(
        "--limit", type=positive, default=JOBS_SHOWN, metavar="N", help=f"at most so many (default {JOBS_SHOWN})"
    )

    one = command("show", show, "everything about one job")
    one.add_argument("id", type=whole)
    one = command("logs", logs, "what a job printed")
    one.add_argument("id", type=whole, nargs="?", help="without: whatever runs now")
    one.add_argument("-f", "--follow", action="store_true", help="go on as it grows; without an id, on to the next job")
    one.add_argument("-n", type=positive, default=50, metavar="N", help="the last N lines (default 50)")
    one.add_argument("--attempt", type=positive, metavar="K", help="only this attempt")
    one = command("wait", wait, "until jobs are over: exit 0 when all succeeded")
    one.add_argument("ids", type=whole, nargs="+", metavar="ID")
    one.add_argument("--timeout", type=words.patience, metavar="10m", help="no longer than this")
    command("status", status, "jobd, the lanes, the queue, where the time went")
    command("doctor", doctor, "look for what would hinder jobs")
