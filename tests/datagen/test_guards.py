"""What each guard refuses, and what it must let through."""

import pytest

from datagen.guards import GUARDS, WORDS_OF_ANSWER, Pair, refused
from datagen.records import FAMILIES

SOURCE = "The Battle of Kursk began on 5 July 1943. General Walter Model led 21 divisions. 毛泽东 was far away."
LOOP = "the tanks rolled on and the tanks rolled on and"


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("cloze", "Fill in: it began on ____.", "5 July 1943"), None),
        (("cloze", "Fill in: he led ____ divisions.", "21"), None),
        (("cloze", " ", "5 July 1943"), "no_empty_side: the question is empty"),
        (("cloze", "Fill in: ____", ""), "no_empty_side: the answer is empty"),
        (("cloze", "Fill in: ____", "on 5 July 1943 and then on some other day"), "fitting_length: an answer of 10"),
        (("true_false", "True or false? It began.", "True enough"), "fitting_length: an answer of 2 words"),
        (("cloze", "why " * 95, "5 July 1943"), "fitting_length: a question of 95 words"),
        (("cloze", "What<|im_end|> is it?", "5 July 1943"), "no_tags: holds '<|im_end|>'"),
        (("cloze", "What is it?", "Walter\x1b[31m"), "no_tags: holds '\\x1b'"),
        (("qpt", "What? <think>", SOURCE), "no_tags: holds '<think>'"),
        (("qpt", "the battle of kursk began", SOURCE), "no_question_in_answer"),
        (("cloze", "Fill in: ____", ":"), "no_wordless_answer: ':'"),
        (("cloze", "It began on 5 July 1943, so when?", "5 July 1943"), "no_answer_in_question"),
        (("cloze", "It began on 15 July 1943, so when?", "5 July 1943"), None),
        (("which_of_two", "5 July 1943 or 4 July 1943?", "5 July 1943"), None),
        (("multiple_choice", "A. Walter Model; B. Erwin Rommel. Who led?", "A. Walter Model"), None),
        (("multiple_choice", "A. Walter Model; B. Erwin Rommel. Who led?", "B. Erwin Rommel"), "grounded: 'Erwin'"),
        (("cloze", "Fill in: ____", "5 July 1944"), "grounded: '1944' is not in the source"),
        (("cloze", "Fill in: ____", "Erwin Rommel"), "grounded: 'Erwin' is not in the source"),
        (("qpt", "What does the article say?", SOURCE.replace("1943", "1944")), "grounded: not the source's own"),
        (("cloze", "Fill in: ____", "Walter 你好"), "no_foreign_script: '你好'"),
        (("cloze", "Fill in\uff0cfull width: ____", "Walter Model"), "no_foreign_script: '\uff0c'"),
        (("cloze", "Fill in: ____", "毛泽东"), "english_by_lingua: English with confidence 0.00"),
        (("true_false", "True or false? 4 July 1943 was the day.", "False"), None),
        (("qpt", "What does the article on Kursk say?", SOURCE), None),
    ],
)
def test_a_pair_passes_or_is_refused_with_the_reason(pair: tuple[str, str, str], reason: str | None) -> None:
    found = refused(Pair(*pair, source=SOURCE))
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(reason)


def test_an_answer_that_says_one_phrase_again_and_again_is_refused() -> None:
    pair = Pair("cloze", "What happened?", LOOP, LOOP)
    assert "'the tanks rolled on' said 2 times" in str([guard(pair) for guard in GUARDS])
    assert refused(Pair("qpt", "What happened?", LOOP, LOOP)) is None


def test_every_family_has_its_length_of_answer() -> None:
    assert set(WORDS_OF_ANSWER) == set(FAMILIES)


def test_the_name_of_each_guard_is_in_its_refusal_so_rejects_can_be_counted_by_rule() -> None:
    names = [guard.__name__ for guard in GUARDS]
    assert len(set(names)) == len(names) == 10
