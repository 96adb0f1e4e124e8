"""The laws of what is asked: probes are unseen wordings of taught facts, pairs stay whole, no place is favoured."""

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import fill, sample_articles

from datagen import families
from datagen.facts import BLANK, Fact
from datagen.generate import Settings, generate
from datagen.phrasings import MIN_TRAIN, Choice, chosen, phrased, roles
from datagen.pools import POOL_SIZE, Pools, Sample
from datagen.records import FAMILIES, Record

IDS = st.lists(st.text("abcdef", min_size=1, max_size=4), unique=True, max_size=12)
ON_FACTS = [family for family in FAMILIES if family != "qpt"]


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    db = fill(tmp_path_factory.mktemp("factory") / "factory.db", sample_articles(12))
    for _ in generate(db, Settings()):
        pass
    yield db
    db.close()


@pytest.fixture(scope="module")
def records(factory: sqlite3.Connection) -> list[Record]:
    return [Record.from_row(row) for row in factory.execute("select * from record order by id")]


def of_family(records: list[Record], family: str) -> list[Record]:
    return [record for record in records if record.family == family]


@given(key=st.text(max_size=8), ids=IDS, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_at_least_two_wordings_of_a_fact_are_taught_or_none_is_a_probe(
    key: str, ids: list[str], share: float, seed: int
) -> None:
    given_roles = roles(key, ids, share, seed)
    assert list(given_roles) == ids
    taught = list(given_roles.values()).count("train")
    assert taught >= min(MIN_TRAIN, len(ids))


@given(key=st.text(max_size=8), ids=IDS, share=st.floats(0, 1), seed=st.integers(0, 5))
def test_roles_do_not_depend_on_the_order_of_the_wordings(key: str, ids: list[str], share: float, seed: int) -> None:
    assert roles(key, ids, share, seed) == roles(key, ids[::-1], share, seed)


@given(key=st.text(max_size=8), ids=IDS, at_most=st.integers(1, 12), seed=st.integers(0, 5))
def test_fewer_wordings_are_always_some_of_more(key: str, ids: list[str], at_most: int, seed: int) -> None:
    few, more = chosen(key, ids, at_most, seed), chosen(key, ids, at_most + 1, seed)
    assert set(few) <= set(more) <= set(ids)
    assert len(few) == min(at_most, len(ids))


def test_the_share_of_probes_is_what_was_asked_for() -> None:
    counted = Counter(
        role for fact in range(2000) for role in phrased(str(fact), "cloze", map(str, range(10)), Choice()).values()
    )
    assert counted["probe"] / counted.total() == pytest.approx(0.15, abs=0.01)


def test_every_family_is_a_file_and_every_file_a_family() -> None:
    assert families.names() == sorted(FAMILIES)


def test_there_are_enough_wordings_of_everything() -> None:
    counts = {family: len(families.load(family).PHRASINGS) for family in FAMILIES}
    assert counts.pop("qpt") == 28
    assert min(counts["cloze"], counts["who_when_where"]) >= 8
    assert min(counts.values()) >= 4
    for family in FAMILIES:
        templates = families.load(family).PHRASINGS.values()
        assert len(set(templates)) == len(templates)


def test_all_families_are_made_of_the_sample(records: list[Record]) -> None:
    assert set(Counter(record.family for record in records)) == set(FAMILIES)
    assert min(Counter(record.family for record in records).values()) > 500


@pytest.mark.parametrize("family", ON_FACTS)
def test_what_a_probe_asks_is_taught_twice_in_its_own_family_in_other_words(records: list[Record], family: str) -> None:
    taught = defaultdict(set)
    for record in of_family(records, family):
        if record.role == "train":
            taught[record.fact].add(record.phrasing)
    probes = [record for record in of_family(records, family) if record.role == "probe"]
    assert len(probes) > 50
    for probe in probes:
        assert len(taught[probe.fact]) >= MIN_TRAIN
        assert probe.phrasing not in taught[probe.fact]


def test_no_question_is_asked_twice_so_no_probe_is_ever_taught(records: list[Record]) -> None:
    questions = [record.question for record in records]
    assert len(set(questions)) == len(questions)


def test_one_value_has_one_key_in_all_families(records: list[Record]) -> None:
    values: dict[str, set[str]] = defaultdict(set)
    asked_by: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.family in ("cloze", "who_when_where", "which_of_two"):
            values[record.fact].add(record.answer)
        asked_by[record.fact].add(record.family)
    assert {len(answers) for answers in values.values()} == {1}
    assert sum(len(asking) == len(ON_FACTS) for asking in asked_by.values()) > 100


def test_which_of_two_is_always_made_in_both_orders_with_one_role(records: list[Record]) -> None:
    pairs = defaultdict(list)
    for record in of_family(records, "which_of_two"):
        pairs[record.fact, record.phrasing].append(record)
    for first, second in pairs.values():  # exactly two of each, or this fails
        right, wrong = first.answer, first.reference.alternatives[0]
        assert first.role == second.role
        assert (second.answer, second.reference.alternatives) == (right, (wrong,))
        before, after = first.question.index(right), second.question.index(right)
        assert (before < first.question.index(wrong)) != (after < second.question.index(wrong))
        swapped = first.question.replace(right, "\0").replace(wrong, right).replace("\0", wrong)
        assert swapped == second.question


def test_true_and_false_are_said_equally_often_and_about_the_same_sentences(records: list[Record]) -> None:
    pairs = defaultdict(list)
    for record in of_family(records, "true_false"):
        pairs[record.fact, record.phrasing].append(record)
        assert record.reference.alternatives == ({"True": "False", "False": "True"}[record.answer],)
    for pair in pairs.values():
        assert sorted(record.answer for record in pair) == ["False", "True"]
        assert len({record.role for record in pair}) == 1


def test_the_right_option_stands_equally_often_at_each_letter(records: list[Record]) -> None:
    made = of_family(records, "multiple_choice")
    letters = Counter(record.answer[0] for record in made)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) / min(letters.values()) < 1.15
    for record in made:
        options = sorted((record.answer, *record.reference.alternatives))
        assert [option[:3] for option in options] == ["A. ", "B. ", "C. ", "D. "]
        assert "; ".join(options) + "." in record.question
        assert len({option[3:] for option in options}) == 4


