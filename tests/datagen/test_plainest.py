"""Which facts are asked about when not all are: plain ones, of different sentences, from all over the article."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from small_corpus import sample_articles, sentences_of

from datagen.facts import Fact, facts_of
from datagen.names import census
from datagen.plainest import plainest
from datagen.shapes import Shape

ARTICLES = [(title, sentences_of(text)) for title, text in sample_articles(66)]
CORPUS = census(sentence for _, sentences in ARTICLES for sentence in sentences)


def fact(number: int, sentence: str, *, plain: bool = True) -> Fact:
    shape = Shape("when did it end", "when it ended") if plain else None
    return Fact(f"f{number}", "Siege of Tobruk", sentence, "date", "day", "1 May 1941", "", "", shape)


def real_facts(title: str, sentences: list[str]) -> list[Fact]:
    return [fact for sentence in sentences for fact in facts_of(title, sentence, CORPUS)[0]]


def test_a_plain_fact_comes_before_one_without_a_question() -> None:
    facts = [fact(0, "A.", plain=False), fact(1, "B."), fact(2, "C.", plain=False), fact(3, "D.")]
    for seed in range(5):
        assert plainest("Siege of Tobruk", facts, 2, seed) == {"f1", "f3"}


def test_a_second_fact_of_a_sentence_waits_for_the_other_sentences() -> None:
    facts = [fact(0, "A."), fact(1, "A."), fact(2, "A."), fact(3, "B."), fact(4, "C.")]
    for seed in range(5):
        chosen = plainest("Siege of Tobruk", facts, 3, seed)
        assert {"f3", "f4"} < chosen
        assert len(chosen) == 3


def test_of_neighbours_the_sentence_that_names_the_subject_is_taken() -> None:
    facts = [fact(0, "The port fell."), fact(1, "The siege began."), fact(2, "Tobruk held."), fact(3, "It rained.")]
    for seed in range(5):
        assert plainest("Siege of Tobruk", facts, 2, seed) == {"f1", "f2"}


def test_the_facts_taken_of_an_article_come_from_both_halves_of_it() -> None:
    for title, sentences in ARTICLES:
        facts = real_facts(title, sentences)
        plain = [fact for fact in facts if fact.shape]
        chosen = plainest(title, facts, 10, 0)
        assert len(chosen) == min(10, len(facts))
        assert {fact.key for fact in plain} <= chosen or all(fact.shape for fact in facts if fact.key in chosen)
        if len(plain) >= 20:
            middle = plain[len(plain) // 2].key
            taken = [fact.key for fact in plain if fact.key in chosen]
            before = sum(fact.key in chosen for fact in plain[: [fact.key for fact in plain].index(middle)])
            assert 3 <= before <= 7, (title, taken)


def test_few_sentences_give_more_than_one_fact() -> None:
    given_twice = 0
    for title, sentences in ARTICLES:
        facts = real_facts(title, sentences)
        chosen = plainest(title, facts, 10, 0)
        taken = Counter(fact.sentence for fact in facts if fact.key in chosen)
        given_twice += sum(times > 1 for times in taken.values())
    assert given_twice < len(ARTICLES)


@given(
    st.lists(st.tuples(st.sampled_from("ABCDE"), st.booleans()), max_size=20),
    st.integers(1, 25),
    st.integers(0, 3),
)
def test_as_many_are_taken_as_wanted_and_none_is_made_up(made: list[tuple[str, bool]], wanted: int, seed: int) -> None:
    facts = [fact(number, sentence, plain=plain) for number, (sentence, plain) in enumerate(made)]
    chosen = plainest("Siege of Tobruk", facts, wanted, seed)
    assert len(chosen) == min(wanted, len(facts))
    assert chosen <= {fact.key for fact in facts} == plainest("Siege of Tobruk", facts, None, seed)
