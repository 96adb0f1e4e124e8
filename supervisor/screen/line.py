"""A job on one line of a terminal: a sign, its name, a bar, how far, how long yet, what it measures; or why not."""

import sqlite3

from supervisor.home import Home
from supervisor.job import Job
from supervisor.screen import view

SIGNS = {"succeeded": "✓", "failed": "✗", "cancelled": "✗", "running": "▶", "paused": "‖", "queued": "·"}


def line(db: sqlite3.Connection, home: Home, job: Job, now: float, width: int, names: int) -> str:
    """One job in `width` columns: a sign, its name in `names` columns, a bar, how far, how long yet, loss and speed."""
    narrow = width < view.NARROW
    names = min(names, 16 if narrow else 24)
    head = f"{SIGNS[job.state]} {view.pad(view.cut(view.safe(job.name), names), names)}"
    waits = _why(db, home, job, now)
    if not (job.done or job.state in ("running", "succeeded")):
        return view.cut(f"{head}  {waits}", width)
    share = 1.0 if job.state == "succeeded" else job.done / job.total if job.total else 0.0
    text = f"{head}  {view.bar(share, 8 if narrow else 20)} {_amount(job, narrow)}"
    if waits:
        return view.cut(f"{text}  {waits}", width)
    left = f"{view.duration(job.eta_at - now)} left" if job.eta_at and job.state == "running" else ""
    for part in (f"{left:>10}", *_metrics(job)):
        text += f"  {part}" if view.columns(text) + 2 + len(part) <= width else ""
    return text.rstrip()


def _why(db: sqlite3.Connection, home: Home, job: Job, now: float) -> str:
    """Why it does not run; '' when it does, or is done."""
    if job.state in ("running", "succeeded"):
        return ""
    if job.state in ("failed", "cancelled"):
        return view.safe(job.error if job.state == "failed" and job.error else job.state)
    waits = f"waits for {view.waiting_for(db, job, home, now=now)}"
    return view.safe(f"{waits}: {job.error}" if job.failures and job.error else waits)


def _amount(job: Job, narrow: bool) -> str:
    amount = f"{job.done:,.0f}/{job.total:,.0f}" if job.total else ""
    return f"{amount:>13}" if narrow else f"{amount:>17} {view.pad(view.safe(job.unit[: view.UNIT]), view.UNIT)}"


def _metrics(job: Job) -> list[str]:
    """What a person looks at first, first: each as wide as it usually gets, so that columns stay."""
    shown = []
    for name, text in (("loss", "loss {:5.3f}"), ("tokens_per_s", "{:>5} tok/s"), ("val_loss", "val {:5.3f}"),
                       ("pass_rate", "{:6.1%} pass")):  # fmt: skip
        value = job.metrics.get(name)
        if isinstance(value, int | float):
            shown.append(text.format(short(value) if name == "tokens_per_s" else value))
    return shown


def short(count: float) -> str:
    """12345 -> '12.3k'"""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return f"{count:.0f}"
