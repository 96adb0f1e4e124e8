"""A kind by its name: its module, its Args made of what the user gave, and the sentence when they are wrong.

A kind is one module in jobs/kinds/, light to import (heavy imports sit inside `run`). It holds
    Args     a frozen dataclass: field types are int, float, bool, str, InputPath, HomePath, a tuple of one of these,
             or one of these `| None` or `| Literal["a word"]`; __post_init__ may raise BadArgs
    LANE     "gpu" or "cpu"
    run(args, job, prepared) -> None
and, where it helps,
    preemptible(args) -> bool        whether a higher priority may interrupt it; where there is none, it may
    WARM = ("torch", ...)            imported in standby
    check(args, home) -> None        what only the disk can tell, at `jobctl add`: raises BadArgs
    content(args) -> str             digest of what it reads from outside the home: a recipe planned again looks at it
    prepare(args, job) -> object     in standby, without the GPU; its result is run's `prepared`
    argv(args) -> Program            instead of run: another program is the child
"""

import dataclasses
import functools
import importlib
import inspect
import math
import os
import pkgutil
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs.kinds
from jobs.contract import BadArgs, HomePath, InputPath, inside

SCALARS = (str, int, float, bool, InputPath, HomePath)
COMMENT = re.compile(r"^    (\w+): [^#\n]*# *(.+)$", re.MULTILINE)  # of a field: (its name, the words)
UNIONS = (types.UnionType, typing.Union)  # int | None is the first, int | Literal["auto"] the second


@dataclass(frozen=True)
class Program:
    """Another program as a child: its own argv, no shell."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]


def names() -> list[str]:
    """Every kind there is."""
    return sorted(module.name for module in pkgutil.iter_modules(jobs.kinds.__path__))


@functools.cache
def load(kind: str) -> Any:
    """The kind's module. Raises BadArgs for a name that is not one, and for a file that can't be imported."""
    if kind not in names():
        raise BadArgs(f"there is no kind {kind!r}: take one of {', '.join(names())}")
    try:
        return importlib.import_module(f"jobs.kinds.{kind}")
    except Exception as error:  # whatever its code raises: one that is being written must not end jobd
        raise BadArgs(f"the kind {kind!r} can't be loaded ({type(error).__name__}: {error}): mend its file") from error


def lane(kind: str) -> str:
    """The lane a kind runs on unless told otherwise."""
    return str(load(kind).LANE)


def parse(kind: str, given: Mapping[str, Any], *, cwd: Path | None = None) -> Any:
    """The kind's Args from what the user gave: JSON values, or text as in --set key=value.

    cwd: what a relative InputPath is relative to. Raises BadArgs with the fields there are.
    """
    fields, hints = _fields(kind)
    if unknown := [key for key in given if key not in fields]:
        raise BadArgs(f"{kind} has no setting {', '.join(map(repr, unknown))}: it takes {describe(kind)}")
    values = {key: _convert(kind, key, value, hints[key], cwd) for key, value in given.items()}
    missing = [name for name, field in fields.items() if _required(field) and name not in values]
    if missing:
        raise BadArgs(f"{kind} needs {', '.join(missing)}: give it with --set {missing[0]}=...")
    return load(kind).Args(**values)


@functools.cache
def _fields(kind: str) -> "tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]":
    """The fields of a kind's Args, and the types they hold. Asked a million times for a file of a million jobs."""
    args_class = load(kind).Args
    return {field.name: field for field in dataclasses.fields(args_class)}, typing.get_type_hints(args_class)


