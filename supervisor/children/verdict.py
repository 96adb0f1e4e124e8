"""What a child says and how it ended, told to the queue."""

import math
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jobs.kind
from jobs.contract import EXIT_BAD_ARGS, EXIT_DONE, EXIT_OUT_OF_MEMORY, EXIT_UNFINISHED, BadArgs
from supervisor import queue
from supervisor.card import vram
from supervisor.children.child import Child
from supervisor.errors import Refused, StaleAttempt
from supervisor.job import Job, NewJob

TAIL_BYTES = 1 << 14  # of a log, for the error of a job that failed
LAST_LINES = 20  # of it, for `show`
ERROR_CHARS = 500
UNIT_CHARS = 40
# What a report's values may raise on their way into the queue. Not OperationalError: that is the disk's fault.
CANT_BE_TAKEN = (
    Refused, BadArgs, LookupError, TypeError, ValueError, ArithmeticError,
    sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError,
)  # fmt: skip


class Unreadable(Exception):
    """A report that can't be taken, and why. Any program may write reports: nothing in one may stop the supervisor."""


def take_report(db: sqlite3.Connection, child: Child, report: Mapping[str, Any]) -> None:
    """One line of a child. Raises Unreadable, or OperationalError when the queue can't be written now."""
    try:
        match report["report"]:
            case "ready":
                child.ready = True
            case "progress" if child.claimed:
                child.progress = told = read_progress(child, report)
                child.watch.note(told["done"], told["total"], told["unit"], now=time.monotonic())
            case "note" if child.claimed:
                queue.set_note(db, child.job.id, child.job.attempt, plain(report["text"], ERROR_CHARS), now=time.time())
            case "submit" if child.claimed:
                submit(db, child.job, report, Path(child.ticket.home))
    except CANT_BE_TAKEN as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def read_progress(child: Child, report: Mapping[str, Any]) -> dict[str, Any]:
    """A progress report with nothing in it that the queue can't hold."""
    done, total = float(report["done"]), float(report["total"])
    if not (math.isfinite(done) and math.isfinite(total)):
        raise ValueError(f"done and total take numbers, not {done} and {total}")
    given = dict(report.get("metrics") or {})
    metrics = {plain(name, UNIT_CHARS): value for name, value in given.items() if isinstance(value, int | float)}
    unit = plain(report.get("unit", ""), UNIT_CHARS)
    return {"done": done, "total": total, "unit": unit, "metrics": metrics, "eta_at": _eta_at(child, done, total)}


def plain(text: object, most_chars: int) -> str:
    """Text that can be stored: no halves of a surrogate pair, no end beyond most_chars."""
    return str(text)[:most_chars].encode(errors="replace").decode()


def submit(db: sqlite3.Connection, parent: Job, report: Mapping[str, Any], home: Path) -> int:
    """Queue a follow-up job of a running one, checked like any other. Its id."""
    kind = str(report["kind"])
    args = jobs.kind.parse(kind, dict(report["args"]), cwd=home)
    new = NewJob(
        kind=kind,
        args=jobs.kind.as_given(args),
        lane=jobs.kind.lane(kind),
        name=report.get("name"),
        priority=queue.get(db, parent.id).priority + int(report.get("priority_above", 0)),
        preemptible=jobs.kind.is_preemptible(kind, args),
        after=queue.ids_of_keys(db, report.get("after", ())),
        key=str(report["key"]),
        parent_id=parent.id,
    )
    return queue.add(db, new, now=time.time())


def write_progress(db: sqlite3.Connection, child: Child, *, now: float) -> None:
    """The newest progress of a running child, to the queue."""
    if child.progress is None:
        return
    try:
        queue.note_progress(db, child.job.id, child.job.attempt, child.progress, now=now)
    except StaleAttempt:
        pass  # it ended meanwhile
    child.progress = None


