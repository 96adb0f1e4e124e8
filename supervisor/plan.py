"""A recipe (one TOML file: a whole project) becomes jobs. Planned again, it finds the jobs it made.

name = "demo"
[vars]                     # every "{source}" below takes this; `--set source=...` overrides it
source = "sample"
[[job]]
name = "corpus"
kind = "corpus"
after = []                 # names of jobs above
args = { source = "{source}" }
[finale]                   # what `jobctl run` shows at the end
run = "{name}"
questions = ["When did ...?"]
"""

import hashlib
import json
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
from supervisor.queue import NewJob

JOB_KEYS = {"name", "kind", "after", "args", "priority", "lane", "max_failures"}


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
    values = {"name": text.get("name", path.stem), **text.get("vars", {})}
    if unknown := sorted(set(overrides) - set(values)):
        raise Refused(f"{path.name} has no variable {unknown[0]!r}: it has {', '.join(sorted(values))}")
    values |= overrides
    values |= _fill({key: value for key, value in values.items() if key != "name"}, {"name": values["name"]})
    recipe = Recipe(str(values["name"]), _fill(text.get("job", []), values), _fill(text.get("finale", {}), values))
    if not recipe.jobs:
        raise Refused(f"{path} holds no [[job]]: see jobs/recipes/demo.toml for what a recipe looks like")
    for job in recipe.jobs:
        if unknown := sorted(set(job) - JOB_KEYS) or sorted({"name", "kind"} - set(job)):
            raise Refused(
                f"{path.name}: a [[job]] takes {', '.join(sorted(JOB_KEYS))}; look at {unknown[0]!r} in {job}"
            )
    return recipe


def plan(db: sqlite3.Connection, home: Home, recipe: Recipe, *, base: Path, now: float) -> list[int]:
    """Queue what is not queued yet, all or nothing. The ids of the recipe's jobs, in its order.

    A job's key holds its args and those of all it needs: an edited recipe makes new jobs from the edit on.
    base: what relative input paths are relative to.
    """
    ids: dict[str, int] = {}
    digests: dict[str, str] = {}
    with transaction(db):
        for entry in recipe.jobs:
            name = entry["name"]
            new = _new_job(recipe, entry, home, base, ids, digests)
            ids[name] = queue.add(db, new, now=now)
    return list(ids.values())


def _new_job(
    recipe: Recipe, entry: dict[str, Any], home: Home, base: Path, ids: dict[str, int], digests: dict[str, str]
) -> NewJob:
    name, kind, after = entry["name"], entry["kind"], entry.get("after", [])
    if missing := [needed for needed in after if needed not in ids]:
        raise Refused(f"recipe {recipe.name}: {name} comes after {missing[0]!r}, which is not above it")
    try:
        args = jobs.kind.parse(kind, entry.get("args", {}), cwd=base)
        jobs.kind.check(kind, args, home.path)
        lane = entry.get("lane", jobs.kind.lane(kind))
        preemptible = jobs.kind.is_preemptible(kind, args)
    except BadArgs as error:
        raise Refused(f"recipe {recipe.name}, job {name}: {error}") from error
    said = jobs.kind.as_given(args)
    told = json.dumps([kind, said, [digests[needed] for needed in after]], sort_keys=True)
    digests[name] = hashlib.sha256(told.encode()).hexdigest()[:12]
    return NewJob(
        kind=kind, args=said, lane=lane, name=name, priority=int(entry.get("priority", 0)), preemptible=preemptible,
        after=[ids[needed] for needed in after], max_failures=int(entry.get("max_failures", queue.MAX_FAILURES)),
        key=f"{recipe.name}/{name}/{digests[name]}", available_at=0.0,
    )  # fmt: skip


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