def as_given(args: Any) -> dict[str, Any]:
    """Args as the queue keeps them: plain JSON that `parse` makes the same Args of, whatever the working directory."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(args).items()}


def check(kind: str, args: Any, home: Path) -> None:
    """What only the disk can tell. Raises BadArgs."""
    probe = getattr(load(kind), "check", None)
    if probe is not None:
        probe(args, home)


def is_preemptible(kind: str, args: Any) -> bool:
    """Whether a higher priority may interrupt it: a kind that says nothing saves and resumes, so it may."""
    says = getattr(load(kind), "preemptible", None)
    return True if says is None else bool(says(args))


@dataclass(frozen=True)
class Setting:
    """What `--set` may give a kind. takes, words: for a person; words are the comment behind it in the kind's file."""

    name: str
    takes: str
    needed: bool
    default: Any  # None, too, where it is needed
    words: str


def settings(kind: str) -> list[Setting]:
    """A kind's settings, in its file's order."""
    args = load(kind).Args
    hints, words = typing.get_type_hints(args), dict(COMMENT.findall(inspect.getsource(args)))
    return [
        Setting(field.name, _say(hints[field.name]), needed := _required(field), None if needed else _default(field),
                words.get(field.name, ""))
        for field in dataclasses.fields(args)
    ]  # fmt: skip


def describe(kind: str) -> str:
    """'steps=2000, pack (needed)': a kind's settings with their defaults, for a sentence."""
    return (
        ", ".join(
            f"{field.name} (needed)" if _required(field) else f"{field.name}={_default(field)!r}"
            for field in dataclasses.fields(load(kind).Args)
        )
        or "no settings"
    )


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(kind: str, key: str, value: Any, hint: Any, cwd: Path | None) -> Any:
    try:
        return _as(hint, value, cwd)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadArgs(f"{kind}: {key}={value!r} does not fit: it takes {_say(hint)}") from error


def _as(hint: Any, value: Any, cwd: Path | None) -> Any:
    """value as a hint's type; ValueError when it can't be one."""
    if typing.get_origin(hint) in UNIONS:
        known = _words(hint)
        if value in known or (value is None and "none" in known):
            return None if value in (None, "none") else value
        [hint] = [part for part in typing.get_args(hint) if _is_type(part)]
    if typing.get_origin(hint) is tuple:
        parts = value.split(",") if isinstance(value, str) and value else value
        return tuple(_as(typing.get_args(hint)[0], part, cwd) for part in parts)
    if typing.get_origin(hint) is dict:
        return {str(k): str(v) for k, v in dict(value).items()}
    if hint is bool:
        words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
        return value if isinstance(value, bool) else words[str(value).lower()]
    if hint is int and (isinstance(value, bool) or float(value) != int(float(value))):
        raise ValueError(value)
    if hint is int and isinstance(value, str):
        return int(float(value)) if "e" in value.lower() else int(value)
    if hint in (InputPath, HomePath) or hint is str:
        if not isinstance(value, str):
            raise ValueError(value)
        if hint is InputPath:
            return InputPath(os.path.normpath((cwd or Path.cwd()) / os.path.expanduser(value)))
        if hint is HomePath:
            inside(Path("/"), value)
        return hint(value)
    if hint not in SCALARS:
        raise TypeError(f"a kind's Args can't hold {hint}")
    if hint is float and not math.isfinite(float(value)):
        raise ValueError(value)  # nan would pass every check, and JSON can't hold it
    return hint(value)


def _is_type(part: Any) -> bool:
    """Whether this part of a union is a type, not words: those of a Literal, or none."""
    return part is not type(None) and typing.get_origin(part) is not typing.Literal


def _words(hint: Any) -> list[str]:
    parts = typing.get_args(hint)
    literals = [word for part in parts if typing.get_origin(part) is typing.Literal for word in typing.get_args(part)]
    return literals + (["none"] if type(None) in parts else [])


def _say(hint: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if typing.get_origin(hint) is dict:
        return "names and their texts"
    if typing.get_origin(hint) is tuple:
        return f"a list of {_say(typing.get_args(hint)[0]).removeprefix('a ')}s, with commas between"
    if typing.get_origin(hint) in UNIONS:
        return " or ".join([*(_say(part) for part in typing.get_args(hint) if _is_type(part)), *_words(hint)])
    return plain.get(hint, "a path")