def settle(db: sqlite3.Connection, child: Child, log: Path, *, now: float) -> str:
    """The verdict on an attempt that is over: one arrow out of running. The job's new state.

    Changes nothing but the queue: when its transaction fails it is asked again. Raises StaleAttempt.
    """
    job_id, attempt, status = child.job.id, child.job.attempt, child.status
    assert status is not None
    if child.progress is not None:
        queue.note_progress(db, job_id, attempt, child.progress, now=now)
    wish = queue.wish(db, job_id)
    if status == EXIT_DONE:
        queue.succeed(db, job_id, attempt, now=now)
        return "succeeded"
    if wish == "cancel":
        queue.end_cancelled(db, job_id, attempt, now=now)
        return "cancelled"
    if status == EXIT_BAD_ARGS:
        return queue.fail(db, job_id, attempt, last_words(log), now=now, cause="bad args")
    if wish == "pause":
        queue.release(db, job_id, attempt, "paused by its user", now=now, state="paused")
        return "paused"
    if child.outgrew and child.why is not None:
        return queue.outgrow(db, job_id, attempt, child.why, now=now)
    if child.why is not None:
        queue.release(db, job_id, attempt, child.why, now=now)
        return "queued"
    if child.stalled is not None:  # also when it managed to save
        return queue.retry(db, job_id, attempt, child.stalled, now=now, cause="stalled")
    if status == EXIT_UNFINISHED:
        return queue.leave_unfinished(db, job_id, attempt, now=now)
    if status == EXIT_OUT_OF_MEMORY and try_smaller(db, child, now=now):
        return "queued"
    return queue.retry(db, job_id, attempt, blame(status, log), now=now, cause=cause_of(status))


def try_smaller(db: sqlite3.Connection, child: Child, *, now: float) -> bool:
    """It ran out of GPU memory: running -> queued, blameless, if a smaller micro_batch is left to try, or more memory
    to wait for."""
    was, job = child.ticket.args, child.job
    if vram.learn_least(db, job.kind, was, child.card, child.free_mib, child.best_mib, now=now):
        why = f"out of GPU memory: not one micro-batch fits into the {child.free_mib} MiB that were free"
        queue.release(db, job.id, job.attempt, why, now=now)
        return True
    smaller = vram.learn_fit(db, child.job.kind, was, child.card, child.free_mib, now=now)
    if smaller is None:
        return False
    why = f"out of GPU memory with {vram.batch_words(was)}: next with {vram.batch_words(smaller)}"
    queue.release(db, child.job.id, child.job.attempt, why, now=now)
    return True


def cause_of(status: int) -> str:
    """The word for it, of queue.CAUSES."""
    return "out of memory" if status == EXIT_OUT_OF_MEMORY else "killed" if status < 0 else "failed"


def blame(status: int, log: Path) -> str:
    """Why an attempt failed, in a sentence."""
    if status == EXIT_OUT_OF_MEMORY:
        return f"out of GPU memory: {last_words(log)}"
    if status < 0:
        return f"killed by signal {-status}" + (" (the kernel kills so when memory is short)" if status == -9 else "")
    return f"exit code {status}: {last_words(log)}"


def last_words(log: Path) -> str:
    """The last line its newest attempt printed, safe to show: control characters stay in the log."""
    return ([line.strip() for line in last_lines(log) if line.strip()] or ["it printed nothing"])[-1][:ERROR_CHARS]


def last_lines(log: Path, most: int = LAST_LINES) -> list[str]:
    """The last lines its newest attempt printed, safe to show."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    began = max((number for number, line in enumerate(lines) if line.startswith("── attempt ")), default=-1)
    return ["".join(c if c.isprintable() else "�" for c in line.expandtabs()) for line in lines[began + 1 :][-most:]]


def _eta_at(child: Child, done: float, total: float) -> float | None:
    """When it will be done at the pace of this attempt; None until it has a pace."""
    now = time.monotonic()
    if child.pace is None:
        child.pace = (now, done)
        return None
    began, at_first = child.pace
    if done <= at_first or now - began < 1.0 or total < done:
        return None
    return time.time() + (total - done) * (now - began) / (done - at_first)
