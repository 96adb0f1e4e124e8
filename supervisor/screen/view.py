"""Jobs as a person sees them: why one waits, how far one is, in text that can't harm a terminal."""

import json
import math
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor import meta, queue
from supervisor.home import Home
from supervisor.job import Job
from supervisor.screen.forecast import Expected

BAR = "█"
BAR_REST = "░"
NARROW = 100  # columns; below, lines show less
NARROW_NAME, WIDE_NAME = 18, 28
WIDE_ONLY = (2, 4)  # KIND and PRIO
UNIT = 12  # letters of a job's own word for what it counts
EXACT = 2.0**53  # so far a float holds every whole number
WEEK_S = 6 * 86400.0
HIDDEN = "(hidden)"
SECRET_WORDS = {"token", "secret", "password", "passwd", "key", "apikey", "credential", "credentials", "auth"}
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|AUTH", re.IGNORECASE)


def as_dict(
    db: sqlite3.Connection, job: Job, home: Home, *, now: float, expected: Expected | None = None
) -> dict[str, Any]:
    """A job as `show --json` prints it. expected: when it will start and end, where that is known."""
    soon = expected or Expected()
    after = [row["needs_id"] for row in db.execute("select needs_id from need where job_id = ?", (job.id,))]
    return {
        "id": job.id, "kind": job.kind, "name": job.name, "args": redacted(job.args), "priority": job.priority,
        "lane": job.lane, "preemptible": job.preemptible, "state": job.state, "wish": job.wish,
        "waiting_for": waiting_for(db, job, home, now=now, before=soon.before),
        "attempt": job.attempt, "failures": job.failures, "max_failures": job.max_failures,
        "after": after, "key": job.key, "parent": job.parent_id, "evergreen": _evergreen(db, job),
        "created_at": job.created_at, "available_at": job.available_at, "started_at": job.started_at,
        "finished_at": job.finished_at, "eta_at": job.eta_at, "ran_s": job.ran_s,
        "expected": {"starts_at": soon.starts_at, "ends_at": soon.ends_at, "before": soon.before},
        "progress": {"done": job.done, "total": job.total, "unit": job.unit, "metrics": job.metrics},
        "note": job.note, "error": job.error, "cause": job.cause, "stall_s": job.stall_s,
        "needs_vram_mib": job.needs_vram_mib, "peak_vram_mib": job.peak_vram_mib,
    }  # fmt: skip


def redacted(args: dict[str, Any]) -> dict[str, Any]:
    """Args without the values of environment variables and options that sound secret."""
    found = dict(args)
    if isinstance(args.get("env"), dict):
        found["env"] = {name: HIDDEN if SECRET.search(name) else value for name, value in args["env"].items()}
    if isinstance(args.get("argv"), list):
        found["argv"] = hide_words(args["argv"])
    return found


def hide_words(words: Sequence[str]) -> list[str]:
    """A command line without what follows --token, --api-key=, HF_TOKEN= and the like."""
    shown: list[str] = []
    for word in map(str, words):
        name, equals, _ = word.partition("=")
        told = shown[-1] if shown else ""
        if equals and _is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        elif told.startswith("-") and "=" not in told and _is_secret(told) and not word.startswith("-"):
            shown.append(HIDDEN)
        else:
            shown.append(word)
    return shown


