"""What sorts of jobs there are, and what each may be told: kinds."""

import argparse
from typing import Any

from supervisor.commands.words import Register, show_json

WIDE = 40  # columns of a setting and its default; a longer one moves its own line


def kinds(told: argparse.Namespace) -> None:
    """All kinds, or one with its settings: what the kind's own file says."""
    import jobs.kind

    if told.kind is None:
        names = jobs.kind.names()
        if not show_json(told, [_facts(name) for name in names]):
            for name in names:
                print(f"{name:12} {jobs.kind.lane(name)}  {_text(name)[0]}")
            print("\n`jobctl kinds KIND` says what --set may give it")
        return
    if show_json(told, _facts(told.kind) if told.json else None):
        return
    text = "\n".join(_text(told.kind))
    print(f"{text}\n\nOn the {jobs.kind.lane(told.kind)} lane, unless told otherwise. With --set:\n")
    settings = jobs.kind.settings(told.kind)
    names = [f"{one.name}={'' if one.needed else typed(one.default)}" for one in settings]
    width = min(WIDE, max(map(len, names), default=0))
    for name, one in zip(names, settings, strict=True):
        words = f"; {one.words}" if one.words else ""
        print(f"  {name:{width}}  {one.takes}{' (needed)' if one.needed else ''}{words}")


def _facts(kind: str) -> dict[str, Any]:
    import jobs.kind

    settings = [vars(one) for one in jobs.kind.settings(kind)]
    return {"kind": kind, "lane": jobs.kind.lane(kind), "text": "\n".join(_text(kind)), "settings": settings}


def typed(value: Any) -> str:
    """A default as one would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(typed, value)) if isinstance(value, tuple) else str(value)


def _text(kind: str) -> list[str]:
    import jobs.kind

    return (jobs.kind.load(kind).__doc__ or "").strip().splitlines()


def register(command: Register) -> None:
    one = command("kinds", kinds, "what sorts of jobs there are; with a kind, what --set may give it")
    one.add_argument("kind", nargs="?")
