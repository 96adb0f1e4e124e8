"""Wrong values that look like right ones: of the same kind and form, from other places of the same corpus.

One pass over the corpus keeps, of each form, a bounded sample that its hashes alone decide. So memory is flat and the
same corpus always gives the same wrong values, in whatever order its articles come.
"""

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from datagen.facts import Fact
from datagen.features import Feature
from datagen.phrasings import draw

POOL_SIZE = 512  # values kept of each form
MAX_TRIES = 64
FAR_YEARS = 60
CONTINENTS = frozenset(("Africa", "Asia", "Europe", "America", "North America", "South America", "North Africa"))
_YEAR = re.compile(r"\d{4}")


@dataclass
class Sample:
    """The POOL_SIZE values with the smallest hashes seen so far."""

    heap: list[tuple[int, str]] = field(default_factory=list)  # the largest hash first, negated
    held: set[str] = field(default_factory=set)

    def add(self, value: str) -> None:
        if value in self.held:
            return
        entry = (-draw("pool", value), value)
        if len(self.heap) < POOL_SIZE:
            heapq.heappush(self.heap, entry)
        elif entry > self.heap[0]:
            self.held.discard(heapq.heapreplace(self.heap, entry)[1])
        else:
            return
        self.held.add(value)

    def values(self) -> tuple[str, ...]:
        """In the order of their hashes, which is no order at all to a reader."""
        return tuple(value for _, value in sorted(self.heap, reverse=True))


class Pools:
    """Wrong values by (kind, form)."""

    def __init__(self, samples: dict[tuple[str, str], Sample]) -> None:
        self._values = {key: sample.values() for key, sample in samples.items()}

    def wrong(self, fact: Fact, article: str, *parts: object) -> Iterator[str]:
        """Values that are not the fact's, each once, in an order that the parts decide.

        article: its text; a name that occurs there might be right in some other sense, so it is left out.
        """
        values = self._values.get((fact.kind, fact.form), ())
        start = draw(*parts) % max(len(values), 1)
        far = []
        for offset in range(min(len(values), MAX_TRIES)):
            value = values[(start + offset) % len(values)]
            if _may_be_right(value, fact, article):
                continue
            if _is_far(value, fact):
                far.append(value)
            else:
                yield value
        yield from far

    def some_wrong(self, fact: Fact, article: str, count: int, *parts: object) -> list[str] | None:
        """count different wrong values, or None where the corpus has too few."""
        found: list[str] = []
        for value in self.wrong(fact, article, *parts):
            found.append(value)
            if len(found) == count:
                return found
        return None


def _is_far(value: str, fact: Fact) -> bool:
    """Is it a year so far off that anybody would see it is wrong? Such come last."""
    if fact.kind != "date":
        return False
    one, other = _YEAR.search(value), _YEAR.search(fact.value)
    return one is not None and other is not None and abs(int(one[0]) - int(other[0])) > FAR_YEARS


def _may_be_right(value: str, fact: Fact, article: str) -> bool:
    if value.lower() == fact.value.lower() or value in fact.value or fact.value in value or value in fact.sentence:
        return True
    if value in CONTINENTS and fact.value not in CONTINENTS:  # who was in Sedan was in Europe
        return True
    if fact.kind in ("person", "place"):
        return value in article or any(word in fact.title for word in re.findall(r"\w{4,}", value))
    return False


def add_features(samples: dict[tuple[str, str], Sample], features: list[Feature]) -> None:
    """Put the values of one sentence where wrong ones are drawn from."""
    for feature in features:
        samples.setdefault((feature.kind, feature.form), Sample()).add(feature.text)
