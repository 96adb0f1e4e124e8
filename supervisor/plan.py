"""A recipe (one TOML file: a whole project) becomes jobs. Planned again, it finds the jobs it made.

name = "demo"
[vars]                     # every "{source}" below takes this; `--set source=...` overrides it
source = "sample"
[[job]]
name = "corpus"
kind = "corpus"
args = { source = "{source}", factory = "corpus/{name}{n}.db" }
[[job]]
name = "generate"
kind = "generate"
after = ["corpus"]         # names of jobs above
args = { corpus = "{corpus.factory}", factory = "factory/{name}{n}.db" }
[finale]                   # what `jobctl run` shows at the end, besides report, picture and times
questions = ["When did ...?"]

{n} is empty the first time, then -2, -3 ...: an edited job writes beside what it made before, never over it.
{corpus.factory} is that arg of a job above, as it is queued.
"""

import hashlib
import json
import re
import sqlite3
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs.kind
from jobs.contract import BadArgs
from supervisor import queue
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import LANES, MAX_FAILURES, Job, NewJob

REFERENCE = re.compile(r"\{(\w[\w-]*)\.(\w+)\}")  # {job.arg}
TAKES = {  # a [[job]], in words
    "name": "text", "kind": "text", "after": "a list of names", "args": "a table", "priority": "a whole number",
    "lane": "gpu or cpu", "max_failures": "a whole number, 1 or more",
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A recipe with its variables filled in."""

    name: str
    jobs: list[dict[str, Any]]
    finale: dict[str, Any]


def read(path: Path, overrides: Mapping[str, str]) -> Recipe:
    """Raises Refused with a sentence when the file is not a recipe."""
    try:
        text = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise Refused(f"there is no recipe at {path}: those that come with Neverrest lie in jobs/recipes/") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise Refused(f"{path} is not a recipe: {error}") from error
    for name, what, written in (("vars", dict, "[vars]"), ("job", list, "[[job]]"), ("finale", dict, "[finale]")):
        if not isinstance(text.get(name, what()), what):
            raise Refused(f"{path.name}: {name} = {text[name]!r} does not fit: it takes a table, {written}")
    values = {"name": text.get("name", path.stem), **text.get("vars", {})}
    if unknown := sorted(set(overrides) - set(values)):
        raise Refused(f"{path.name} has no variable {unknown[0]!r}: it has {', '.join(sorted(values))}")
    values |= overrides
    values |= _fill({key: value for key, value in values.items() if key != "name"}, {"name": values["name"]})
    recipe = Recipe(str(values["name"]), _fill(text.get("job", []), values), _fill(text.get("finale", {}), values))
    if not recipe.jobs:
        raise Refused(f"{path} holds no [[job]]: see jobs/recipes/demo.toml for what a recipe looks like")
    if not isinstance(recipe.finale.get("questions", []), list):  # found out now, not after the hours of the run
        raise Refused(f"{path.name}: questions = {recipe.finale['questions']!r} does not fit: it takes a list of texts")
    if "/" in recipe.name:  # in keys it ends the name: what demo/x queued would look like demo's
        raise Refused(f"{path.name}: a recipe's name takes no slash, and it is {recipe.name!r}")
    names = [_look_at(path, job)["name"] for job in recipe.jobs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Refused(f"{path.name}: there are {names.count(twice[0])} jobs called {twice[0]!r}: one name, one job")
    return recipe


def _look_at(path: Path, job: Any) -> dict[str, Any]:
    """A [[job]] that has what it needs, and nothing else. Raises Refused."""
    if not isinstance(job, dict):
        raise Refused(f"{path.name}: a [[job]] is a table, not {job!r}")
    if unknown := sorted(set(job) - set(TAKES)) or sorted({"name", "kind"} - set(job)):
        raise Refused(f"{path.name}: a [[job]] takes {', '.join(sorted(TAKES))}; look at {unknown[0]!r} in {job}")
    if wrong := [key for key, value in job.items() if not _fits(key, value)]:
        key = wrong[0]
        raise Refused(f"{path.name}: {key} = {job[key]!r} of job {job['name']!r} does not fit: it takes {TAKES[key]}")
    return job


def _fits(key: str, value: Any) -> bool:
    """Whether a [[job]] can hold this. A number may be text: `--set` gives no other."""
    if key in ("priority", "max_failures"):
        is_whole = type(value) in (int, str) and re.fullmatch(r"-?\d{1,18}", str(value)) is not None
        return is_whole and (key == "priority" or int(value) >= 1)
    if key == "after":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if key == "lane":
        return value in LANES
    return isinstance(value, dict if key == "args" else str)


def plan(
    db: sqlite3.Connection,
    home: Home,
    recipe: Recipe,
    *,
    base: Path,
    now: float,
    origin: Mapping[str, Any] | None = None,
) -> list[int]:
    """Queue what is not queued yet, all or nothing. The ids of the recipe's jobs, in its order.

    A job's key holds its args, what it reads from outside, and the keys of all it needs: an edit makes new jobs from
    there on, and what is before it is kept. base: what relative input paths are relative to. origin: who planned it,
    from which code.
    """
    made: dict[str, _Planned] = {}
    with transaction(db):
        for entry in recipe.jobs:
            try:
                made[entry["name"]] = _plan_one(db, home, recipe, entry, base, made, now, origin or {})
            except BadArgs as error:
                raise Refused(f"recipe {recipe.name}, job {entry['name']}: {error}") from error
    return [one.id for one in made.values()]


@dataclass(frozen=True)
class _Planned:
    """A job of the recipe that is in the queue. plain: its args if nothing had ever been edited."""

    id: int
    digest: str
    plain: dict[str, Any]
    args: dict[str, Any]


def _plan_one(
    db: sqlite3.Connection,
    home: Home,
    recipe: Recipe,
    entry: dict[str, Any],
    base: Path,
    made: dict[str, _Planned],
    now: float,
    origin: Mapping[str, Any],
) -> _Planned:
    name, kind, after = entry["name"], entry["kind"], entry.get("after", [])
    if missing := [needed for needed in after if needed not in made]:
        raise Refused(f"recipe {recipe.name}: {name} comes after {missing[0]!r}, which is not above it")
    plain = _args(kind, entry, "", {above: one.plain for above, one in made.items()}, base)
    told = [kind, jobs.kind.as_given(plain), [made[needed].digest for needed in after], *_read_outside(kind, plain)]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    key = f"{recipe.name}/{name}/{digest}"
    if (known := queue.find_key(db, key)) is not None:
        return _Planned(known, digest, jobs.kind.as_given(plain), queue.get(db, known).args)
    args = _args(kind, entry, _number(db, recipe, name), {above: one.args for above, one in made.items()}, base)
    jobs.kind.check(kind, args, home.path)
    new = NewJob(
        kind=kind, args=jobs.kind.as_given(args), lane=entry.get("lane", jobs.kind.lane(kind)), name=name,
        priority=int(entry.get("priority", 0)), preemptible=jobs.kind.is_preemptible(kind, args),
        after=[made[needed].id for needed in after], max_failures=int(entry.get("max_failures", MAX_FAILURES)),
        key=key, available_at=0.0, origin=origin,
    )  # fmt: skip
    return _Planned(queue.add(db, new, now=now), digest, jobs.kind.as_given(plain), jobs.kind.as_given(args))


def _args(kind: str, entry: dict[str, Any], n: str, above: Mapping[str, Mapping[str, Any]], base: Path) -> Any:
    """A job's Args, with {n} and {job.arg} filled in."""
    return jobs.kind.parse(kind, _refer(_fill(entry.get("args", {}), {"n": n}), above), cwd=base)


def _refer(value: Any, above: Mapping[str, Mapping[str, Any]]) -> Any:
    """Every "{job.arg}" in a job's texts."""
    if isinstance(value, dict):
        return {key: _refer(item, above) for key, item in value.items()}
    if isinstance(value, list):
        return [_refer(item, above) for item in value]
    return REFERENCE.sub(lambda found: _meant(found, above), value) if isinstance(value, str) else value


def _meant(found: "re.Match[str]", above: Mapping[str, Mapping[str, Any]]) -> str:
    job, arg = found.groups()
    if job not in above or arg not in above[job]:
        has = f"it has {', '.join(above[job])}" if job in above else f"above it are {', '.join(above) or 'none'}"
        raise BadArgs(f"{found[0]} takes a job above and one of its args: {has}")
    return str(above[job][arg])


def _read_outside(kind: str, args: Any) -> list[str]:
    """What the job reads from outside the home, as a digest of its content, where its kind can tell."""
    tell = getattr(jobs.kind.load(kind), "content", None)
    return [] if tell is None else [tell(args)]


def _number(db: sqlite3.Connection, recipe: Recipe, name: str) -> str:
    """'' for the first job of this name, then '-2', '-3' ..."""
    [count] = db.execute("select count(*) from job where instr(key, ?) = 1", (f"{recipe.name}/{name}/",)).fetchone()
    return f"-{count + 1}" if count else ""


def replace_older(db: sqlite3.Connection, recipe: Recipe, ids: list[int], *, now: float) -> list[Job]:
    """Cancel what an earlier reading of this recipe queued and the newest does not hold, with all it submitted.

    What is over stays as it is. The jobs that were cancelled.
    """
    rows = db.execute("select id from job where instr(key, ?) = 1 order by id", (f"{recipe.name}/",))
    with transaction(db):
        older = [row["id"] for row in rows if row["id"] not in set(ids)]
        found = [queue.get(db, job_id) for job_id in (family(db, older) if older else [])]
        open_ones = [job for job in found if job.state not in queue.OVER]
        for job in open_ones:
            queue.cancel(db, job.id, now=now)
    return open_ones


def family(db: sqlite3.Connection, ids: list[int]) -> list[int]:
    """The recipe's jobs and all they submitted, oldest first."""
    marks = ",".join("?" * len(ids))
    rows = db.execute(
        f"with recursive kin(id) as (select id from job where id in ({marks})"
        " union select job.id from job join kin on job.parent_id = kin.id) select id from kin order by id",
        ids,
    )
    return [row["id"] for row in rows]


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Every "{variable}" in a recipe's texts: alone it is the value itself, inside a text it is written out."""
    if isinstance(value, dict):
        return {key: _fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    if not isinstance(value, str):
        return value
    for name, known in values.items():
        if value == "{" + name + "}":
            return known
        value = value.replace("{" + name + "}", str(known))
    return value