def shown_origin(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Where a job came from, without secrets."""
    return dict(origin) | ({"said": hide_words(origin["said"])} if "said" in origin else {})


def code_lines(code: Mapping[str, str]) -> list[str]:
    """The checkout a job was added from, in words."""
    if not code:
        return []
    tree = {"": "clean", None: "not known"}.get(code.get("changes"), f"uncommitted changes {code.get('changes')}")
    return [f"{code['folder']} at {code['commit']}, {tree}"]


def _is_secret(name: str) -> bool:
    return not SECRET_WORDS.isdisjoint(re.split(r"[-_]", name.lower()))


def waiting_for(db: sqlite3.Connection, job: Job, home: Home, *, now: float, before: int | None = None) -> str | None:
    """Why a job does not run, and what would help; None when it runs or is over. before: how many come first."""
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
    if low := meta.read(db, "disk_low"):
        return f"room on the disk: {low}"
    if job.lane == "gpu" and (closed := meta.read(db, "lane_closed")):
        return f"the GPU lane, closed: {closed}"
    if job.lane == "gpu" and (short := _short_of_vram(db, job)):
        return short
    if job.evergreen_id is not None:
        return "its turn, when nothing else is due on the gpu lane"
    row = db.execute("select id from job where state = 'running' and lane = ? limit 1", (job.lane,)).fetchone()
    if row is None and job.lane == "gpu" and (reason := meta.read(db, "lane_waits")):
        return reason
    first = f", {before} more before it" if before else ""
    return f"the {job.lane} lane, held by job {row['id']}{first}" if row else f"its turn{first}"


def _evergreen(db: sqlite3.Connection, job: Job) -> str | None:
    """The name of the evergreen that made it."""
    row = db.execute("select name from standing where id = ?", (job.evergreen_id,)).fetchone()
    return row["name"] if row else None


def _short_of_vram(db: sqlite3.Connection, job: Job) -> str | None:
    """What it needs of the card while strangers hold it; None when that is not what it waits for."""
    short: dict[str, str] = json.loads(meta.read(db, "vram_short") or "{}")
    return short.get(str(job.id))


def _need(job: Job) -> str:
    if job.state in ("failed", "cancelled"):
        return f"job {job.id}, which {'failed' if job.state == 'failed' else 'was cancelled'}: `jobctl retry {job.id}`"
    return f"job {job.id} ({job.state})"


def serving(home: Home) -> bool:
    """Whether a jobd serves this home: it holds the lock."""
    return home.served_by() is not None


def table(
    db: sqlite3.Connection,
    found: Iterable[Job],
    home: Home,
    *,
    now: float,
    width: int | None = None,
    expected: Mapping[int, Expected] | None = None,
    changed: Mapping[int, Sequence[str]] | None = None,
) -> list[str]:
    """Jobs as aligned lines, a heading first. width: the last column is cut to it; a narrow one shows less.

    changed: the files of a job that are not as they were when it was added.
    """
    rows = [("ID", "STATE", "KIND", "NAME", "PRIO", "PROGRESS", "WHEN", "WHY / RESULT")]
    narrow = width is not None and width < NARROW
    for job in found:
        soon = (expected or {}).get(job.id, Expected())
        waits = waiting_for(db, job, home, now=now, before=soon.before)
        why = job.error if job.state == "failed" else waits or job.note or ""
        if files := (changed or {}).get(job.id):
            more = f" and {len(files) - 1} more" if len(files) > 1 else ""
            why = f"{os.path.basename(files[0])}{more} changed since it was added; {why}"
        name = job.name if narrow or job.name != job.kind else ""
        if width is not None:
            name = cut(name, NARROW_NAME if narrow else WIDE_NAME)
        rows.append((
            str(job.id), job.state, job.kind, name, str(job.priority),
            progress(job, short=narrow), when(job, soon, now, short=narrow), why or "",
        ))  # fmt: skip
    cells = [[safe(cell) for column, cell in enumerate(row) if not (narrow and column in WIDE_ONLY)] for row in rows]
    widths = [max(columns(row[column]) for row in cells) for column in range(len(cells[0]) - 1)]
    lines = ["  ".join([*map(pad, row, widths), row[-1]]).rstrip() for row in cells]
    return [cut(line, width) for line in lines] if width else lines


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; an ellipsis says that there was more."""
    if columns(text) <= width:
        return text
    text = text[: max(0, width - 1)]  # no letter takes less than a column, but for accents
    while columns(text) > width - 1 and text:
        text = text[:-1]
    return text + "…"


def pad(text: str, width: int) -> str:
    """The text, and blanks up to `width` columns."""
    return text + " " * (width - columns(text))


def columns(text: str) -> int:
    """What a text takes of a terminal's line: a Chinese letter or an emoji two columns, an accent of its own none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def progress(job: Job, *, short: bool = False) -> str:
    if job.state == "succeeded":
        return "done"
    if short:
        return percent(job.done / job.total) if job.total else ""
    return f"{amount(job.done)}/{amount(job.total)} {job.unit[:UNIT]}".rstrip() if job.total else ""


def amount(number: float) -> str:
    """'0.9', '20000', '1234567': a count is never rounded, a fraction has six digits."""
    return f"{number:.0f}" if float(number).is_integer() and abs(number) < EXACT else f"{number:g}"


def when(job: Job, soon: Expected, now: float, *, short: bool = False) -> str:
    """When it ended, will end, or will start and end. What has a ~ is expected; nothing: nobody knows."""
    if job.finished_at:
        took = f"took {duration(job.ran_s or job.finished_at - job.started_at)}" if job.started_at else ""
        return took if short or not took else f"{clock(job.finished_at, now)}, {took}"
    if job.state == "running":
        ends_at = job.eta_at or soon.ends_at
        left = "" if short or ends_at is None else f", {duration(ends_at - now)} left"
        return f"to ~{clock(ends_at, now)}{left}" if ends_at else ""
    if soon.starts_at is None:
        return ""
    return f"~{clock(soon.starts_at, now)} to " + (f"~{clock(soon.ends_at, now)}" if soon.ends_at else "?")


def clock(at: float, now: float) -> str:
    """'14:05' today, 'Sun 14:05' within a week, else '12-31'."""
    there, here = time.localtime(at), time.localtime(now)
    if there[:3] == here[:3]:
        return time.strftime("%H:%M", there)
    return time.strftime("%a %H:%M" if abs(at - now) < WEEK_S else "%m-%d", there)


def percent(share: float) -> str:
    """'43%', rounded down: what is not done yet does not read 100%."""
    return f"{math.floor(100 * share + 1e-9)}%"


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
