"""The reference judge: does an answer hold what the reference holds, and nothing that contradicts it? By rules alone.

    empty, the question again, a recital ──► FAIL
    true_false       the answer's true or false is the reference's
    multiple_choice  the answer's letter, and its value when it gives one, are the reference's
    the others       every date, time, number and name of the reference is said, and no other one of the same kind
                     that the question did not hold; none of the wrong options is said

What stands in a negated clause ("not 4 July but 5 July") is not said; a reference that stands in one is denied.
It is strict: a true fact that neither the reference nor the question holds counts as a contradiction when it is of the
same kind. It does not know synonyms, or whether a number counts ships or men: it reads what can be read exactly.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from datagen.records import Question
from judge.facts import Date, Fact, Number, extract
from judge.names import QUALIFIERS, SORTS, TITLES, Name, same_name
from judge.verdicts import Ruling
from judge.words import content, fold, holds_run, spaced, tidy, words

VERSION = 1
MADE_OF = ("reference.py", "facts.py", "names.py", "words.py")  # what its rulings depend on
RECITAL_WORDS = 5  # told besides what was asked and answered, in a source given back word for word
LONGEST_WORDS = 40  # of an answer, beside four times the reference's

_NEGATION = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|false|wrong|incorrect|untrue|except|unlikely|rather than|instead of"
    r"|other than|far from|no(?!\.? ?\d))\b(?! (?:until|only|fewer|less|more|later|earlier|before|just|longer)\b)"
    r"|n't\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:.!?]|\b(?:but|and not|rather than|instead of)\b", re.IGNORECASE)
_TRUE = frozenset(spaced("true yes correct right accurate"))
_FALSE = frozenset(spaced("false incorrect wrong untrue inaccurate"))
_NOT = frozenset(spaced("not never isn't wasn't aren't doesn't hardly neither"))
_OPTION = re.compile(r"\s*\(?([A-H])[.):]\s*(?=\S)(.*)", re.DOTALL)
_LETTER = re.compile(
    r"(?:^|(?<=[\s(,]))([A-H])(?=[.):,](?:\s|$)|\)|$)|\b(?:answer|option|choice|letter)(?: is)?:? \(?([A-Ha-h])\b"
    r"|^\W*([A-Ha-h])(?:\W*$|(?=[.):] ))|\b([A-H])(?= (?:and|or) [A-H]\b)|(?:and|or) ([A-H])\b(?! \w)"
)


def fail(explanation: str) -> Ruling:
    return Ruling(False, explanation)


Known = Mapping[str, Sequence[Name]]


@dataclass
class ReferenceJudge:
    """Rules on one answer at a time; the same question and answer give the same ruling, in any order.

    known: names that the questions' references hold, by each of their words, so that a name is seen in an answer
    written without capitals.
    """

    known: Known = field(default_factory=dict)

    @classmethod
    def of(cls, questions: Iterable[Question]) -> "ReferenceJudge":
        texts = {t for q in questions for t in (q.article, q.reference.answer, *q.reference.alternatives)}
        names = {fact.value for text in texts for fact in extract(text) if fact.kind == "name"}
        known: dict[str, list[Name]] = {}
        for name in sorted(name for name in names if len(name[-1]) > 3 and not _vague(name)):
            for word in set(name):
                known.setdefault(word, []).append(name)
        return cls(known)

    def identity(self) -> dict[str, Any]:
        """Which judge this is: verdicts of two identities are never compared."""
        source = b"".join((Path(__file__).parent / name).read_bytes() for name in MADE_OF)
        return {"name": "reference", "version": VERSION, "sha256": hashlib.sha256(source).hexdigest()}

    def rule(self, question: Question, answer: str) -> Ruling:
        """PASS or FAIL for an answer. A reference without a word or number is the caller's mistake."""
        asked = tidy(question.question)
        said = _without_echo(tidy(answer), asked)
        if not words(said):
            return fail("repeats the question and adds nothing" if words(answer) else "is empty: no letter, no digit")
        if refusal := _too_much(question, said):
            return fail(refusal)
        if question.family == "true_false":
            return _rule_true_false(question, said)
        if question.family == "multiple_choice":
            return self._rule_choice(question, said)
        return self._weigh(question, question.reference.answer, question.reference.alternatives, said)

    def _rule_choice(self, question: Question, said: str) -> Ruling:
        right, value = _option(question.reference.answer)
        wrong = tuple(_option(option)[1] for option in question.reference.alternatives)
        letters, rest = _letters(said, (value, *wrong))
        chosen = " and ".join(sorted(letters))
        if right and letters and letters != {right}:
            return fail(f"chooses {chosen} where {right} is right")
        if letters and _NEGATION.search(rest):
            return fail(f"denies {chosen}")
        if letters and right and not content(rest):
            return Ruling(True, f"chooses {right}, which is right")
        ruling = self._weigh(question, value, wrong, rest)
        chose = f"chooses {right}, " + ("and " if ruling.passed else "but ") if letters else ""
        return Ruling(ruling.passed, chose + ruling.explanation)

    def _weigh(self, question: Question, reference: str, wrong: tuple[str, ...], said: str) -> Ruling:
        """Does `said` hold the reference's facts, and none against them?"""
        needed = list(extract(reference))
        if not needed:
            return _weigh_words(question, reference, wrong, said)
        scale = _Scale(question, needed, self.known)
        stated, denied = scale.read(said)
        shown = _listed(fact.text for fact in needed)
        if any(scale.same(fact, need) for need in needed for fact in denied if fact.kind == need.kind):
            return fail(f"denies {shown}")
        rivals = scale.rivals(stated) + scale.options(wrong, needed, stated)
        for need in needed:
            if not scale.holds(stated, need, said):
                return fail(_what_instead(need, rivals, stated, scale))
        if rivals:
            return fail(f"holds {shown}, but also says {rivals[0]}")
        return Ruling(True, f"holds {shown}; nothing contradicts it")


