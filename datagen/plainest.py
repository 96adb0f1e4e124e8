"""Which facts of an article are asked about when not all are: the plainest, spread over the article."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from datagen.facts import Fact
from datagen.phrasings import draw


class Rank(NamedTuple):
    """What makes one fact come before another; smaller is sooner."""

    has_no_shape: bool  # it can be asked only as a sentence with a hole
    turn: int  # how many facts of its sentence come before it
    is_aside: bool  # its sentence does not name what the article is about
    lot: int
    key: str


def plainest(title: str, facts: Sequence[Fact], wanted: int | None, seed: int) -> set[str]:
    """The keys of at most `wanted` facts, of those given in the article's order; None: of all.

    The article's sentences are cut into as many parts as facts are wanted. The parts give in turn, each its best.
    """
    if wanted is None:
        return {fact.key for fact in facts}
    by_sentence: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_sentence[fact.sentence].append(fact)
    parts: dict[int, list[Rank]] = defaultdict(list)
    for at, of_one in enumerate(by_sentence.values()):
        parts[at * wanted // len(by_sentence)].extend(_ranked(title, of_one, seed))
    in_turn = sorted(
        (rank.has_no_shape, turn, rank) for ranks in parts.values() for turn, rank in enumerate(sorted(ranks))
    )
    return {rank.key for _, _, rank in in_turn[:wanted]}


def _ranked(title: str, facts: Iterable[Fact], seed: int) -> list[Rank]:
    """The facts of one sentence."""
    lots = sorted(((fact.shape is None, draw(seed, "fact", fact.key), fact) for fact in facts), key=lambda lot: lot[:2])
    return [
        Rank(has_no_shape, turn, not _names(title, fact.sentence), lot, fact.key)
        for turn, (has_no_shape, lot, fact) in enumerate(lots)
    ]


def _names(title: str, sentence: str) -> bool:
    """Does the sentence hold a word of the title, so that it is about the article's subject?"""
    return not set(re.findall(r"\w{4,}", title.lower())).isdisjoint(re.findall(r"\w{4,}", sentence.lower()))
