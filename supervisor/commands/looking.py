"""Looking: list, show, logs, wait, status, doctor."""

import argparse
import json
import time

from supervisor import home as homes
from supervisor.commands.words import Register, positive, show_json
from supervisor.errors import Refused

JOBS_SHOWN = 40


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
    from supervisor.news import AT_MOST_S, News

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
    from supervisor import report

    report.status(homes.find(told.home), as_json=told.json)


def doctor(told: argparse.Namespace) -> int:
    """Look for what would hinder jobs, and say what to do."""
    from supervisor import doctor as checks

    return checks.examine(homes.find(told.home), as_json=told.json)


def register(command: Register) -> None:
    one = command("list", list_jobs, "jobs of all states, newest work first")
    one.add_argument("--state", help="only these, with commas between")
    one.add_argument("--kind", help="only these, with commas between")
    one.add_argument("--limit", type=positive, default=JOBS_SHOWN, metavar="N")

    one = command("show", show, "everything about one job")
    one.add_argument("id", type=int)
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
