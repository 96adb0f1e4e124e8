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
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.records import Question
from judge.facts import Fact, extract
from judge.names import Name
from judge.scale import NEGATION, Known, Scale, is_vague, within
from judge.verdicts import Ruling
from judge.words import content, fold, holds_run, spaced, tidy, words

VERSION = 1
MADE_OF = ("reference.py", "scale.py", "facts.py", "names.py", "words.py")  # what its rulings depend on
RECITAL_WORDS = 5  # told besides what was asked and answered, in a source given back word for word
LONGEST_WORDS = 40  # of an answer, beside four times the reference's

_TRUE = frozenset(spaced("true yes correct right accurate"))
_FALSE = frozenset(spaced("false incorrect wrong untrue inaccurate"))
_NOT = frozenset(spaced("not never isn't wasn't aren't doesn't hardly neither"))
_NOT_AT_ALL = re.compile(r"\b(?:not at all|by no means|in no way|anything but|far from)\b", re.IGNORECASE)
_OPTION = re.compile(r"\s*\(?([A-H])[.):]\s*(?=\S)(.*)", re.DOTALL)
_LETTER = re.compile(
    r"(?:^|(?<=[\s(,]))([A-H])(?=[.):,](?:\s|$)|\)|$)|\b(?:answer|option|choice|letter)(?: is)?:? \(?([A-Ha-h])\b"
    r"|^\W*([A-Ha-h])(?:\W*$|(?=[.):] ))|\b([A-H])(?= (?:and|or) [A-H]\b)|(?:and|or) ([A-H])\b(?! \w)"
)


def fail(explanation: str) -> Ruling:
    return Ruling(False, explanation)


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
        for name in sorted(name for name in names if len(name[-1]) > 3 and not is_vague(name)):
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
        if letters and NEGATION.search(rest):
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
        scale = Scale(question, needed, self.known)
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
    spoken = words(_NOT_AT_ALL.sub("not", text))
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
    if NEGATION.search(said) and not NEGATION.search(question.question + reference):
        return fail(f"denies {reference}" if not needed else f"does not say {reference}")
    if needed:
        return fail(f"says {stated[0]} where the reference has {reference}" if stated else f"does not say {reference}")
    if stated:
        return fail(f"holds {reference}, but also says {stated[0]}")
    return Ruling(True, f"holds {reference}; nothing contradicts it")


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _what_instead(need: Fact, rivals: list[str], stated: list[Fact], scale: Scale) -> str:
    """Why a needed fact is missing: another one stands there, or a vaguer one, or nothing."""
    if rivals:
        return f"says {rivals[0]} where the reference has {need.text}"
    if need.kind == "date":
        vague = [f.text for f in stated if f.kind == "date" and within(f.value, need.value)]
        if vague:
            return f"says {vague[0]}, which is less exact than {need.text}"
    other = [fact.text for fact in stated if fact.kind == need.kind]
    return f"says {other[0]} where the reference has {need.text}" if other else f"does not say {need.text}"


def _listed(texts: Iterable[str]) -> str:
    return " and ".join(dict.fromkeys(texts))
