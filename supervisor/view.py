"""Jobs as a person sees them: why one waits, how far one is, in text that can't harm a terminal."""

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from supervisor import queue
from supervisor.home import Home
from supervisor.queue import Job

BAR = "█"
BAR_REST = "░"
NARROW = 100  # columns; below, lines show less
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|AUTH", re.IGNORECASE)


def as_dict(db: sqlite3.Connection, job: Job, home: Home, *, now: float) -> dict[str, Any]:
    """A job as `show --json` prints it."""
    after = [row["needs_id"] for row in db.execute("select needs_id from need where job_id = ?", (job.id,))]
    return {
        "id": job.id, "kind": job.kind, "name": job.name, "args": redacted(job.args), "priority": job.priority,
        "lane": job.lane, "preemptible": job.preemptible, "state": job.state, "wish": job.wish,
        "waiting_for": waiting_for(db, job, home, now=now), "attempt": job.attempt, "failures": job.failures,
        "max_failures": job.max_failures, "after": after, "key": job.key, "parent": job.parent_id,
        "created_at": job.created_at, "available_at": job.available_at, "started_at": job.started_at,
        "finished_at": job.finished_at, "eta_at": job.eta_at,
        "progress": {"done": job.done, "total": job.total, "unit": job.unit, "metrics": job.metrics},
        "note": job.note, "error": job.error,
    }  # fmt: skip


def redacted(args: dict[str, Any]) -> dict[str, Any]:
    """Args without the values of environment variables that sound secret."""
    if not isinstance(args.get("env"), dict):
        return args
    return args | {"env": {name: "(hidden)" if SECRET.search(name) else v for name, v in args["env"].items()}}


def waiting_for(db: sqlite3.Connection, job: Job, home: Home, *, now: float) -> str | None:
    """Why a job does not run, and what would help; None when it runs or is over."""
    if job.state == "paused":
        return job.note or f"you: `jobctl resume {job.id}`"
    if job.state != "queued":
        return None
    if job.blockers:
        needs = db.execute(
            "select job.* from need join job on job.id = need.needs_id where need.job_id = ? and state <> 'succeeded'"
            " order by job.id",
            (job.id,),
        )
        return ", ".join(_need(Job.from_row(row)) for row in needs)
    if not serving(home):
        return "jobd, which does not run"
    if queue.is_paused(db):
        return "you: the queue is paused, `jobctl resume --all`"
    if job.available_at > now:
        what = f"another try after failure {job.failures}" if job.failures else "its time"
        return f"{what}, in {duration(job.available_at - now)}"
    if job.lane == "gpu" and (closed := queue.meta(db, "lane_closed")):
        return f"the GPU lane, closed: {closed}"
    row = db.execute("select id from job where state = 'running' and lane = ? limit 1", (job.lane,)).fetchone()
    return f"the {job.lane} lane, held by job {row['id']}" if row else "its turn"


def _need(job: Job) -> str:
    if job.state in ("failed", "cancelled"):
        return f"job {job.id}, which {'failed' if job.state == 'failed' else 'was cancelled'}: `jobctl retry {job.id}`"
    return f"job {job.id} ({job.state})"


def serving(home: Home) -> bool:
    """Whether a jobd serves this home: it holds the lock."""
    try:
        descriptor = os.open(home.path / "jobd.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def table(
    db: sqlite3.Connection, found: Iterable[Job], home: Home, *, now: float, width: int | None = None
) -> list[str]:
    """Jobs as aligned lines, a heading first. width: the last column is cut to it; a narrow one has no KIND."""
    rows = [("ID", "STATE", "KIND", "NAME", "PRIO", "PROGRESS", "ETA", "WHY / RESULT")]
    narrow = width is not None and width < NARROW
    for job in found:
        why = job.error if job.state == "failed" else waiting_for(db, job, home, now=now) or job.note or ""
        rows.append((
            str(job.id), job.state, job.kind, job.name if narrow or job.name != job.kind else "", str(job.priority),
            progress(job), eta(job, now), why or "",
        ))  # fmt: skip
    cells = [[safe(cell) for column, cell in enumerate(row) if not (narrow and column == 2)] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in cells]
    return [cut(line, width) for line in lines] if width else lines


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; an ellipsis says that there was more."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def progress(job: Job) -> str:
    if job.state == "succeeded":
        return "done"
    return f"{job.done:g}/{job.total:g} {job.unit}".rstrip() if job.total else ""


def eta(job: Job, now: float) -> str:
    if job.finished_at and job.started_at:
        return f"took {duration(job.finished_at - job.started_at)}"
    return duration(job.eta_at - now) if job.state == "running" and job.eta_at else ""


def bar(share: float, width: int = 20) -> str:
    filled = round(max(0.0, min(1.0, share)) * width)
    return BAR * filled + BAR_REST * (width - filled)


def duration(seconds: float) -> str:
    """'8 s', '3m10s', '5h02m', '12d03h'."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def moment(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "-"


def safe(text: str) -> str:
    """Text for a terminal's line: what jobs print may hold anything, and must not move a cursor or forge a line."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def safe_lines(text: str) -> str:
    """The same for many lines: newlines and tabs stay, a progress bar's carriage return becomes a newline."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def tail(path: Path, lines: int, *, most_bytes: int = 1 << 20) -> str:
    """The last lines of a file, reading at most its last MiB."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            return safe_lines("\n".join(file.read().decode(errors="replace").splitlines()[-lines:]))
    except FileNotFoundError:
        return ""
