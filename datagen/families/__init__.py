"""The prompts: what is asked about a snippet. One file is one prompt; adding one touches no other file.

A prompt's module holds
    VERSION     raise it when what it makes changes: its items, and no others, are done again
    make(work)  groups of drafts for one snippet; a group is accepted or rejected as a whole
"""

import functools
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from datagen.facts import Fact, Refusal
from datagen.phrasings import Choice, phrased
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


class Wording(NamedTuple):
    """A fact to be asked in these words, and values of its form that are wrong."""

    fact: Fact
    id: str
    role: Role
    wrong: tuple[str, ...]


def with_wrong(
    work: Work, facts: Iterable[Fact], family: str, phrasings: Mapping[str, str], num: int
) -> Iterator[Wording | Dropped]:
    """Each fact in each of its words with num wrong values; where the corpus has none, the fact is given up.

    So is a bound ("more than 200") that is asked in its sentence: a wrong value would be right there as well.
    """
    for fact in facts:
        if fact.is_bound and fact.shape is None:
            yield bound(fact)
            continue
        for id, role in phrased(fact.key, family, phrasings, work.choice).items():
            wrong = work.pools.some_wrong(fact, work.article, num, work.choice.seed, fact.key, family, id)
            if wrong is None:
                many = f"{num} wrong {fact.kind}s" if num > 1 else f"wrong {fact.kind}"
                yield Dropped("phrase", f"the corpus has no {many} of this form", fact.sentence, fact.value)
                break
            yield Wording(fact, id, role, tuple(wrong))


def bound(fact: Fact) -> Dropped:
    """What is said of a fact that has no wrong value."""
    return Dropped("phrase", "its value is a bound: another one would be true too", fact.sentence, fact.value)


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
