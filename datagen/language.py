"""Is an article in English? A guard on the whole article; questions and answers have guards of their own.

Two rules: most letters are Latin; the small words of English are there, or lingua finds English the likeliest of ten
languages. Measured on 98 articles of enwiki-106 and the bundled 66: their share of small words is 0.118 or more, that
of Dutch, Danish, German, French and Polish prose 0.081 or less. lingua alone took plain English for Dutch, and lingua
with English and Chinese only is a vote by script, which takes French for English.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

SMALL_WORDS = frozenset((
    "the", "of", "and", "to", "was", "were", "by", "with", "that", "from", "which", "has", "had", "his", "its",
    "this", "their", "are", "been", "have", "an", "be", "they", "at", "but",
))  # fmt: skip
ENOUGH = 0.1  # of all words
MAX_LETTERS = 2_000  # of an article, for lingua
OTHERS = ("CHINESE", "FRENCH", "GERMAN", "SPANISH", "ITALIAN", "DUTCH", "PORTUGUESE", "POLISH", "RUSSIAN")


def why_not_latin(sentences: Sequence[str]) -> str | None:
    """None when at least half of the letters are Latin (or there is none), else a reason."""
    letters = [character for sentence in sentences for character in sentence if character.isalpha()]
    latin = sum(letter.isascii() or "LATIN" in unicodedata.name(letter, "") for letter in letters)
    return f"{len(letters) - latin:,} of {len(letters):,} letters are not Latin" if 2 * latin < len(letters) else None


def why_not_english(sentences: Sequence[str]) -> str | None:
    """None for English prose, else a reason: what it seems to be instead."""
    words = [word for sentence in sentences for word in re.findall(r"[^\W\d_]+", sentence.lower())]
    small = sum(word in SMALL_WORDS for word in words)
    if words and small >= ENOUGH * len(words):
        return None
    found = _detector().detect_language_of(spread(sentences))
    if found is not None and found.name == "ENGLISH":
        return None
    return f"it reads like {'no language we know' if found is None else found.name.capitalize()}"


def spread(sentences: Sequence[str]) -> str:
    """About MAX_LETTERS characters of whole sentences, taken evenly from all over an article."""
    total = sum(len(sentence) for sentence in sentences)
    return " ".join(sentences[:: max(1, total // MAX_LETTERS)])


@functools.cache
def _detector() -> Any:
    from lingua import Language, LanguageDetectorBuilder

    languages = [getattr(Language, name) for name in ("ENGLISH", *OTHERS)]
    return LanguageDetectorBuilder.from_languages(*languages).with_low_accuracy_mode().build()
