"""Which capitalised words name a person and which a place: word lists, and what the corpus itself shows.

Precision before recall: a name that is neither surely a person nor surely a place stays unused.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from datagen import words

TITLES = frozenset(words.TITLES)
WEAK_TITLES = frozenset(words.WEAK_TITLES)
GIVEN_NAMES = frozenset(words.GIVEN_NAMES)
PLACES = frozenset(place.strip() for place in words.PLACES)
PLACE_HEADS = frozenset(words.PLACE_HEADS)
PLACE_STARTS = frozenset(words.PLACE_STARTS)
NOT_PLACES = frozenset(words.NOT_PLACES + words.MONTHS)
NOT_PEOPLE = NOT_PLACES | PLACE_HEADS | frozenset(words.NOT_PEOPLE)
LOWER_FIRST = frozenset(words.FUNCTION_WORDS)

CAPITAL = r"[A-ZÀ-ÖØ-ÞŁŚŻŠŽ][\wÀ-ÿ’'-]*"
_NAME_PART = rf"(?:[A-Z]\.|{CAPITAL}|von dem|von der|von|van der|van|de la|de|der|du|da|di|al|bin|ibn|zu)"
SPAN = re.compile(rf"{CAPITAL}(?:,? Jr\.)?(?: (?:of |the )?{CAPITAL}| [A-Z]\.)*")
PLACE_AFTER = re.compile(rf"(?<=[a-z,] )(?:in|at|near|outside) ({CAPITAL}(?: {CAPITAL}){{0,2}})")
# What may follow a place that stands as a place: not "in German hands", not "in London-based".
_GOES_ON = (
    "and or on in to from with was were had by during after before between as where when for until at while but near "
    "is who which that"
).replace(" ", "|")
ENDS = re.compile(rf"(?:$|[,.;:)]| (?:{_GOES_ON})\b)")
PERSON = re.compile(rf"{CAPITAL}(?: {_NAME_PART})*(?: {CAPITAL})")
WORD = re.compile(r"[A-Za-zÀ-ÿ][\wÀ-ÿ’'-]*")
MAX_COUNTED = 200_000  # distinct words or spans; past it the rarest are forgotten, so memory is bounded


@dataclass(frozen=True)
class Gazetteer:
    """What one corpus shows about names. places: seen where only a place stands. common: words that are no names."""

    places: frozenset[str] = PLACES
    common: frozenset[str] = LOWER_FIRST

    def is_place(self, name: str) -> bool:
        name = name.removeprefix("the ").removeprefix("The ")
        words = name.split()
        if not words or (set(words) & NOT_PLACES - {"Air", "New", "Middle", "Day", "Part"} and name not in PLACES):
            return False
        headed = len(words) > 1 and (words[-1] in PLACE_HEADS or words[0] in PLACE_STARTS)
        return name in self.places or headed

    def lower_first(self, clause: str) -> str:
        """'The army marched' -> 'the army marched'; a clause that starts with a name stays as it is."""
        word = WORD.match(clause)
        if word and word[0].lower() in self.common and word[0] not in PLACES | TITLES:
            return clause[0].lower() + clause[1:]
        return clause


@dataclass
class Census:
    """Counts of one pass over a corpus, from which the gazetteer is drawn."""

    spans: Counter[str] = field(default_factory=Counter)
    as_place: Counter[str] = field(default_factory=Counter)
    lower: Counter[str] = field(default_factory=Counter)
    upper: Counter[str] = field(default_factory=Counter)

    def add(self, sentence: str) -> None:
        """Count one sentence. Its first word is capital whatever it is, so it says nothing about names."""
        self.spans.update(SPAN.findall(sentence, 1))
        for match in PLACE_AFTER.finditer(sentence):
            if ENDS.match(sentence, match.end()):
                self.as_place[match[1]] += 1
        for word in WORD.findall(sentence, 1):
            (self.upper if word[0].isupper() else self.lower)[word.lower()] += 1
        for counter in (self.spans, self.as_place, self.lower, self.upper):
            _bound(counter)

    def gazetteer(self) -> Gazetteer:
        places = {
            name
            for name, times in self.as_place.items()
            if times >= 2
            and 2 * times >= self.spans[name]
            and not set(name.split()) & (NOT_PLACES | TITLES)
            and name.split()[0] not in GIVEN_NAMES
        }
        common = {word for word, times in self.lower.items() if times > 2 * self.upper[word]}
        return Gazetteer(frozenset(PLACES | places), frozenset(LOWER_FIRST | common))


def _bound(counter: Counter[str]) -> None:
    """Keep the half that was seen most; ties by name, so the same corpus always forgets the same words."""
    if len(counter) > MAX_COUNTED:
        kept = sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))[: MAX_COUNTED // 2]
        counter.clear()
        counter.update(dict(kept))


def census(sentences: Iterable[str]) -> Gazetteer:
    """The gazetteer of a corpus, in one pass over its sentences."""
    counts = Census()
    for sentence in sentences:
        counts.add(sentence)
    return counts.gazetteer()


def is_person(words: list[str]) -> bool:
    """Do these words, without a title, name one person for sure? A known given name and a family name."""
    return len(words) >= 2 and words[0] in GIVEN_NAMES and not set(words) & NOT_PEOPLE and not _is_mark(words)


def _is_mark(words: list[str]) -> bool:
    """'Mark IV' is a tank; 'Elizabeth II' is a queen."""
    return words[0] == "Mark" and re.fullmatch("[IVX]+", words[-1]) is not None
