"""A fact: one value in one sentence of one article, with everything the families need to ask about it.

A fact is asked as a statement with a hole ("The battle began on ____"), and, where the sentence has a plain shape,
as a question ("when did the battle begin"). What can't be asked cleanly is refused, with the reason.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from datagen.english import finite_verb, has_verb, is_participle
from datagen.features import Feature, extract
from datagen.names import Gazetteer
from datagen.records import fact_key
from datagen.shapes import Shape, cuts_a_list, shape_of
from datagen.words import words

BLANK = "____"
MIN_WORDS, MAX_WORDS = 5, 32  # of a sentence, and of what is left of it as a statement
SHORT_WORDS = 15  # a longer sentence is cut at a comma where a clause with a verb is left

PRONOUNS = frozenset(
    words(
        "he she it they his her its their this these those that such both here there we i you our my another one some"
    )
)
HOLES = re.compile(r"\(\s|\s\)|\(\)|,\s*,|\s,|\$ |''|\[|\]|\||\{|\}|=|<|>|…|\.\.\.|\?|_")
CUT = re.compile(r"(?:[,;:]| [-–—]) ")
_LIST_GOES_ON = re.compile(r"(?:and|or|\d{4}\b|[A-Z][\w’'-]*(?: [A-Z][\w’'-]*)*(?:,| and| or)) ?")
_TIME = r"(?:In|On|By|From|After|Before|Since|Until|During|At|For) (?:(?:[a-z]+|\d+\w*|[A-Z]\w+) ){0,5}?"
_LED_PRONOUN = re.compile(
    rf"(?:[^,]*,|{_TIME}(?:\d{{4}}s?|century|years?|months?|days?|time|age)) "
    r"(he|she|it|they|his|her|its|their|this|these|we|I)\b"
)
UNFINISHED = re.compile(
    r"\b(?:the|a|an|of|in|on|at|to|and|or|by|for|with|from|between|both|that|be|was|were|is|are)$"
    r"|\b(?:and|or|but) (?:in|on|at|by|for|from|of|with) \S+$"
)
# "more than 200 men fell": of 100 that is true as well, and of 300 nobody knows.
_BOUND = re.compile(
    r"\b(?:more than|over|above|at least|fewer than|less than|under|below|up to|as many as|at most|exceed(?:ed|s|ing)?"
    r"|(?:by|since|before|after)(?: the (?:end|beginning) of)?) (?:about |some |early |late |mid-)?$",
    re.IGNORECASE,
)


class Refusal(NamedTuple):
    """Why a sentence, or one value in it, is not asked about."""

    reason: str
    text: str
    value: str = ""


@dataclass(frozen=True)
class Fact:
    """One value that can be asked about: head + value + tail is a statement, true as the article says it.

    sentence: the whole source sentence. form: what a wrong value must share to look alike. shape: the statement as a
    question, or None.
    """

    key: str
    title: str
    sentence: str
    kind: str
    form: str
    value: str
    head: str
    tail: str
    shape: Shape | None

    def statement(self, value: str = BLANK) -> str:
        return self.head + value + self.tail

    def in_context(self, text: str) -> str:
        """The text, led by the article's title unless it names it itself: nothing is asked about 'the battle'."""
        topic = plain_title(self.title)
        return text if topic.lower() in text.lower() else f"{topic}: {text}"

    @property
    def is_bound(self) -> bool:
        """Is the value a bound, as in 'more than 200' and 'by 1943'? Then the statement is true of others, too."""
        return self.kind in ("number", "date") and _BOUND.search(self.head) is not None

    @property
    def body(self) -> str:
        """The shortest way to ask: the question where there is one, else the statement with a hole."""
        if self.shape is None:
            return self.statement()
        return self.shape.direct[0].upper() + self.shape.direct[1:] + "?"


def plain_title(title: str) -> str:
    """'Animalia (book)' -> 'Animalia'; 'The Blitz' stays, since sentences say it so."""
    return re.sub(r" \([^)]*\)$", "", title)


def facts_of(title: str, sentence: str, gazetteer: Gazetteer) -> tuple[list[Fact], list[Refusal]]:
    """The facts of one sentence of an article, and what was refused. Deterministic."""
    if reason := unusable(sentence):
        return [], [Refusal(reason, sentence)]
    facts, refusals = [], []
    features = extract(sentence, gazetteer)
    for feature in features:
        if reason := unaskable(title, sentence, feature):
            refusals.append(Refusal(reason, sentence, feature.text))
            continue
        head, tail = crop(sentence, feature)
        key = fact_key(title, sentence, feature.start, feature.end)
        shape = shape_of(sentence, feature, features, gazetteer)
        facts.append(Fact(key, title, sentence, feature.kind, feature.form, feature.text, head, tail, shape))
    return facts, refusals


