"""What a recipe made, shown when it is done: the report, the picture, a talk with the model, where the time went.

Reads only files that jobs left, and asks the model in another process: this room never imports torch.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from supervisor import ledger, queue
from supervisor.home import Home
from supervisor.plan import Recipe
from supervisor.screen import report, view

RULE = "─" * 78


def show(home: Home, db: sqlite3.Connection, recipe: Recipe, ids: list[int]) -> None:
    """Print what a recipe's jobs made, and ask the newest of their models the finale's questions."""
    model = newest_judged(home, set(ids))
    if model is not None:
        print(RULE)
        page = view.safe_lines((home.path / "reports" / model / "report.md").read_text())
        print(fitted(page, shutil.get_terminal_size().columns) if sys.stdout.isatty() else page)
        _talk(home, model, [str(question) for question in recipe.finale.get("questions", [])])
    _pictures(home, db, ids)
    _times(db, ids)
    if model is not None:
        print(f'\nTalk with it:\n  jobctl ask {model} "..."\n  jobctl chat {model}')


def fitted(page: str, columns: int) -> str:
    """A page for a terminal that may be narrower than it: prose is wrapped anew, tables are cut at the right."""
    lines: list[str] = []
    in_table = False
    for line in page.splitlines():
        in_table ^= line.startswith("```")
        goes_on = lines and lines[-1] and not in_table and not lines[-1].startswith(("#", "```", " "))
        if goes_on and line.strip() and not line.startswith(("#", "- ", "```")):
            lines[-1] += " " + line.strip()
        else:
            lines.append(view.cut(line, columns) if in_table else line)
    return page if max(map(len, page.splitlines())) <= columns else "\n".join(_wrap(line, columns) for line in lines)


def _wrap(line: str, columns: int) -> str:
    if len(line) <= columns:
        return line
    return textwrap.fill(line, columns, subsequent_indent="  " if line.startswith("- ") else "", break_on_hyphens=False)


def newest_judged(home: Home, runs: set[int]) -> str | None:
    """Of the models that these jobs trained and that have a report, the one of the last job, at its last step."""
    found = []
    for manifest in home.path.glob("models/*/manifest.json"):
        about, name = _read(manifest), manifest.parent.name
        is_ours = isinstance(about, dict) and about.get("kind") == "snapshot" and about.get("run") in runs
        if is_ours and (home.path / "reports" / name / "manifest.json").exists():
            found.append((about["run"], about.get("step", 0), name))
    return max(found)[2] if found else None


def _talk(home: Home, model: str, questions: list[str]) -> None:
    """The model's own answers to a recipe's questions, asked once and kept."""
    if not questions:
        return
    kept = home.path / "reports" / model / "talk.json"
    known = _read(kept)
    if not (isinstance(known, dict) and known.get("questions") == questions):
        words = [word for question in questions for word in ("--question", question)]
        asked = subprocess.run(
            [sys.executable, "-P", "-m", "jobs.chat", "--home", str(home.path), model, *words, "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if asked.returncode:
            print(f"The model could not be asked: {view.safe_lines(asked.stderr)}")
            return
        answers = [json.loads(line)["answer"] for line in asked.stdout.splitlines()]
        known = {"questions": questions, "answers": answers}
        _keep(kept, known)
    print(f"{RULE}\nThe new model, asked:\n")
    for question, answer in zip(questions, known["answers"], strict=True):
        print(f"  {view.safe(question)}\n    → {view.safe(answer)}\n")


def _pictures(home: Home, db: sqlite3.Connection, ids: list[int]) -> None:
    for job_id in ids:
        picture = home.workdir(job_id) / "monitor.png"
        if picture.exists():
            _draw_again(home, picture)
            print(f"{RULE}\nThe picture of {view.safe(queue.get(db, job_id).name)}: {_short(picture)}")


def _draw_again(home: Home, picture: Path) -> None:
    """The last verdict comes after the last step: a picture that is older than a report does not show it."""
    reports = home.path / "reports"
    if any(page.stat().st_mtime > picture.stat().st_mtime for page in reports.glob("*/report.json")):
        words = [sys.executable, "-P", "-m", "gpt.plot", str(picture.parent), "--reports", str(reports)]
        subprocess.run(words, capture_output=True, check=False)  # the older picture is a picture, too


def _times(db: sqlite3.Connection, ids: list[int]) -> None:
    """Seconds per job over all its attempts, and the GPU lane's own account."""
    spent = attempts_s(db, ids)
    print(f"{RULE}\nWhere the time went:")
    by_name: dict[str, float] = defaultdict(float)
    for job_id, seconds in spent.items():
        by_name[queue.get(db, job_id).kind] += seconds
    longest = max(by_name.values(), default=0.0) or 1.0
    for name, seconds in sorted(by_name.items(), key=lambda item: -item[1]):
        print(f"  {name:12} {view.bar(seconds / longest)} {_spent(seconds)}")
    first = min(queue.get(db, job_id).created_at for job_id in ids)
    last = max(queue.get(db, job_id).finished_at or time.time() for job_id in ids)
    print("  The GPU lane, from the first job to the last:")
    for part in report.time_line(ledger.shares(db, since=first, until=last)):
        print(f"    {part}")


def attempts_s(db: sqlite3.Connection, ids: list[int]) -> dict[int, float]:
    """{job id: seconds from each claim to the end of that attempt, summed}."""
    marks = ",".join("?" * len(ids))
    rows = db.execute(
        "select began.job_id, sum(ended.at - began.at) as seconds from event began join event ended"
        " on ended.job_id = began.job_id and ended.attempt = began.attempt and ended.what in"
        " ('queued', 'paused', 'succeeded', 'failed', 'cancelled')"
        f" where began.what = 'claimed' and began.job_id in ({marks}) group by began.job_id",
        ids,
    )
    return {row["job_id"]: row["seconds"] for row in rows}


def _spent(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else view.duration(seconds)


def _short(path: Path) -> str:
    """A path as one would type it from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _keep(path: Path, value: Any) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(value, ensure_ascii=False))
    os.replace(beside, path)
