"""What a short text states: its dates, times, numbers, ordinals and names, each in one normal form.

"June 6, 1944", "6 June 1944" and "the 6th of June, 1944" are one date; "1,000" and "one thousand" one number; case,
accents, punctuation and articles say nothing. English, by rules, with no model: the same text gives the same facts.
It does not know what a word means: a name is what is written with a capital, and two spellings are two names.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from judge.names import find_names
from judge.words import MONTHS, ORDINALS, SMALL, UNITS, tidy

SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
PARTS = {
    **{word: word for word in ("early", "mid", "late", "spring", "summer", "autumn", "winter")},
    "fall": "autumn",
    "beginning": "early",
    "start": "early",
    "middle": "mid",
    "end": "late",
}
COUNTED = "men|women|people|troops|soldiers|tanks|aircraft|ships|guns|prisoners|civilians|casualties|vehicles|bombs"

_MONTH = r"(?:" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\b\.?"
_DAY = r"(?:the )?(?:\d{1,2}(?:st|nd|rd|th)?|" + "|".join(sorted(ORDINALS, key=len, reverse=True)) + r")\b(?![\d:])"
_YEAR = r"(?:1\d{3}|20\d\d)(?![\d,]\d)(?!\w)"
_TO = r" ?(?:-|to|until|till|through|and|or|,) ?"
_THEN = r"(?:,? (?:in |of )?(?:the year )?)"

_NO_YEAR = rf"(?!\.\d)(?! ?(?:%|{COUNTED}|{'|'.join(map(re.escape, UNITS))})(?!\w))"  # 1943 tanks

# Each pattern's groups name what they hold: d, m, y of one date; d2, m2, y2 of the second one of a range.
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<![\w-])(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?![\w-])",
        rf"\b(?P<d>{_DAY}){_TO}(?P<d2>{_DAY})(?: of)? (?P<m>{_MONTH})(?:{_THEN}(?P<y>{_YEAR}))?",
        rf"\b(?P<m>{_MONTH}) (?P<d>{_DAY}){_TO}(?P<d2>{_DAY})(?! {_MONTH})(?:{_THEN}(?P<y>{_YEAR}))?",
        rf"\b(?P<d>{_DAY})(?: day)?(?: of)? ?(?P<m>{_MONTH})(?:{_THEN}(?P<y>{_YEAR}))?",
        rf"\b(?P<m>{_MONTH}) (?P<d>{_DAY})(?:{_THEN}(?P<y>{_YEAR}))?",
        rf"\b(?P<m>{_MONTH}){_TO}(?P<m2>{_MONTH}){_THEN}(?P<y>{_YEAR})",
        rf"\b(?P<m>{_MONTH}){_THEN}(?P<y>{_YEAR})",
        r"(?<![\w.,-])(?P<y>1\d{3}|20\d\d) ?- ?(?P<y2>\d\d(?:\d\d)?)(?![\w-])",
        r"(?<![\w.,-])(?P<decade>1\d{2}0|20\d0)'?s\b",
        rf"(?<![\w.,$£€])(?<![A-Za-z]-)(?P<y>{_YEAR}){_NO_YEAR}",
        rf"(?:\b(?:in|of|early|late|mid|since|until|by|during|from|to)[ -]|^\W*)(?P<m>{_MONTH})",
    )
)
_PART = re.compile(r"\b(" + "|".join(PARTS) + r")(?: (?:of|in))?(?: the)?[ -]$", re.IGNORECASE)
_TIME = re.compile(r"(?<![\w:.])(\d{1,2})(?:[:.](\d\d))?(?: ?([ap])\.?m\b\.?| ?(?:hours|hrs)\b)?", re.IGNORECASE)
_DIGITS = re.compile(
    r"(?<![\w.])(?<![A-Za-z]-)(?<!\d,)([$£€]? ?)(\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+(?!\d)|\d+)(\.\d+)?"
    r"(?!\d|(?:st|nd|rd|th)\b)(?:[ -]?(hundred|thousand|million|billion)\b)?",
    re.IGNORECASE,
)
_ONE = "|".join(sorted([*SMALL, *SCALES], key=len, reverse=True))
_SPELT = re.compile(
    rf"\b(?:half an? (?=million|billion))?(?:an? (?=hundred|thousand|million|billion|dozen))?(?:{_ONE})"
    rf"(?:(?:[ -]|(?<=hundred) and |(?<=thousand) and |(?<=million) and )(?:{_ONE}))*\b",
    re.IGNORECASE,
)
_CODE = re.compile(  # Ju 88, Hill 112: the number is a part of the name
    r"\b(?!(?:In|At|On|By|To|Of|Or|No|All|The|Its|And|But|For|Was|Had|Over|As|It|He|Is|Are)\b)"
    r"(?:[A-Z][A-Za-z]{0,2}|Hill|Force|Mark|Type|Point|Route) $"
)
_UNIT = re.compile(r"[ -]?(" + "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True)) + r")(?![\w/])", re.I)
_ORDINAL = re.compile(r"\b(?:\d+(?:st|nd|rd|th)|" + "|".join(sorted(ORDINALS, key=len, reverse=True)) + r")\b", re.I)
_SIGNS = {"$": "dollar", "£": "pound sterling", "€": "euro"}


@dataclass(frozen=True)
class Date:
    """A day, a month, a year, or less: what is not said is None. part: early, mid, late or a season."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    part: str | None = None

    def said(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Number:
    """A value and, when it was said, its unit of measure."""

    value: float
    unit: str | None = None


@dataclass(frozen=True)
class Fact:
    """One thing a text states, and where.

    kind: date | time | number | ordinal | name. value: Date, minutes, Number, "6th", or a name's words.
    weak: may hold a reference, but is too vague to contradict one ("one", a nation's adjective, a sentence's first).
    """

    kind: str
    value: Any
    text: str
    start: int
    end: int
    weak: bool = False


@functools.lru_cache(maxsize=8192)  # a question is weighed once for each model that answered it
def extract(text: str) -> tuple[Fact, ...]:
    """Every fact of a text, in the order of the text. Spans are those of tidy(text)."""
    text = tidy(text)
    facts: list[Fact] = []
    rest = text
    for find in (_dates, _times, _numbers):
        found = list(find(rest))
        facts += found
        rest = _blank(rest, found)
    names = [Fact("name", value, shown, start, end, weak) for value, shown, start, end, weak in find_names(rest)]
    facts += names
    facts += _ordinals(_blank(rest, names))
    return tuple(sorted(facts, key=lambda fact: fact.start))


def _blank(text: str, facts: list[Fact]) -> str:
    """The text with the facts' places filled by a mark that joins nothing."""
    for fact in facts:
        text = text[: fact.start] + "|" * (fact.end - fact.start) + text[fact.end :]
    return text


def _dates(text: str) -> Iterator[Fact]:
    found: list[Fact] = []
    rest = text
    for pattern in _DATES:
        here = [fact for match in pattern.finditer(rest) for fact in _dates_of(match, rest)]
        found += here
        rest = _blank(rest, here)
    found.sort(key=lambda fact: (fact.start, fact.end))
    for fact, after in pairwise(found):
        yield _with_year_of(fact, after, text)
    yield from found[-1:]


def _dates_of(match: "re.Match[str]", text: str) -> Iterator[Fact]:
    """One date, or the two ends of a range, from a match of one of the patterns."""
    said = {name: value for name, value in match.groupdict().items() if value}
    start = min(match.start(name) for name in said)
    before = _PART.search(text[:start])
    part = PARTS[before[1].lower()] if before else None
    start = before.start() if before else start
    shown = text[start : match.end()].strip(" .,")
    if "decade" in said:
        yield Fact("date", Date(int(said["decade"]), part="decade"), shown, start, match.end())
        return
    year, month, day = _year(said.get("y")), _month(said.get("m")), _day(said.get("d"))
    if (month and not 1 <= month <= 12) or (day and not 1 <= day <= 31):
        return
    first = Fact("date", Date(year, month, day, part), shown, start, match.end())
    yield first
    if len(said.keys() & {"d2", "m2", "y2"}):
        last = Date(
            _year(said["y2"], year) if "y2" in said else year,
            _month(said.get("m2")) or month,
            _day(said["d2"]) if "d2" in said else day,
        )
        yield replace(first, value=last)


def _with_year_of(fact: Fact, after: Fact, text: str) -> Fact:
    """'26 May' before ' to 4 June 1940' is of 1940."""
    joined = re.fullmatch(_TO + "(?:the )?", text[fact.end : after.start])
    if fact.value.year or not joined or not after.value.year:
        return fact
    return replace(fact, value=replace(fact.value, year=after.value.year))


def _year(text: str | None, like: int | None = None) -> int | None:
    """1945, also from the '45' of 1939-45."""
    if text is None:
        return None
    return int(text) if len(text) == 4 or like is None else like // 100 * 100 + int(text)


def _month(text: str | None) -> int | None:
    if text is None:
        return None
    return int(text) if text.isdigit() else MONTHS[text.lower().rstrip(".")]


def _day(text: str | None) -> int | None:
    if text is None:
        return None
    word = text.lower().removeprefix("the ")
    return int(ORDINALS.get(word, word).rstrip("sthndr"))


def _times(text: str) -> Iterator[Fact]:
    """06:30, 6.30 a.m., 0630 hours, 5 a.m.: minutes after midnight."""
    for match in _TIME.finditer(text):
        hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
        clock = match[2] is not None and ":" in match[0]
        if (clock or half) and hour < 25 and minute < 60:
            hour = hour % 12 + (12 if half == "p" else 0) if half else hour
            yield Fact("time", hour * 60 + minute, match[0].strip(), match.start(), match.end())


def _numbers(text: str) -> Iterator[Fact]:
    found = [match for match in _DIGITS.finditer(text) if len(match[2]) > 3 or not _CODE.search(text[: match.start()])]
    digits = [(match, float(re.sub("[ ,]", "", match[2]) + (match[3] or ""))) for match in found]
    for match, value in digits:
        scale = SCALES[match[4].lower()] if match[4] else 1
        yield _number(text, match, round(value * scale, 6), sign=match[1].strip())
    rest = _blank(text, [Fact("", None, "", m.start(), m.end()) for m, _ in digits])
    for match in _SPELT.finditer(rest):
        yield _number(text, match, spelt(match[0]))


def _number(text: str, match: "re.Match[str]", value: float, sign: str = "") -> Fact:
    unit = _UNIT.match(text, match.end())
    name = UNITS[unit[1].lower()] if unit else _SIGNS.get(sign)
    end = unit.end() if unit else match.end()
    shown = text[match.start() : end].strip()
    vague = shown.lower() == "one" and bool(text.strip(" .").lower() != "one")
    return Fact("number", Number(value, name), shown, match.start(), end, weak=vague)


def spelt(words: str) -> float:
    """The value of a number in words: 'two hundred and fifty thousand' is 250000."""
    total, part = 0.0, 0.0
    half = words.lower().startswith("half")
    for word in re.findall(r"[a-z]+", words.lower()):
        if word in SMALL:
            part = part * SMALL[word] if word == "dozen" and part else part + SMALL[word]
        elif word == "hundred":
            part = (part or 1) * 100
        elif word in SCALES:
            total, part = total + (part or 1) * SCALES[word], 0.0
    return (total + part) / (2 if half else 1)


def _ordinals(text: str) -> Iterator[Fact]:
    for match in _ORDINAL.finditer(text):
        word = match[0].lower()
        yield Fact("ordinal", ORDINALS.get(word, word), match[0], match.start(), match.end(), weak=True)