def unusable(sentence: str) -> str | None:
    """Why a sentence as a whole can't be asked about, or None."""
    parts = sentence.split()
    if not MIN_WORDS <= len(parts) <= MAX_WORDS:
        return f"too short or too long: {len(parts)} words, {MIN_WORDS} to {MAX_WORDS} can be asked about"
    if not (sentence[0].isupper() or sentence[0].isdigit()) or sentence[-1] != ".":
        return "not a whole sentence"
    if HOLES.search(sentence):
        return "holds a hole or markup"
    if sentence.count('"') % 2 or sentence.count("(") != sentence.count(")"):
        return "an open quote or bracket"
    if parts[0].lower().rstrip(",") in PRONOUNS:
        return f"begins with {parts[0]!r}: whom it means stands elsewhere"
    if led := _LED_PRONOUN.match(sentence):
        return f"its subject is {led[1]!r}: whom it means stands elsewhere"
    return None if has_verb(sentence) else "has no verb of its own"


def unaskable(title: str, sentence: str, feature: Feature) -> str | None:
    """Why one value of a good sentence can't be asked about, or None."""
    if re.search(rf"(?<!\w){re.escape(feature.text)}(?!\w)", title, re.IGNORECASE):
        return "the title gives it away"
    if feature.kind == "person" and feature.text.split()[-1] in re.findall(r"\w{4,}", plain_title(title)):
        return "the title gives it away"
    if len(re.findall(rf"(?<!\w){re.escape(feature.text)}(?!\w)", sentence)) > 1:
        return "stands twice in its sentence"
    return None


def crop(sentence: str, feature: Feature) -> tuple[str, str]:
    """What stands before and after the value, a long tail cut at a comma. Always a clause with a verb.

    Where the first comma that might do stands in a list or behind an aside, all of the sentence is kept: so may the
    commas after it.
    """
    head, tail = sentence[: feature.start], sentence[feature.end :]
    if len(sentence.split()) <= SHORT_WORDS:
        return head, tail
    for match in CUT.finditer(tail):
        text = head + feature.text + tail[: match.start()]
        if _LIST_GOES_ON.match(tail, match.end()) or _opens(text):
            continue
        if cuts_a_list(tail, match.start()) or UNFINISHED.search(text) or _ends_on_aside(text):
            break
        if match[0] == ", " and _is_needed(tail[match.end() :]):
            break
        if len(text.split()) >= MIN_WORDS and _stands_alone(text):
            return head, tail[: match.start()].rstrip(" ,;:") + "."
    return head, tail


_NEEDED = re.compile(r"(?:they|he|she|it|we) |[A-Za-z]+-[a-z]+ [a-z]")
_OF_A_PARTICIPLE = re.compile(r"\w+ (?:by|to|in|of|at|from|with|for|on|as|after|under)\b")


def _is_needed(rest: str) -> bool:
    """Does what a comma would cut off begin with the verb, the subject or the next adjective of what stands before?"""
    if _NEEDED.match(rest):
        return True
    return has_verb(f"x {rest.split()[0]}") and not (is_participle(rest.split()[0]) and _OF_A_PARTICIPLE.match(rest))


_ASIDE = re.compile(r"(?:after|before|when|while|although|though|as|because|if|until|once|with|at|in|on|of|by|under) ")
_LATE_ASIDE = re.compile(r"\b(?:and|but|that),? (?:when|while|after|before|although|though|as|because|if|once)\b[^,]*$")
_SAID_THAT = re.compile(r"\bthat [^,]*$")


def _ends_on_aside(text: str) -> bool:
    """'The census found that English, with 9 speakers' goes on behind its aside: what stands before has no verb yet."""
    if _LATE_ASIDE.search(text):
        return True
    before, comma, last = text.rpartition(", ")
    if not comma or not _ASIDE.match(last):
        return False
    said = _SAID_THAT.search(before)
    return bool(UNFINISHED.search(before) or not _stands_alone(before) or (said and not has_verb(said[0])))


def _opens(text: str) -> bool:
    return text.count('"') % 2 == 1 or text.count("(") != text.count(")")


_LEAD = re.compile(
    r"(?:On|In|At|By|After|Before|During|From|For|With|Under|Near|Following|Despite|Until|Since) [^,]*, "
)

_NO_MAIN_CLAUSE = re.compile(
    r"(?:when|while|after|before|although|though|as|because|since|if|until|once|despite|with|where|which|who)\b",
    re.IGNORECASE,
)


def _stands_alone(text: str) -> bool:
    """Is it still a sentence: a subject and its own verb, behind at most one leading adjunct?"""
    if lead := _LEAD.match(text):
        text = text[lead.end() :]
    return _NO_MAIN_CLAUSE.match(text) is None and finite_verb(text) is not None