@dataclass
class _Scale:
    """One question's measure: what counts as the same, as allowed, as a rival."""

    question: Question
    needed: list[Fact]
    known: Known

    def __post_init__(self) -> None:
        self.asked = extract(self.question.question) + extract(self.question.article)
        self.source = extract(self.question.source)
        near = f"{self.question.source} {self.question.question} {self.question.article}"
        names = [need.value for need in self.needed if need.kind == "name"]
        held = [full for name in names for full in self.known.get(name[-1], ()) if set(name) <= set(full)]
        self.grounded = frozenset(words(near)) | {word for name in held for word in name}

    def read(self, said: str) -> tuple[list[Fact], list[Fact]]:
        """The facts an answer states, and those it denies."""
        facts = list(extract(said))
        if any(need.kind == "name" for need in self.needed) and (said.islower() or said.isupper()):
            facts = [fact for fact in facts if fact.kind != "name"] + _caseless(said, self.known)
        clauses = _clauses(said, facts)
        no = [(start, end) for start, end in clauses if _NEGATION.search(said[start:end])]
        if _NEGATION.search(self.question.question):
            no = []  # asked with a negation, answered with one
        denied = [fact for fact in facts if any(start <= fact.start < end for start, end in no)]
        return [fact for fact in facts if fact not in denied], denied

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
            parts = [f.value for f in stated if f.kind == "date" and _within(f.value, need.value)]
            parts += [f.value for f in asked if parts and _within(f.value, need.value)]
            merged = {key for part in parts for key in part.said()}
            return set(need.value.said()) <= merged
        if need.kind == "name" and not any(fact.kind == "name" and not fact.weak for fact in stated):
            return holds_run(words(said), need.value) and not _NEGATION.search(said)
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
            return self.same(fact, known) or _within(fact.value, known.value)
        return self.same(fact, known) or (fact.kind == "name" == known.kind and set(fact.value) <= set(known.value))

    def options(self, wrong: tuple[str, ...], needed: list[Fact], stated: list[Fact]) -> list[str]:
        """The wrong options that the answer states, unless it means the right one by them."""
        return [option for option in wrong if self._states(option, needed, stated)]

    def _states(self, option: str, needed: list[Fact], stated: list[Fact]) -> bool:
        facts = [f for f in extract(option) if not any(self.same(need, f) and self.same(f, need) for need in needed)]
        apart = [fact for fact in stated if not any(fact.value == need.value for need in needed)]
        return bool(facts) and all(any(self.same(said, fact) for said in apart) for fact in facts)


def _rule_true_false(question: Question, said: str) -> Ruling:
    meant = _polarity(question.reference.answer)
    says = _polarity(said)
    if said.rstrip(" \"'").endswith("?"):
        return fail("asks back instead of answering")
    if len(says) != 1:
        return fail("says both true and false" if says else "says neither true nor false")
    if says != meant:
        return fail(f"says {_spoken(says)} where the statement is {_spoken(meant)}")
    return Ruling(True, f"says {_spoken(says)}, as the reference does")


def _polarity(text: str) -> set[bool]:
    """What a text says of a statement: {True}, {False}, both or nothing."""
    found: set[bool] = set()
    spoken = words(text)
    if spoken in (["t"], ["f"]):
        return {spoken == ["t"]}
    for i, word in enumerate(spoken):
        turned = bool(_NOT & set(spoken[max(0, i - 2) : i]))
        if word in _TRUE or word in _FALSE:
            found.add((word in _TRUE) != turned)
        elif word == "no" and i == 0:
            found.add(False)
    return found


def _spoken(polarity: set[bool]) -> str:
    return "true" if polarity == {True} else "false"


