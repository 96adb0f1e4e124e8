"""Just enough English grammar to turn a statement into a question: past tenses, the finite verb, inversion.

A verb outside these tables is not guessed at; the caller takes a form of question that needs no inversion.
"""

import re
from typing import NamedTuple

from datagen import words

_DOUBLED = frozenset(words.DOUBLING_VERBS)
_PARTICIPLES = frozenset(words.IRREGULAR_PARTICIPLES)

BE = frozenset(("was", "were", "is", "are"))
AUXILIARIES = BE | frozenset(words.words("had has have could would did does do can will might may must should"))
_SUBORDINATORS = frozenset(words.words("who whom which that whose where when while although because if"))
_AFTER_PARTICIPLE = frozenset(("by",))  # "the force led by X": led is no finite verb there
_NAMING = frozenset(("called", "named", "codenamed", "nicknamed", "christened"))
_DETERMINERS = frozenset(
    words.words("the a an his her its their this that these those of and or some many several most other")
)
_TOKEN = re.compile(r"\S+")


def past(base: str) -> str:
    """The regular past tense."""
    if base in _DOUBLED:
        return base + base[-1] + "ed"
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + "ed"


BASE_OF = {past(base): base for base in words.REGULAR_VERBS}
BASE_OF |= dict(pair.split("/") for pair in words.IRREGULAR_PASTS)
BASE_OF |= {base: base for base in words.UNCHANGED_PASTS}


class Verb(NamedTuple):
    """The finite verb of a clause: clause[start:end]."""

    start: int
    end: int
    word: str


def finite_verb(clause: str) -> Verb | None:
    """The first word that can only be the clause's own verb, or None when that is not sure.

    None also when a relative clause or a comma comes first: then the verb found would be another clause's.
    """
    previous = ""
    for match in _TOKEN.finditer(clause):
        token = match[0]
        word = token.rstrip(",.;:")
        if word in _SUBORDINATORS and previous:
            return None
        follower = clause[match.end() :].split(maxsplit=1)[:1]
        is_verb = word in AUXILIARIES or _is_past(word)
        by = word not in AUXILIARIES and follower and follower[0] in _AFTER_PARTICIPLE
        if is_verb and previous and not _leads_a_noun(previous, word) and not by:
            if is_participle(word) and verb_follows(clause[match.start() + len(word) :]):
                return None  # "the hall called the Dome became ...": the first is a participle, the verb comes later
            if (
                word in _NAMING
                and clause.startswith(("a ", "an ", "A ", "An "))
                and follower
                and follower[0][0].isupper()
            ):
                return None  # "a bomb called Fat Man"
            return Verb(match.start(), match.start() + len(word), word)
        if token.endswith((",", ";", ":")):
            return None
        previous = token
    return None


def verb_follows(rest: str) -> bool:
    """Is there one more word like a finite verb, before anything that could start a clause for it?"""
    before = ""
    for token in rest.split():
        if before.endswith((",", ";", ":")) or token in _SUBORDINATORS or token in ("and", "but", "or", "as", "than"):
            return False
        word = token.rstrip(",.;:")
        if (word in AUXILIARIES or _is_past(word)) and before and not _leads_a_noun(before, word):
            return True
        before = token
    return False


def has_verb(text: str) -> bool:
    """Is there any word that looks like a finite verb?"""
    words = text.split()
    return any(
        word.rstrip(",.;:") in AUXILIARIES or (_is_past(word.rstrip(",.;:")) and not _leads_a_noun(before, word))
        for before, word in zip(["", *words], words, strict=False)
    )


def _leads_a_noun(before: str, word: str) -> bool:
    """'the armed men', 'the Emperor's recorded speech': behind such a word stands no finite verb."""
    is_owner = before.endswith(("'s", "’s", "s'", "s’")) and word not in AUXILIARIES
    return is_owner or before.lower() in _DETERMINERS


def _is_past(word: str) -> bool:
    return word in BASE_OF or (word.islower() and word.endswith("ed") and len(word) > 4)


def is_participle(word: str) -> bool:
    return word in _PARTICIPLES or (word.islower() and word.endswith("ed") and len(word) > 4)


def invert(clause: str) -> str | None:
    """'the battle began in May' -> 'did the battle begin in May'; 'Rome was taken' -> 'was Rome taken'.

    None when the verb is not in the tables, or not surely found.
    """
    verb = finite_verb(clause)
    if verb is None or verb.start == 0:
        return None
    subject, rest = clause[: verb.start].rstrip(), clause[verb.end :]
    if verb.word in AUXILIARIES and not (verb.word in ("had", "has", "have", "did") and not _leads_a_verb(rest)):
        return f"{verb.word} {subject}{rest}"
    if verb.word in ("had", "has", "have"):
        support = {"had": "did", "has": "does", "have": "do"}[verb.word]
        return f"{support} {subject} have{rest}"
    base = BASE_OF.get(verb.word)
    return f"did {subject} {base}{rest}" if base else None


def _leads_a_verb(rest: str) -> bool:
    """After had/has: is a participle coming, so that it is an auxiliary?"""
    words = [word.rstrip(",.;:") for word in rest.split()[:3]]
    while words and (
        words[0].endswith("ly") or words[0] in ("not", "never", "already", "also", "just", "once", "since")
    ):
        words.pop(0)
    return bool(words) and is_participle(words[0])
