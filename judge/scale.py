"""One question's measure: what in an answer counts as said, as denied, as the same as the reference, as against it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from datagen.records import Question
from judge.facts import Date, Fact, Number, extract
from judge.names import QUALIFIERS, SORTS, TITLES, Name, same_name
from judge.words import fold, holds_run, words

Known = Mapping[str, Sequence[Name]]  # names by each of their words

FEW_WORDS = 4  # of an answer without capitals that may all be one name

NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|false|wrong|incorrect|untrue|except|unlikely|rather than|instead of"
    r"|other than|far from|no(?!\.? ?\d))\b(?! (?:until|only|fewer|less|more|later|earlier|before|just|longer)\b)"
    r"|n't\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:.!?]|\b(?:but|and not|rather than|instead of)\b", re.IGNORECASE)


@dataclass
class Scale:
    """One question's measure: what counts as the same, as allowed, as a rival."""

    question: Question
    needed: list[Fact]
    known: Known

    def __post_init__(self) -> None:
        self.asked = extract(self.question.question) + extract(self.question.article)
        self.source = extract(self.question.source)
        near = f"{self.question.source} {self.question.article}"
        if not self.question.reference.alternatives:  # a question that offers wrong names grounds nothing
            near += f" {self.question.question}"
        names = [need.value for need in self.needed if need.kind == "name"]
        held = [full for name in names for full in self.known.get(name[-1], ()) if set(name) <= set(full)]
        self.grounded = frozenset(words(near)) | {word for name in held for word in name}

    def read(self, said: str) -> tuple[list[Fact], list[Fact]]:
        """The facts an answer states, and those it denies."""
        facts = list(extract(said))
        if any(need.kind == "name" for need in self.needed) and (said.islower() or said.isupper()):
            facts = [fact for fact in facts if fact.kind != "name"] + _caseless(said, self.known)
        clauses = _clauses(said, facts)
        no = [(start, end) for start, end in clauses if self._denies(said[start:end])]
        if NEGATION.search(self.question.question):
            no = []  # asked with a negation, answered with one
        denied = [fact for fact in facts if any(start <= fact.start < end for start, end in no)]
        return [fact for fact in facts if fact not in denied], denied

    def _denies(self, clause: str) -> bool:
        """Is a clause negated, and not just a part of the source that holds a negation of its own?"""
        return bool(NEGATION.search(clause)) and not holds_run(words(self.question.source), words(clause))

    def same(self, fact: Fact, need: Fact) -> bool:
        """Does a fact of the answer say at least what the reference says?"""
        if fact.kind == "name" and need.kind == "name":
            return same_name(fact.value, need.value, self.grounded)
        if fact.kind == "date" and need.kind == "date":
            return _covers(fact.value, need.value, [f.value for f in (*self.asked, *self.source) if f.kind == "date"])
        if fact.kind == "number" and need.kind == "number":
            return _same_number(fact.value, need.value)
        if {fact.kind, need.kind} == {"date", "number"}:  # 1500 alone may be a year or a number
            date, number = (fact, need) if fact.kind == "date" else (need, fact)
            alone: bool = date.value.said() == {"year": number.value.value}
            return alone and number.value.unit is None
        alike: bool = fact.value == need.value
        return alike and fact.kind == need.kind

    def holds(self, stated: list[Fact], need: Fact, said: str) -> bool:
        """Is a needed fact said: by one fact, by several parts of a date, or by a name's words without capitals?"""
        if any(self.same(fact, need) for fact in stated):
            return True
        if need.kind == "date":
            asked = [fact for fact in self.asked if fact.kind == "date" and not fact.value.day]
            parts = [f.value for f in stated if f.kind == "date" and within(f.value, need.value)]
            parts += [f.value for f in asked if parts and within(f.value, need.value)]
            merged = {key for part in parts for key in part.said()}
            return set(need.value.said()) <= merged
        if need.kind == "name" and not any(fact.kind == "name" and not fact.weak for fact in stated):
            return holds_run(words(said), need.value) and not NEGATION.search(said)
        return False

    def rivals(self, stated: list[Fact]) -> list[str]:
        """What the answer states of the reference's kinds that is neither in the reference nor in the question."""
        kinds = {need.kind for need in self.needed}
        others = [fact for fact in stated if fact.kind in kinds and not fact.weak]
        return [
            fact.text for fact in others if not any(self._agrees(fact, known) for known in (*self.needed, *self.asked))
        ]

    def _agrees(self, fact: Fact, known: Fact) -> bool:
        if fact.kind == "date" and known.kind == "date":
            return self.same(fact, known) or within(fact.value, known.value)
        return self.same(fact, known) or (fact.kind == "name" == known.kind and set(fact.value) <= set(known.value))

    def options(self, wrong: tuple[str, ...], needed: list[Fact], stated: list[Fact]) -> list[str]:
        """The wrong options that the answer states, unless it means the right one by them."""
        return [option for option in wrong if self._states(option, needed, stated)]

    def _states(self, option: str, needed: list[Fact], stated: list[Fact]) -> bool:
        facts = [f for f in extract(option) if not any(self.same(need, f) and self.same(f, need) for need in needed)]
        apart = [fact for fact in stated if not any(fact.value == need.value for need in needed)]
        return bool(facts) and all(any(self.same(said, fact) for said in apart) for fact in facts)


def within(less: Date, more: Date) -> bool:
    """Does everything the first date says stand in the second?"""
    return less.said().items() <= more.said().items()


def _covers(said: Date, need: Date, grounds: list[Date]) -> bool:
    """Does a date say all that is needed, and nothing more that is not grounded?"""
    if not within(need, said):
        return False
    return said == need or any(within(said, ground) for ground in grounds)


def _same_number(said: Number, need: Number) -> bool:
    return said.value == need.value and (said.unit == need.unit or None in (said.unit, need.unit))


def _caseless(said: str, known: Known) -> list[Fact]:
    """The names in a text without capitals, or of nothing else: those that are known; a few words may all be one."""
    spoken = words(said)
    found = {name for word in set(spoken) for name in known.get(word, ()) if holds_run(spoken, name)}
    longest = [name for name in found if not any(name != other and holds_run(list(other), name) for other in found)]
    if len(longest) < 2 and len(spoken) <= FEW_WORDS and len(said.title()) == len(said):
        few = [fact for fact in extract(said.title()) if fact.kind == "name"]
        return [replace(fact, text=said[fact.start : fact.end]) for fact in few]
    return [Fact("name", name, " ".join(name), _place(said, name), len(said)) for name in sorted(longest)]


def is_vague(name: Name) -> bool:
    return all(word in SORTS or word in QUALIFIERS or word in TITLES for word in name)


def _place(said: str, name: Name) -> int:
    return max(fold(said).find(name[0]), 0)


def _clauses(said: str, facts: list[Fact]) -> list[tuple[int, int]]:
    """The clauses of an answer. A comma inside a fact ('July 5, 1943') parts nothing."""
    cuts = [m.start() for m in _CLAUSE.finditer(said) if not any(f.start < m.start() < f.end for f in facts)]
    return list(pairwise([0, *cuts, len(said)]))