def _option(text: str) -> tuple[str | None, str]:
    """('B', '5 July 1943') of 'B. 5 July 1943'; no letter when there is none."""
    match = _OPTION.fullmatch(text)
    return (match[1], match[2]) if match else (None, text)


def _letters(said: str, values: Iterable[str]) -> tuple[set[str], str]:
    """The letters an answer chooses, and the answer without them. A D. inside an option's value is no letter."""
    hidden = said
    for value in sorted(filter(None, values), key=len, reverse=True):
        hidden = re.sub(re.escape(value), lambda match: "_" * len(match[0]), hidden, flags=re.IGNORECASE)
    marks = list(_LETTER.finditer(hidden))
    rest = said
    for mark in reversed(marks):
        rest = rest[: mark.start()] + " " * (mark.end() - mark.start()) + rest[mark.end() :]
    rest = rest.strip(" .:()")
    return {next(filter(None, mark.groups())).upper() for mark in marks}, rest


def _without_echo(said: str, asked: str) -> str:
    """The answer without the question it begins with."""
    spoken, question = words(said), words(asked)
    if question and spoken == question:
        return ""
    return said[len(asked) :].strip() if fold(said).startswith(fold(asked)) else said


def _too_much(question: Question, said: str) -> str | None:
    """The sentence that refuses an answer which tells instead of answering, or None."""
    spoken, source = words(said), words(question.source)
    told = set(content(question.source)) - set(content(question.question)) - set(content(question.reference.answer))
    if holds_run(spoken, source) and len(told) >= RECITAL_WORDS:
        return "recites the source instead of answering"
    longest = LONGEST_WORDS + 4 * len(words(question.reference.answer))
    return f"goes on for {len(spoken)} words where {longest} are plenty" if len(spoken) > longest else None


def _weigh_words(question: Question, reference: str, wrong: tuple[str, ...], said: str) -> Ruling:
    """For a reference without date, number or name: its words are said, and no wrong option is."""
    spoken = {_stem(word) for word in words(said)}
    needed = [word for word in content(reference) or words(reference) if _stem(word) not in spoken]
    others = [
        option for option in wrong if {_stem(w) for w in content(option)} - {_stem(w) for w in content(reference)}
    ]
    stated = [option for option in others if {_stem(word) for word in content(option)} <= spoken]
    if _NEGATION.search(said) and not _NEGATION.search(question.question + reference):
        return fail(f"denies {reference}" if not needed else f"does not say {reference}")
    if needed:
        return fail(f"says {stated[0]} where the reference has {reference}" if stated else f"does not say {reference}")
    if stated:
        return fail(f"holds {reference}, but also says {stated[0]}")
    return Ruling(True, f"holds {reference}; nothing contradicts it")


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _what_instead(need: Fact, rivals: list[str], stated: list[Fact], scale: _Scale) -> str:
    """Why a needed fact is missing: another one stands there, or a vaguer one, or nothing."""
    if rivals:
        return f"says {rivals[0]} where the reference has {need.text}"
    if need.kind == "date":
        vague = [f.text for f in stated if f.kind == "date" and _within(f.value, need.value)]
        if vague:
            return f"says {vague[0]}, which is less exact than {need.text}"
    other = [fact.text for fact in stated if fact.kind == need.kind]
    return f"says {other[0]} where the reference has {need.text}" if other else f"does not say {need.text}"


def _within(less: Date, more: Date) -> bool:
    """Does everything the first date says stand in the second?"""
    return less.said().items() <= more.said().items()


def _covers(said: Date, need: Date, grounds: list[Date]) -> bool:
    """Does a date say all that is needed, and nothing more that is not grounded?"""
    if not _within(need, said):
        return False
    return said == need or any(_within(said, ground) for ground in grounds)


def _same_number(said: Number, need: Number) -> bool:
    return said.value == need.value and (said.unit == need.unit or None in (said.unit, need.unit))


def _caseless(said: str, known: Known) -> list[Fact]:
    """The known names in a text without capitals (or of nothing else); the longest at each place."""
    spoken = words(said)
    found = {name for word in set(spoken) for name in known.get(word, ()) if holds_run(spoken, name)}
    longest = [name for name in found if not any(name != other and holds_run(list(other), name) for other in found)]
    return [Fact("name", name, " ".join(name), _place(said, name), len(said)) for name in sorted(longest)]


def _vague(name: Name) -> bool:
    return all(word in SORTS or word in QUALIFIERS or word in TITLES for word in name)


def _place(said: str, name: Name) -> int:
    return max(fold(said).find(name[0]), 0)


def _clauses(said: str, facts: list[Fact]) -> list[tuple[int, int]]:
    """The clauses of an answer. A comma inside a fact ('July 5, 1943') parts nothing."""
    cuts = [m.start() for m in _CLAUSE.finditer(said) if not any(f.start < m.start() < f.end for f in facts)]
    return list(pairwise([0, *cuts, len(said)]))


def _listed(texts: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(texts))
