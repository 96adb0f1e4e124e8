"""What is known of a job, changed: edit its args, a note, tags; and prune what is over."""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supervisor import home as homes
from supervisor.commands.changing import add_filter, is_filtered, show_who
from supervisor.commands.words import Register, positive, seconds, settings, show_json, whole
from supervisor.errors import Refused
from supervisor.home import Home

MOST_IN_EDITOR = 100  # jobs; who changes more says --set


def edit(told: argparse.Namespace) -> None:
    """Change the args of jobs that do not run: by --set, or in $EDITOR. All of them, or none."""
    from supervisor import filters, queue

    home = homes.find(told.home)
    db, filtered = home.connect(), is_filtered(told, "edit")
    ids = told.ids
    if filtered:
        wanted = filters.read(told, now=time.time())
        ids = [job_id for job_id in filters.ids(db, wanted) if queue.get(db, job_id).state in queue.EDITABLE]
    if told.dry_run:
        return show_who(told, home, ids, "would be edited")
    jobs = [queue.get(db, job_id) for job_id in ids]
    if told.set or not jobs:
        write(home, jobs, {job.id: job.args | settings(told.set) for job in jobs})
    else:
        edit_by_hand(home, jobs)
    if filtered and not show_json(told, {"changed": len(jobs)}):
        print(f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} edited")
    return home.ring()


def write(home: Home, found: Sequence[Any], args: Mapping[int, Mapping[str, Any]]) -> None:
    """New args for these jobs, each checked like new ones, all or none. Raises Refused when one changed meanwhile."""
    import jobs.kind
    from jobs.contract import BadArgs
    from supervisor import queue
    from supervisor.db import transaction

    db = home.connect()
    with transaction(db):
        for job in found:
            try:
                good = jobs.kind.parse(job.kind, args[job.id], cwd=Path.cwd())
                jobs.kind.check(job.kind, good, home.path)
            except BadArgs as error:
                raise Refused(f"job {job.id}: {error}" if len(found) > 1 else str(error)) from error
            if queue.get(db, job.id).args != job.args:
                raise Refused(f"the args of job {job.id} were changed by somebody else meanwhile: look again")
            may_stop = job.evergreen_id is not None or jobs.kind.is_preemptible(job.kind, good)
            queue.set_args(db, job.id, jobs.kind.as_given(good), now=time.time(), preemptible=may_stop)


def edit_by_hand(home: Home, found: Sequence[Any]) -> None:
    """The args as JSON in $EDITOR. What is wrong may be edited again, as it was left; till then nothing is changed."""
    from supervisor import queue

    if len(found) > MOST_IN_EDITOR:
        raise Refused(f"{len(found)} jobs are too many for an editor, {MOST_IN_EDITOR} at most: take --set")
    if refused := [job for job in found if job.state not in queue.EDITABLE]:
        raise Refused(f"job {refused[0].id} is {refused[0].state}: args change while a job waits, or has failed")
    was = {str(job.id): {key: value for key, value in job.args.items() if key != "env"} for job in found}
    one = str(found[0].id) if len(found) == 1 else None
    text = json.dumps(was[one] if one else was, indent=2, ensure_ascii=False) + "\n"
    while True:
        text = in_editor(text)
        try:
            told = as_object(text, "the args")
            told = {one: told} if one else told
            if set(told) != set(was):
                raise Refused(f"it takes the ids {', '.join(was)}, and no others")
            args = {job.id: _with_env(job.args, as_object(told[str(job.id)], f"job {job.id}")) for job in found}
            return write(home, [job for job in found if args[job.id] != job.args], args)
        except Refused as error:
            if not sys.stdin.isatty():
                raise
            print(f"jobctl: {error}", file=sys.stderr)
            if input("Edit it again? [Y/n] ").strip().lower().startswith("n"):
                raise


def as_object(value: Any, what: str) -> dict[str, Any]:
    """A JSON object, or JSON text of one. Raises Refused."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Refused(f"that is not JSON: {error}. Nothing was changed") from error
    if not isinstance(found, dict):
        raise Refused(f"{what} take a JSON object, not {type(found).__name__}. Nothing was changed")
    return found


def _with_env(old: Mapping[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Its environment stays, unless a new one was written."""
    return {"env": old["env"]} | new if "env" in old else new


