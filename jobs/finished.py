"""What a job makes under a name of its user's: one place, one name, and never made anew over what is finished."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datagen import files
from jobs.contract import BadArgs, HomePath, inside


def check_place(out: HomePath, place: str, what: str) -> None:
    """Raises BadArgs when out is not PLACE/NAME."""
    if Path(out).parts[:-1] != (place,):
        raise BadArgs(f"out={str(out)!r} is no place for a {what}: take {place}/ and a name")


def check_unchanged(args: Any, home: Path) -> None:
    """Raises BadArgs when args.out is finished already and was made with other args: it would be changed."""
    folder = inside(home, args.out)
    if not files.is_complete(folder):
        return
    config = files.read_manifest(folder).get("config", {})
    asked = json.loads(json.dumps(asdict(args)))
    if changed := [f"{name}={value!r}" for name, value in config.items() if asked.get(name) != value]:
        raise BadArgs(f"{args.out} is there already, made with {', '.join(changed)}: give another name as out")