def test_every_question_names_its_subject(factory: sqlite3.Connection) -> None:
    rows = factory.execute("select question, title from record join article on article.id = article_id")
    for row in rows:
        assert row["title"].lower() in row["question"].lower()


def test_a_wrong_value_is_never_in_the_article_where_it_could_be_right(factory: sqlite3.Connection) -> None:
    rows = factory.execute(
        "select answer, json_extract(reference, '$.alternatives[0]') wrong, json_extract(reference, '$.source') source,"
        " text from record join article on article.id = article_id where family = 'which_of_two'"
    )
    for row in rows:
        assert row["wrong"] not in row["source"]
        if row["wrong"][-1].isalpha() and not row["wrong"].islower() and row["wrong"][0].isupper():
            assert row["wrong"] not in row["text"]


def test_no_statement_with_a_bound_is_called_false_for_another_bound(records: list[Record]) -> None:
    bounds = re.compile(r"\b(?:more than|over|at least|up to|fewer than) \d[\d,]* |\b[Bb]y (?:[A-Z]\w+ )?19\d\d\b")
    full: dict[tuple[str, str], dict[str, str]] = {}
    for record in of_family(records, "true_false"):
        full.setdefault((record.fact, record.phrasing), {})[record.answer] = record.question
    assert any(bounds.search(pair["True"]) for pair in full.values()), "some hold a bound beside what is asked"
    for pair in full.values():
        assert [found[0] for found in bounds.finditer(pair["True"])] == [
            found[0] for found in bounds.finditer(pair["False"])
        ]
    sentences = [record for record in of_family(records, "which_of_two") if BLANK in record.question]
    assert len(sentences) > 100
    assert not [r for r in sentences if re.search(rf"(?:more than|at least|[Bb]y) {BLANK}", r.question)]
    asked = [record for record in of_family(records, "cloze") if f"more than {BLANK}" in record.question]
    assert asked, "where nothing wrong is said, bounds are asked for"


def test_who_was_in_a_town_may_have_been_in_its_continent() -> None:
    samples: dict[tuple[str, str], Sample] = {("place", "bare"): Sample()}
    for value in ("Africa", "Europe", "Tobruk", "Minsk", "Sedan"):
        samples["place", "bare"].add(value)
    pools = Pools(samples)
    sentence = "The army stood in Sedan."
    town = Fact("k", "War", sentence, "place", "bare", "Sedan", "The army stood in ", ".", None)
    assert sorted(pools.wrong(town, sentence)) == ["Minsk", "Tobruk"]
    continent = replace(town, sentence="The army stood in Asia.", value="Asia")
    assert sorted(pools.wrong(continent, continent.sentence)) == ["Africa", "Europe", "Minsk", "Sedan", "Tobruk"]


def test_cloze_and_questions_hold_no_answer_and_cloze_one_hole(records: list[Record]) -> None:
    for record in of_family(records, "cloze"):
        assert record.question.count(BLANK) == 1
        assert record.answer in record.reference.source
    for record in of_family(records, "cloze") + of_family(records, "who_when_where"):
        assert not re.search(rf"(?<!\w){re.escape(record.answer)}(?!\w)", record.question)


def test_qpt_answers_are_the_snippets_word_for_word(factory: sqlite3.Connection) -> None:
    rows = factory.execute(
        "select answer, text, role, fact, count(*) over (partition by snippet_id) wordings"
        " from record join snippet on snippet.id = snippet_id where family = 'qpt'"
    ).fetchall()
    for row in rows:
        assert (row["answer"], row["role"], row["fact"], row["wordings"]) == (row["text"], "train", "", 28)


@given(st.lists(st.text(max_size=3)))
def test_a_sample_of_values_depends_on_what_was_there_not_on_the_order(values: list[str]) -> None:
    one, other = Sample(), Sample()
    for value in values:
        one.add(value)
    for value in reversed(values):
        other.add(value)
    assert one.values() == other.values()
    assert set(one.values()) == set(values)


def test_a_sample_is_bounded_and_keeps_the_same_values_in_any_order() -> None:
    values = [f"{number} March 1944" for number in range(3 * POOL_SIZE)]
    samples: list[Any] = [Sample(), Sample()]
    for value in values:
        samples[0].add(value)
    for value in reversed(values):
        samples[1].add(value)
    assert samples[0].values() == samples[1].values()
    assert len(samples[0].values()) == len(samples[0].held) == POOL_SIZE
