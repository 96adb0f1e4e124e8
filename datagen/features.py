"""What can be asked about one sentence: its dates, numbers, people and places. Rules only: no model, no files.

The same sentence and gazetteer always give the same features. Precision before recall: a broken question teaches
something wrong, a missing one only teaches less.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from datagen.english import BASE_OF
from datagen.names import CAPITAL, ENDS, NOT_PEOPLE, PERSON, TITLES, WEAK_TITLES, Gazetteer, is_person
from datagen.words import MONTHS, NUMBERS, words

Kind = Literal["date", "number", "person", "place"]

MONTH = f"(?:{'|'.join(MONTHS)})"
YEAR = r"(?:1[0-9]{3}|20[0-2][0-9])"
_DAY = r"(?:[12][0-9]|3[01]|0?[1-9])(?:st|nd|rd|th)?"
DATES = (  # form -> pattern; the first that fits at a place wins, so the fullest comes first
    ("range", rf"{_DAY}[-–]{_DAY} {MONTH} {YEAR}"),
    ("day", rf"{_DAY} {MONTH} {YEAR}"),
    ("us_day", rf"{MONTH} {_DAY}, {YEAR}"),
    ("month", rf"{MONTH} {YEAR}"),
    ("day_month", rf"{_DAY} {MONTH}"),
    ("us_day_month", rf"{MONTH} {_DAY}"),
    ("year", rf"(?<=\b(?:in|by) ){YEAR}|(?<=\b(?:since|until|early) ){YEAR}|(?<=\b(?:from|late) ){YEAR}"),
)
DATE = re.compile("|".join(rf"(?P<{form}>(?<![\w.,/-])(?:{pattern}))(?![\w/%-]|[.,]\d)" for form, pattern in DATES))

_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_PLURALS = (
    r"men|women|people|children|aircraft(?! [a-z]+s\b)|personnel|crew|metres|feet|percent|per cent|infantry"
    r"|spacecraft|km/h|km|mm|cm|mph"
)
_NOT_ADJECTIVES = words("of in and or to the at by on for from that were was had with as after before during against")
_ADJECTIVES = rf"(?:(?!(?:{'|'.join(_NOT_ADJECTIVES)}) )[A-Za-z][\w-]* ){{0,3}}?"
NUMBER = re.compile(
    rf"(?<![\w$£€.,/:°+(-])(?P<value>(?:{_DIGITS})(?: (?:million|billion|thousand))?|\b(?:{'|'.join(NUMBERS)})\b)"
    rf" (?P<unit>{_ADJECTIVES}(?:{_PLURALS}|(?![A-Za-z-]*(?:ss|us|is)\b)[a-z][a-z-]+s))(?![\w’'-])"
)
NOT_UNITS = frozenset(words("was is has as its this his hers theirs ours times others towards besides always perhaps"))
_BEFORE_NUMBER = re.compile(
    rf"(?:{CAPITAL}|[Nn]o\.|[Nn]umbers?|[Pp]age|[Tt]ype|[Rr]oute|[Pp]oint|first|last|next|other|the|these|those|all) $"
)
_QUANTIFIERS = frozenset(f"{word} " for word in words("About Some Around Nearly Over Almost Approximately Only"))
_BETWEEN = re.compile(r"(?:between|from) $|(?:\d|and|to|or) $|\d [a-z]+,? $")  # "6 feet 4 inches"
_LEADS = (
    "in at near to from into on toward towards outside around through across off of "
    "reached left captured entered invaded occupied liberated"
).replace(" ", "|")
_PREPOSITION = re.compile(rf"\b({_LEADS}) $", re.IGNORECASE)
_NOT_BEFORE_A_NAME = re.compile(
    r"\b(?:ships?|battleships?|battlecruisers?|cruisers?|destroyers?|carriers?|submarines?|escorts?|liner|HMS|USS"
    r"|class) $"
    r"|\b[A-Z]\. $"  # "J. Robert Oppenheimer": half a name
)
_PLACE = re.compile(rf"{CAPITAL}(?:-{CAPITAL})*(?: (?:of (?:the )?)?{CAPITAL})*")


@dataclass(frozen=True)
class Feature:
    """A value in a sentence: sentence[start:end] == text. form: what a wrong value must share with it to look alike.

    unit: of a number, what is counted ("German soldiers"); before: of a place, the word that leads to it ("near").
    """

    kind: Kind
    form: str
    text: str
    start: int
    end: int
    unit: str = ""
    before: str = ""


def extract(sentence: str, gazetteer: Gazetteer) -> list[Feature]:
    """All features of a sentence, by position; no two overlap."""
    taken: list[Feature] = []
    for find in (dates, people, places, numbers):
        for feature in find(sentence, gazetteer):
            if all(feature.end <= other.start or feature.start >= other.end for other in taken):
                taken.append(feature)
    return sorted(taken, key=lambda feature: feature.start)


def dates(sentence: str, gazetteer: Gazetteer) -> Iterator[Feature]:
    """Days, months and years. A year alone counts only after a word that leads to one: "in 1944", not "Rule 1944"."""
    for match in DATE.finditer(sentence):
        if not _hangs_on(sentence, match.start(), match.end()):
            yield Feature("date", str(match.lastgroup), match[0], *match.span())


def numbers(sentence: str, gazetteer: Gazetteer) -> Iterator[Feature]:
    """Counts and measures with what they count. Not: ordinals, names that hold a number, dates, one of a pair."""
    for match in NUMBER.finditer(sentence):
        before = sentence[: match.start()]
        unit = match["unit"]
        if _BEFORE_NUMBER.search(before) and before not in _QUANTIFIERS:
            continue
        if _BETWEEN.search(before) or unit.split()[-1] in NOT_UNITS or unit.split()[0] in MONTHS:
            continue
        value = match["value"]
        if re.fullmatch(YEAR, value):  # four digits without a comma are a year more often than a count
            continue
        yield Feature("number", number_form(value), value, *match.span("value"), unit=unit)


def number_form(text: str) -> str:
    """What two numbers must share to look alike: words, or the number of digits, commas and the scale word."""
    if text.isalpha():
        return "word"
    digits, _, scale = text.partition(" ")
    return f"{len(digits)}{',' if ',' in digits else ''}{'.' if '.' in digits else ''}{scale}"


def people(sentence: str, gazetteer: Gazetteer) -> Iterator[Feature]:
    """People by full name, or by a title and a family name. The title is not part of the value."""
    for match in PERSON.finditer(sentence):
        parts = _up_to_owner(match[0].split())
        titled = 0
        while titled < len(parts) and parts[titled] in TITLES:
            titled += 1
        skipped = titled or _leading_strangers(parts)
        name = parts[skipped:]
        has_rank = titled > 0 and parts[titled - 1] not in WEAK_TITLES
        text, end = " ".join(name), match.start() + len(" ".join(parts))
        if text.endswith(("'s", "’s")):
            text, end = text[:-2], end - 2
            name = text.split()
            has_rank = has_rank and parts[titled - 1] != "Saint"  # "Saint Paul's Cathedral"
        if not name or not (is_person(name) or (has_rank and _titled_name(name, gazetteer))):
            continue
        if gazetteer.is_place(" ".join(parts)) or _NOT_BEFORE_A_NAME.search(sentence[: end - len(text)]):
            continue
        if not _hangs_on(sentence, end - len(text), end):
            yield Feature("person", "full" if len(name) > 1 else "family", text, end - len(text), end)


def _up_to_owner(parts: list[str]) -> list[str]:
    """'Lord North's Tory government', 'Pablo Picasso's Guernica': the name ends with the one who owns."""
    ends = [index for index, part in enumerate(parts) if part.endswith(("'s", "’s"))]
    return parts[: ends[0] + 1] if ends else parts


def _leading_strangers(parts: list[str]) -> int:
    """How many words stand before the name: titles after a nation or an office ("British Prime Minister Neville")."""
    for index, word in enumerate(parts[:-1]):
        if word in TITLES and word not in WEAK_TITLES and parts[index + 1] not in TITLES:
            return index + 1
    return 0


def _titled_name(name: list[str], gazetteer: Gazetteer) -> bool:
    """Is what stands behind a rank a name, and no word of the language: 'General Slim', not 'Chief of Staff'?"""
    if len(name) > 3 or len(name[-1]) < 3 or set(name) & NOT_PEOPLE:
        return False
    if len(name) == 1 and name[0].lower() in gazetteer.common:
        return False
    return not any(gazetteer.is_place(word) or word in TITLES for word in name)


def places(sentence: str, gazetteer: Gazetteer) -> Iterator[Feature]:
    """Known places behind a word that leads to one ("in", "near"), so that they stand as places, not inside a name."""
    for match in _PLACE.finditer(sentence):
        lead = _PREPOSITION.search(sentence, 0, match.start())
        article = 0
        if lead is None and sentence[: match.start()].endswith(" the "):
            article = 4
            lead = _PREPOSITION.search(sentence[: match.start() - 4])
        if lead is None or not gazetteer.is_place(match[0]) or match[0].endswith((" St", " Mt")):  # "the Gulf of St. L"
            continue
        if not _hangs_on(sentence, match.start(), match.end()) and _ends(sentence, match.end()):
            yield Feature("place", "the" if article else "bare", match[0], *match.span(), before=lead[1])


def _ends(sentence: str, end: int) -> bool:
    """Does a place end here? Not in "the Normandy landings"."""
    follower = sentence[end:].split(maxsplit=1)[:1]
    return ENDS.match(sentence, end) is not None or (bool(follower) and follower[0] in BASE_OF)


def _hangs_on(sentence: str, start: int, end: int) -> bool:
    """Is the span only a part of a longer name or number?"""
    after = sentence[end : end + 2]
    if after[:1] in ("-", "–", "/") or sentence[start - 1 : start] in ("-", "–", "/", "("):
        return True
    return len(after) == 2 and after[0] == " " and after[1].isupper()
