"""The prompts: what is asked about a snippet. One file is one prompt; adding one touches no other file.

A prompt's module holds
    VERSION     raise it when what it makes changes: its items, and no others, are done again
    make(work)  groups of drafts for one snippet; a group is accepted or rejected as a whole
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datagen.facts import Fact, Refusal
from datagen.phrasings import Choice
from datagen.pools import Pools
from datagen.records import Role


class Draft(NamedTuple):
    """One candidate record, before the guards. source: the sentence it comes from."""

    fact: str
    phrasing: str
    role: Role
    question: str
    answer: str
    source: str
    alternatives: tuple[str, ...] = ()


class Dropped(NamedTuple):
    """What a prompt gave up before it had a pair. phase: extract (no fact) or phrase (no words for it)."""

    phase: str
    reason: str
    question: str
    answer: str = ""


Group = tuple[Draft, ...]


@dataclass(frozen=True)
class Work:
    """One snippet and all that a prompt may know about it.

    facts: of the sentences that no earlier snippet holds, so that overlapping snippets ask nothing twice.
    """

    title: str
    snippet: str
    article: str
    facts: tuple[Fact, ...]
    refusals: tuple[Refusal, ...]
    pools: Pools
    choice: Choice = field(default_factory=Choice)


def names() -> list[str]:
    """Every prompt there is."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def load(name: str) -> Any:
    """A prompt's module by its name."""
    return importlib.import_module(f"datagen.families.{name}")


def dropped(work: Work) -> Iterator[Dropped]:
    """What the extraction refused in this snippet, as every family on facts reports it."""
    for refusal in work.refusals:
        yield Dropped("extract", refusal.reason, refusal.text, refusal.value)
