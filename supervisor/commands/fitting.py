"""Does a recipe's training fit the card? `jobctl fit RECIPE` asks before anything is queued, and trains nothing."""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from supervisor import home as homes
from supervisor.commands.words import Register, positive, settings
from supervisor.errors import Refused


def fit(told: argparse.Namespace) -> None:
    """Print, for each train job of the recipe, what every micro_batch would take and which is the largest to fit."""
    from supervisor import plan
    from supervisor import settings as all_settings

    recipe = plan.read(Path(told.recipe), settings(told.set))
    trains = [job for job in recipe.jobs if job["kind"] == "train"]
    if not trains:
        raise Refused(f"{told.recipe} holds no job of kind train: there is nothing to fit")
    if len(trains) > 1 and told.job is None:
        raise Refused(f"{told.recipe} trains more than once: say --job, one of {_names(trains)}")
    chosen = [job for job in trains if told.job in (None, job["name"])]
    if not chosen:
        raise Refused(f"{told.recipe} has no train job {told.job!r}: take one of {_names(trains)}")
    args = {name: _plain(value) for name, value in chosen[0].get("args", {}).items()}
    home = _home(told.home)
    reserve_mib = all_settings.read(home).reserve_mib if told.reserve is None else told.reserve
    words = ["--name", chosen[0]["name"], "--args", json.dumps(args), "--reserve-mib", str(reserve_mib)]
    words += ["--vocab-size", str(_size(recipe.jobs, args, "tokenizer", "vocab_size"))]
    words += ["--context-len", str(_size(recipe.jobs, args, "pack", "context_len"))]
    free_mib, card = (told.vram, None) if told.vram is not None else _card()
    words += ["--free-mib", str(free_mib), *(["--card", card] if card else []), "--home", str(home)]
    words += ["--labelled", str(told.labelled)] if told.labelled is not None else []
    words += ["--recompute"] if told.recompute else []
    os.execv(sys.executable, [sys.executable, "-P", "-m", "jobs.fit", *words, *(["--json"] if told.json else [])])


def _plain(value: Any) -> Any:
    """An arg without what is only known once it is planned: the generation, and other jobs' args."""
    return re.sub(r"\{[\w.-]+\}", "x", value) if isinstance(value, str) else value


def _names(jobs: list[dict[str, Any]]) -> str:
    return ", ".join(job["name"] for job in jobs)


def _size(jobs: list[dict[str, Any]], args: dict[str, Any], kind: str, what: str) -> int:
    """What the train job says itself, else the recipe's tokenizer or pack job, else what that kind does unasked."""
    if args.get(what) is not None:
        return int(args[what])
    import jobs.kind as kinds

    made = [job.get("args", {}) for job in jobs if job["kind"] == kind]
    if made and what in made[-1]:
        return int(made[-1][what])
    return int(kinds.load(kind).Args.__dataclass_fields__[what].default)


def _home(told: str | None) -> Path:
    """Where findings would be kept. None need be there: a recipe can be asked about anywhere."""
    return homes.find(told).path if told or "NEVERREST_HOME" in os.environ else Path.cwd()


def _card() -> tuple[int, str]:
    """(what the card has free, its name)"""
    from supervisor.card import gpu

    found = gpu.probe()
    if found.state != "healthy":
        raise Refused(
            f"no card to ask ({found.state}: {found.why}): say what yours has with --vram MIB, as --vram 16376"
        )
    return found.free_mib, found.name


def register(command: Register) -> None:
    one = command("fit", fit, "what a recipe's training takes of the card, before it runs")
    one.add_argument("recipe", help="a TOML file, as in jobs/recipes/")
    one.add_argument("--set", action="extend", nargs="+", default=[], metavar="variable=value")
    one.add_argument("--job", metavar="NAME", help="of several train jobs, this one")
    one.add_argument("--vram", type=positive, metavar="MIB", help="free memory of the card (default: ask it)")
    one.add_argument("--reserve", type=int, metavar="MIB", help="left to the desktop (default: the reserve_mib set)")
    one.add_argument("--recompute", action="store_true", help="as with recompute=true: less memory, a third more work")
    one.add_argument("--labelled", type=float, metavar="SHARE", help="of the tokens that give loss (default 0.4)")
