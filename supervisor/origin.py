"""Where a job came from: who said what, in which folder, from which code; and whether that code is still the same.

Asked once at `add`, never for each of many. git is asked for one answer and a moment; what it can't say in that
moment is not known, and no reason to refuse a job.
"""

import hashlib
import os
import pwd
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

GIT_S = 0.5  # how long each question to git may take
MOST_FILES = 16  # of those that a program's argv names
MOST_BYTES = 32 << 20  # of a file that is read whole for its digest; of a larger one size and time are kept
CODE = Path(__file__).resolve().parents[1]  # of the kinds: Neverrest's own


def of_add(said: Sequence[str], kind: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What a job that is added now remembers. said: jobctl's own words. args: the job's, as the queue keeps them."""
    facts: dict[str, Any] = {"said": ["jobctl", *said], "cwd": os.getcwd(), "user": _user()}
    if kind == "command":
        facts["files"] = files_of(args)
        facts["code"] = checkout(Path(str(args.get("cwd", "/"))))
    else:
        facts["code"] = checkout(CODE)
    return {name: value for name, value in facts.items() if value}


def checkout(folder: Path) -> dict[str, str]:
    """The commit of the git checkout that a folder lies in, and the digest of what was not committed.

    {} outside of a checkout. changes: '' when the tree is clean; untracked files do not count.
    """
    top = next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)
    if top is None:
        return {}
    commit, changes = _git(top, ("rev-parse", "HEAD"), ("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color"))
    if commit is None or changes is None:
        return {"folder": str(top), "commit": "not known: git gave no answer"}
    digest = hashlib.sha256(changes).hexdigest()[:16] if changes else ""
    return {"folder": str(top), "commit": commit.decode().strip(), "changes": digest}


def files_of(args: Mapping[str, Any]) -> dict[str, str]:
    """The program and every file that its argv names: {path: what tells whether it is the same}."""
    import shutil

    argv, cwd, env = [str(word) for word in args.get("argv", ())], str(args.get("cwd", "/")), args.get("env") or {}
    first = os.path.join(cwd, argv[0]) if argv and os.sep in argv[0] else argv[0] if argv else ""
    program = shutil.which(first, path=env.get("PATH", os.defpath))
    named = [program] if program else []
    named += [path for word in argv[1:] if os.path.isfile(path := os.path.join(cwd, word))]
    return {path: print_of(path) for path in map(os.path.normpath, named[:MOST_FILES])}


def print_of(path: str) -> str:
    """The sha256 of a file; of a large one its size and time; '' when there is none."""
    try:
        found = os.stat(path)
        if found.st_size > MOST_BYTES:
            return f"{found.st_size} bytes of {found.st_mtime_ns}"
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def changed(origin: Mapping[str, Any]) -> list[str]:
    """What is not as it was when the job was added, a sentence each."""
    found = []
    for path, was in origin.get("files", {}).items():
        now = print_of(path)
        if now != was:
            found.append(f"{path} has {'changed' if now else 'gone'} since")
    code = origin.get("code") or {}
    if "changes" in code:
        now_code = checkout(Path(code["folder"]))
        if now_code.get("commit") != code["commit"]:
            found.append(f"{code['folder']} was at commit {code['commit'][:12]}, and is not any more")
        elif now_code.get("changes") != code["changes"]:
            found.append(f"{code['folder']} has other uncommitted changes than it had")
    return found


def changed_files(origins: Mapping[int, Mapping[str, Any]], *, most_s: float) -> dict[int, list[str]]:
    """For many jobs at once, {job: origin}: which files are not as they were. Without git, and within most_s seconds.

    Those that could not be looked at in time are left out: `show` looks at all of one job.
    """
    until, prints, found = time.monotonic() + most_s, dict[str, str](), dict[int, list[str]]()
    for job_id, origin in origins.items():
        for path, was in origin.get("files", {}).items():
            if path not in prints and time.monotonic() < until:
                prints[path] = print_of(path)
            if prints.get(path, was) != was:
                found.setdefault(job_id, []).append(path)
    return found


def _git(folder: Path, *questions: Sequence[str]) -> list[bytes | None]:
    """What git answers to each, all asked at once; None where it can't, or takes too long."""
    import subprocess

    calm = ["git", "-C", str(folder), "-c", "core.fsmonitor=false"]  # nothing that the checkout could make it run
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    try:
        asked = [
            subprocess.Popen([*calm, *words], env=env, stdin=null, stdout=pipe, stderr=null) for words in questions
        ]
    except OSError:
        return [None] * len(questions)
    answers: list[bytes | None] = []
    for process in asked:
        try:
            told, _ = process.communicate(timeout=GIT_S)
            answers.append(told if process.returncode == 0 else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            answers.append(None)
    return answers


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