def in_editor(text: str) -> str:
    """The text as the user leaves it in $VISUAL, $EDITOR or vi. Raises Refused when the editor fails."""
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.NamedTemporaryFile("w", suffix=".json", prefix="jobctl-", encoding="utf-8") as file:  # 0600
        file.write(text)
        file.flush()
        try:
            done = subprocess.run([*shlex.split(editor), file.name])
        except (OSError, ValueError) as error:
            raise Refused(f"the editor {editor!r} can't be started ({error}): set EDITOR, or take --set") from error
        if done.returncode:
            raise Refused(f"the editor {editor!r} ended with {done.returncode}: nothing was changed")
        return Path(file.name).read_text(encoding="utf-8")  # by name: most editors write a new file in its place


def note(told: argparse.Namespace) -> None:
    """Your own words on a job, for `show` and `list --text`. No words take them away."""
    from supervisor import queue

    home = homes.find(told.home)
    queue.set_memo(home.connect(), told.id, " ".join(told.words), now=time.time())


def tag(told: argparse.Namespace) -> None:
    """+good onto jobs, -bad off them; with neither, what they have."""
    from supervisor import filters, queue, tags

    words = [word.strip() for word in told.words]
    told.ids = [int(word) for word in words if word.isdecimal()]
    add = [word[1:] for word in words if word.startswith("+")]
    drop = [word[1:] for word in words if word.startswith("-")]
    if wrong := [word for word in words if not word.isdecimal() and word[:1] not in ("+", "-")]:
        raise Refused(f"tag takes ids, +tags to set and -tags to take away, not {wrong[0]!r}")
    home = homes.find(told.home)
    db = home.connect()
    filtered = is_filtered(told, "tag")
    ids = filters.ids(db, filters.read(told, now=time.time())) if filtered else told.ids
    ids = [queue.get(db, job_id).id for job_id in ids] if not filtered else ids
    if told.dry_run:
        return show_who(told, home, ids, "would be tagged")
    tags.change(db, ids, add, drop)
    if not add and not drop:
        found = {job_id: tags.of(db, job_id) for job_id in ids}
        if not show_json(told, {str(job_id): names for job_id, names in found.items()}):
            print("\n".join(f"{job_id}  {' '.join(names) or '-'}" for job_id, names in found.items()))
    elif filtered:
        print(f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} tagged")
    return None


def prune(told: argparse.Namespace) -> None:
    """Forget jobs that are over: their rows, their history, their folders in runs/. The ledger stays."""
    from supervisor import filters
    from supervisor.house import prune as pruning

    home, now = homes.find(told.home), time.time()
    older_s = seconds("--older-than", told.older_than) if told.older_than else None
    wanted = filters.read(told, now=now)
    if older_s is None and told.keep is None and wanted.is_empty:
        raise Refused("prune what? Say --older-than 30d, --keep N, or a filter such as --state cancelled")
    db = home.connect()
    ids = pruning.who(db, wanted, before=None if older_s is None else now - older_s, keep=told.keep)
    if told.dry_run:
        return show_who(told, home, ids, "would be forgotten")
    pruning.forget(db, ids)
    try:
        freed = pruning.sweep(home, db)
    except OSError as error:
        raise Refused(
            f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} forgotten, but the folder of one can't be removed "
            f"({error.filename}: {error.strerror}): see whose it is; the next prune removes it"
        ) from error
    shrunk = pruning.shrink(db)
    if not show_json(told, {"forgotten": len(ids), "folders": freed, "database": shrunk}):
        print(f"{len(ids)} {'job' if len(ids) == 1 else 'jobs'} forgotten, {freed} folders removed. {shrunk}".rstrip())
    return None


def register(command: Register) -> None:
    one = command("edit", edit, "change the args of jobs that do not run, by --set or in $EDITOR")
    one.add_argument("ids", type=whole, nargs="*", metavar="ID")
    one.add_argument("--set", action="extend", nargs="+", default=[], metavar="key=value")
    add_filter(one)
    one = command("note", note, "your own words on a job; none take them away")
    one.add_argument("id", type=whole)
    one.add_argument("words", nargs="*", metavar="WORD")
    one = command("tag", tag, "tag ID.. +good -bad: set tags and take them away")
    one.add_argument("words", nargs="*", metavar="ID|+TAG|-TAG")
    add_filter(one)
    one = command("prune", prune, "forget jobs that are over, and their folders")
    one.add_argument("--older-than", metavar="30d", help="those that ended longer ago")
    one.add_argument("--keep", type=positive, metavar="N", help="not the N that ended last")
    add_filter(one)
