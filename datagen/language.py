"""Is an article in English? A guard on the whole article; answers and questions have guards of their own.

Two rules, cheapest first: most letters are Latin; among ten languages lingua finds English the likeliest. lingua with
English and Chinese alone is a vote by script, which takes French for English.
"""

import functools
import unicodedata
from collections.abc import Sequence
from typing import Any

MAX_LETTERS = 2_000  # enough to be sure of, cheap enough to ask of every article
OTHERS = ("CHINESE", "FRENCH", "GERMAN", "SPANISH", "ITALIAN", "DUTCH", "PORTUGUESE", "POLISH", "RUSSIAN")


def why_not_english(sentences: Sequence[str]) -> str | None:
    """None for English, else a reason: what it seems to be instead."""
    sample = spread(sentences)
    letters = [character for character in sample if character.isalpha()]
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters)
    if 2 * latin < len(letters) or not letters:
        return f"{len(letters) - latin} of {len(letters)} letters are not Latin"
    found = _detector().detect_language_of(sample)
    return None if found is not None and found.name == "ENGLISH" else f"it reads like {_name(found)}"


def spread(sentences: Sequence[str]) -> str:
    """At most MAX_LETTERS characters of whole sentences, taken evenly from all over an article."""
    total = sum(len(sentence) for sentence in sentences)
    every = max(1, -(-total // MAX_LETTERS))
    return " ".join(sentences[::every])


def _name(language: Any) -> str:
    return "no language we know" if language is None else str(language.name).capitalize()


@functools.cache
def _detector() -> Any:
    from lingua import Language, LanguageDetectorBuilder

    languages = [getattr(Language, name) for name in ("ENGLISH", *OTHERS)]
    return LanguageDetectorBuilder.from_languages(*languages).with_low_accuracy_mode().build()
