"""What a pair must not be. A guard: one pair in, None or a reason out; no files, no model, no other guard.

GUARDS runs from cheap to dear and the first refusal wins. The reason starts with the guard's name, so rejects can be
counted by rule. english_by_lingua is the compatibility rule (confidence exactly 1.0 between English and Chinese): a
vote on scripts, kept because the original recipe used it; no_foreign_script is the better rule beside it.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

MAX_PHRASE_SHARE = 0.16  # of an answer's words; after Gopher's 4-gram rule, table A1, arXiv:2112.11446
WORDS_OF_ANSWER = {  # family -> fewest, most
    "qpt": (5, 700),
    "cloze": (1, 8),
    "true_false": (1, 1),
    "which_of_two": (1, 8),
    "multiple_choice": (2, 9),
    "who_when_where": (1, 8),
}
MAX_QUESTION_WORDS = 90
OFFERS_ITS_ANSWER = frozenset(("qpt", "true_false", "which_of_two", "multiple_choice"))
TAG = re.compile(r"<\|[^<>]{0,40}\|>|</?think>|</?s>|\[/?INST\]|[\x00-\x08\x0b-\x1f\x7f\ufffd]")
FOREIGN = re.compile(
    "[\u2e80-\u303f\u3040-\u30ff\u3100-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6\U00020000-\U0003ffff]+"
)
LETTER = re.compile(r"[^\W\d_]")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
CAPITALISED = re.compile(r"\b[A-ZÀ-Þ][\w’'-]*")


class Pair(NamedTuple):
    """One question and its answer. source: the text that must bear the answer out."""

    family: str
    question: str
    answer: str
    source: str


Guard = Callable[[Pair], str | None]
T = TypeVar("T")


@functools.lru_cache(maxsize=8192)  # the same few answers come back in every phrasing, and some are long
def _of_answer(look: Callable[[str], T], answer: str) -> T:
    return look(answer)


def no_empty_side(pair: Pair) -> str | None:
    for side in ("question", "answer"):
        if not getattr(pair, side).strip():
            return f"the {side} is empty"
    return None


def no_tags(pair: Pair) -> str | None:
    """Refuse chat tags and control characters: in training text they would end or open a turn."""
    found = _tag(pair.question) or _of_answer(_tag, pair.answer)
    return f"holds {found!r}" if found else None


def _tag(text: str) -> str | None:
    found = TAG.search(text)
    return found[0] if found else None


def fitting_length(pair: Pair) -> str | None:
    fewest, most = WORDS_OF_ANSWER[pair.family]
    num = _of_answer(_num_words, pair.answer)
    if not fewest <= num <= most:
        return f"an answer of {num} words, {pair.family} takes {fewest} to {most}"
    num = len(pair.question.split())
    return f"a question of {num} words, more than {MAX_QUESTION_WORDS}" if num > MAX_QUESTION_WORDS else None


def _num_words(text: str) -> int:
    return len(text.split())


def no_question_in_answer(pair: Pair) -> str | None:
    return "the answer repeats the question" if pair.question.lower() in pair.answer.lower() else None


def no_answer_in_question(pair: Pair) -> str | None:
    """Refuse a question that gives its answer away, except where the answer is one of those offered."""
    if pair.family in OFFERS_ITS_ANSWER:
        return None
    answer, question = pair.answer.lower(), pair.question.lower()
    if answer in question and re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", question):
        return f"the question says {pair.answer!r}"
    return None


def no_wordless_answer(pair: Pair) -> str | None:
    """Refuse an answer of marks alone; without letters it needs a digit."""
    if LETTER.search(pair.answer) or any(character.isdigit() for character in pair.answer):
        return None
    return f"{pair.answer!r} has neither letter nor digit"


def no_stuck_answer(pair: Pair) -> str | None:
    """Refuse the loop a small model falls into: one four-word phrase, again and again. Raw text may."""
    words = pair.answer.lower().split()
    if pair.family == "qpt" or len(words) < 8:
        return None
    phrases = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    phrase, times = max(phrases.items(), key=itemgetter(1), default=((), 0))
    share = 4 * times / len(words)
    return f"{' '.join(phrase)!r} said {times} times" if times > 1 and share > MAX_PHRASE_SHARE else None


def no_foreign_script(pair: Pair) -> str | None:
    """Refuse Chinese, Japanese or Korean script, full-width marks too, that does not stand so in the source."""
    for run in [*FOREIGN.findall(pair.question), *_of_answer(FOREIGN.findall, pair.answer)]:
        if run not in pair.source:
            return f"{run!r} is not in the source"
    return None


def grounded(pair: Pair) -> str | None:
    """The answer's numbers and names must occur in the source. 'True' and 'False' name nothing."""
    if pair.family in ("true_false", "qpt"):
        return None if pair.family == "true_false" or pair.answer in pair.source else "not the source's own words"
    answer = re.sub(r"^[A-D]\. ", "", pair.answer) if pair.family == "multiple_choice" else pair.answer
    for value in [*NUMBER.findall(answer), *CAPITALISED.findall(answer)]:
        if value not in pair.source:
            return f"{value!r} is not in the source"
    return None


def english_by_lingua(pair: Pair) -> str | None:
    """The compatibility rule. An answer without letters but with a digit is exempt: lingua has no vote on it."""
    if not LETTER.search(pair.answer) and any(character.isdigit() for character in pair.answer):
        return None
    confidence = _of_answer(_english, pair.answer)
    return None if confidence == 1.0 else f"English with confidence {confidence:.2f}, not 1.0"


@functools.cache
def _detector() -> Any:
    from lingua import Language, LanguageDetectorBuilder  # 44 MB: only where a guard runs

    return LanguageDetectorBuilder.from_languages(Language.ENGLISH, Language.CHINESE).build()


def _english(text: str) -> float:
    from lingua import Language

    return float(_detector().compute_language_confidence(text, Language.ENGLISH))


GUARDS: tuple[Guard, ...] = (
    no_empty_side,
    fitting_length,
    no_tags,
    no_question_in_answer,
    no_wordless_answer,
    no_answer_in_question,
    no_stuck_answer,
    no_foreign_script,
    grounded,
    english_by_lingua,
)


def refused(pair: Pair) -> str | None:
    """The first guard's refusal, 'name: reason', or None when the pair may pass."""
    for guard in GUARDS:
        if reason := guard(pair):
            return f"{guard.__name__}: {reason}"
    return None
