"""Every record once, whole, on one side; contexts full; the same bytes whatever interrupted the packing."""

import itertools
import json
import math
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen import files
from datagen.factory import open_factory
from datagen.records import read_questions
from gpt import source
from gpt.pack import JOURNAL, QUESTIONS, PackConfig, Packing, pack
from gpt.packer import Document, Packer
from gpt.shards import IGNORE, Pack, open_pack
from gpt.shuffle import BadPack, order_records, shuffle, split_articles
from gpt.source import Stopped
from gpt.tokenizer import Tokenizer
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer
from tests.gpt.small_factory import make_factory

CONFIG = PackConfig(context_len=160, shard_contexts=5, val_articles=0.2, window=64)
MakePack = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    with source.opened(make_factory(folder / "factory.db", num_articles=20)) as db:
        make_tokenizer(db, folder / "tokenizer", folder, TokenizerConfig(760))
        pack(db, Tokenizer.load(folder / "tokenizer"), folder / "pack", CONFIG)
    return folder


@pytest.fixture(scope="session")
def tokenizer(home: Path) -> Tokenizer:
    return Tokenizer.load(home / "tokenizer")


@pytest.fixture(scope="session")
def packed(home: Path) -> Pack:
    return open_pack(home / "pack")


@pytest.fixture
def make_pack(home: Path, tokenizer: Tokenizer) -> MakePack:
    def make(folder: Path, config: PackConfig = CONFIG, **more: Any) -> dict[str, Any]:
        with source.opened(home / "factory.db") as db:
            return pack(db, tokenizer, folder, config, **more)

    return make


def rows(home: Path, sql: str) -> list[sqlite3.Row]:
    db = open_factory(home / "factory.db")
    found = db.execute(sql).fetchall()
    db.close()
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def packed_records(packed: Pack, split: str) -> list[int]:
    return [int(id) for index in range(packed.num_contexts(split)) for id in packed.records(split, index)]


def test_every_train_record_is_in_exactly_one_context_exactly_once_and_no_probe_is(home: Path, packed: Pack) -> None:
    in_pack = packed_records(packed, "train") + packed_records(packed, "val")
    assert sorted(in_pack) == [
        row["id"] for row in rows(home, "select id from record where role = 'train' order by id")
    ]


def test_no_article_is_on_both_sides(home: Path, packed: Pack) -> None:
    article = {row["id"]: row["title"] for row in rows(home, "select record.id, title from record join article "
                                                             "on article.id = article_id")}  # fmt: skip
    train, val = ({article[id] for id in packed_records(packed, split)} for split in ("train", "val"))
    assert not train & val
    assert sorted(val) == packed.manifest["val_articles"]
    assert len(val) == 4  # 0.2 of 20


def test_the_labels_of_each_document_are_its_records_answer_and_its_end(
    home: Path, packed: Pack, tokenizer: Tokenizer
) -> None:
    answers = {row["id"]: (row["question"], row["answer"]) for row in rows(home, "select * from record")}
    for split in ("train", "val"):
        for index in range(packed.num_contexts(split)):
            context = packed.context(split, index)
            spans = itertools.pairwise(context.bounds)
            for record, (start, end) in zip(packed.records(split, index), spans, strict=False):
                question, answer = answers[int(record)]
                labels = context.labels_T[start:end]
                assert tokenizer.decode(labels[labels != IGNORE].tolist()) == answer + "<|im_end|>"
                assert context.tokens_T[start:end].tolist() == tokenizer.document(question, answer)[0]
                assert (np.diff(np.flatnonzero(labels != IGNORE)) == 1).all()
                assert labels[-1] == IGNORE  # nothing is predicted past a document's end


def test_the_manifest_counts_what_is_there(packed: Pack) -> None:
    packed.verify()
    for split in ("train", "val"):
        contexts = [packed.context(split, index) for index in range(packed.num_contexts(split))]
        counts = packed.manifest["counts"][split]
        assert counts["num_contexts"] == len(contexts)
        assert counts["num_documents"] == len(packed_records(packed, split))
        assert counts["num_tokens"] == sum(context.num_tokens for context in contexts)
        assert counts["num_loss_tokens"] == sum(int((context.labels_T != IGNORE).sum()) for context in contexts)
        share = counts["num_tokens"] / (len(contexts) * CONFIG.context_len)
        assert packed.manifest["fill_share"][split] == pytest.approx(share, abs=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(
    home: Path, tmp_path: Path, packed: Pack, make_pack: MakePack
) -> None:
    make_pack(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(home / "pack")
    make_pack(tmp_path / "other", PackConfig(160, 1, 5, 0.2, 64))
    assert packed_records(open_pack(tmp_path / "other"), "train") != packed_records(packed, "train")


@pytest.mark.parametrize("room", [0, 300])
def test_what_is_remembered_of_answers_has_an_end_and_changes_no_byte(
    home: Path, tmp_path: Path, make_pack: MakePack, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    kept = []
    real = Packing._remember
    monkeypatch.setattr("gpt.pack.LONG_ANSWER", 5)
    monkeypatch.setattr("gpt.pack.KNOWN_CHARACTERS", room)
    monkeypatch.setattr(
        Packing, "_remember", lambda self, fresh: (real(self, fresh), kept.append(sum(map(len, self.known))))
    )
    make_pack(tmp_path / "pack")
    assert 0 <= max(kept) <= room
    assert (max(kept) > 0) == (room > 0)
    assert contents(tmp_path / "pack") == contents(home / "pack")


def test_the_shuffle_is_uniform() -> None:
    """chi-square of (place before, place after) over many seeds; (n-1)^2 degrees of freedom."""
    count, seeds = 6, 6000
    table = np.zeros((count, count))
    orders = Counter[tuple[int, ...]]()
    for seed in range(seeds):
        order = np.arange(count)
        shuffle(order, seed)
        table[np.arange(count), order] += 1
        orders[tuple(map(int, order))] += 1
    chi2 = ((table - seeds / count) ** 2 / (seeds / count)).sum()
    degrees = (count - 1) ** 2
    assert abs(chi2 - degrees) < 4 * math.sqrt(2 * degrees)
    all_orders = math.factorial(count)
    chi2 = sum((orders[order] - seeds / all_orders) ** 2 for order in itertools.permutations(range(count)))
    chi2 /= seeds / all_orders
    assert abs(chi2 - (all_orders - 1)) < 4 * math.sqrt(2 * (all_orders - 1))


def test_the_order_is_one_permutation_of_all_train_records_with_the_kept_articles_taken_out(home: Path) -> None:
    known = rows(home, "select id, article_id from record where role = 'train' order by id")
    whole = np.array([row["id"] for row in known])
    shuffle(whole, 3)
    in_val = {row["id"] for row in known if row["article_id"] in (2, 5)}
    with source.opened(home / "factory.db") as db:
        order = order_records(db, {2, 5}, seed=3)
    assert order["train"].tolist() == [id for id in whole if id not in in_val]
    assert order["val"].tolist() == [id for id in whole if id in in_val]
    assert in_val


def test_records_leave_in_an_order_that_forgot_how_they_came(packed: Pack) -> None:
    order = np.array(packed_records(packed, "train"))
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 4 / math.sqrt(len(order))


# --- the packer alone


def document(record: int, length: int) -> Document:
    return Document(record, np.full(length, record % 1000, np.uint16), 1, length)


@given(
    lengths=st.lists(st.integers(1, 40), max_size=120),
    window=st.integers(1, 30),
    cut=st.integers(0, 120),
)
def test_the_packer_gives_every_document_once_and_goes_on_from_its_pool(
    lengths: list[int], window: int, cut: int
) -> None:
    documents = [document(number, length) for number, length in enumerate(lengths)]
    packer = Packer(40, window)
    straight = [row for each in documents for row in packer.add(each)] + list(packer.finish())
    packer = Packer(40, window)
    resumed = [row for each in documents[:cut] for row in packer.add(each)]
    packer = Packer(40, window, packer.pool)
    resumed += [row for each in documents[cut:] for row in packer.add(each)] + list(packer.finish())

    names = [[each.record for each in row] for row in straight]
    assert names == [[each.record for each in row] for row in resumed]
    assert sorted(itertools.chain(*names)) == list(range(len(documents)))
    for row in straight:
        assert 0 < sum(len(each.tokens) for each in row) <= 40


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=80))
def test_no_two_rows_could_have_been_one(lengths: list[int]) -> None:
    packer = Packer(40, 1000)
    for number, length in enumerate(lengths):
        packer.add(document(number, length))
    fills = [sum(len(each.tokens) for each in row) for row in packer.finish()]
    assert all(one + other > 40 for one, other in itertools.pairwise(fills))


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=12), room=st.integers(1, 20))
@settings(max_examples=200)
def test_the_last_ones_chosen_fill_best_of_all_singles_and_pairs(lengths: list[int], room: int) -> None:
    packer = Packer(20, 1000, [document(number, length) for number, length in enumerate(lengths)])
    singles = [length for length in lengths if length <= room]
    pairs = [one + other for one, other in itertools.combinations(lengths, 2) if one + other <= room]
    assert sum(packer._best(room)) == max([*singles, *pairs], default=0)


@pytest.mark.parametrize("context_len", [512, 1024, 4096])
def test_contexts_of_questions_and_answers_are_over_99_percent_full(context_len: int) -> None:
    dice = random.Random(0)
    packer = Packer(context_len, PackConfig().window)
    tokens = contexts = 0
    lengths = [dice.randint(150, 330) if dice.random() < 0.3 else dice.randint(28, 90) for _ in range(20_000)]
    for number, length in enumerate(lengths):
        for row in packer.add(document(number, length)):
            contexts, tokens = contexts + 1, tokens + sum(len(each.tokens) for each in row)
    for row in packer.finish():
        contexts, tokens = contexts + 1, tokens + sum(len(each.tokens) for each in row)
    assert tokens == sum(lengths)
    assert tokens / (contexts * context_len) > 0.995


# --- what does not fit, what is asked


def test_a_document_longer_than_a_context_is_left_out_whole_and_counted(
    home: Path, tmp_path: Path, make_pack: MakePack, tokenizer: Tokenizer
) -> None:
    manifest = make_pack(tmp_path / "short", PackConfig(context_len=80, val_articles=0.2))
    train = rows(home, "select * from record where role = 'train' order by id")
    too_long = {row["id"] for row in train if len(tokenizer.document(row["question"], row["answer"])[0]) > 80}
    short = open_pack(tmp_path / "short")
    assert 0 < len(too_long) < len(train)
    assert manifest["rejected"]["count"] == len(too_long)
    assert set(manifest["rejected"]["records"]) == too_long
    assert "longer than 80 tokens" in manifest["rejected"]["reason"]
    in_pack = packed_records(short, "train") + packed_records(short, "val")
    assert sorted(in_pack) == [row["id"] for row in train if row["id"] not in too_long]


def test_when_nothing_fits_a_context_it_is_refused(tmp_path: Path, make_pack: MakePack) -> None:
    with pytest.raises(BadPack, match="take a larger context_len"):
        make_pack(tmp_path / "none", PackConfig(context_len=8))


def test_questions_are_unseen_phrasings_and_all_about_unseen_articles(home: Path, packed: Pack) -> None:
    questions = list(read_questions(home / "pack" / QUESTIONS))
    val = set(packed.manifest["val_articles"])
    known = rows(home, "select record.*, title from record join article on article.id = article_id")
    seen = {f"r{row['id']}" for row in known if row["role"] == "probe" and row["title"] not in val}
    unseen = {f"r{row['id']}" for row in known if row["family"] != "qpt" and row["title"] in val}
    assert {question.id for question in questions if question.group == "seen_facts"} == seen
    assert {question.id for question in questions if question.group == "unseen_articles"} == unseen
    assert len(questions) == len(seen) + len(unseen) == sum(packed.manifest["questions"].values())
    taught = {(row["question"]) for row in known if f"r{row['id']}" not in seen | unseen}
    assert not taught & {question.question for question in questions}
    facts_taught = {row["fact"] for row in known if row["role"] == "train" and row["title"] not in val}
    assert {question.fact for question in questions if question.group == "seen_facts"} <= facts_taught


def test_the_most_frequent_answer_is_counted_over_training_alone(home: Path, packed: Pack) -> None:
    val = set(packed.manifest["val_articles"])
    known = rows(home, "select record.*, title from record join article on article.id = article_id order by record.id")
    answers = Counter(
        row["answer"] for row in known if row["role"] == "train" and row["family"] != "qpt" and row["title"] not in val
    )
    most = max(answers.values())
    assert packed.manifest["most_frequent"] == {
        "who_when_where": min(answer for answer, times in answers.items() if times == most)
    }


def test_a_factory_of_one_article_is_refused_since_one_is_kept(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with (
        source.opened(make_factory(tmp_path / "one.db", num_articles=1)) as db,
        pytest.raises(BadPack, match="1 article has records: take two or more"),
    ):
        pack(db, tokenizer, tmp_path / "pack", CONFIG)


@pytest.mark.parametrize(("share", "expected"), [(0.001, 1), (0.1, 2), (0.5, 10), (0.999, 19)])
def test_at_least_one_article_is_kept_and_at_least_one_trained_on(home: Path, share: float, expected: int) -> None:
    with source.opened(home / "factory.db") as db:
        assert len(split_articles(db, share, seed=0)) == expected


# --- interrupted


def test_stopped_at_every_chance_a_pack_ends_in_the_same_bytes(
    home: Path, tmp_path: Path, make_pack: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.pack.BATCH", 16)
    for num_looks in itertools.count(1):  # each attempt gets one step further, from what the last one left
        looks = itertools.count(1)
        try:
            make_pack(tmp_path / "pack", stop=lambda: next(looks) >= num_looks)  # noqa: B023
        except Stopped:
            assert not files.is_complete(tmp_path / "pack")
        else:
            break
    assert num_looks > 10
    assert contents(tmp_path / "pack") == contents(home / "pack")


def test_what_is_done_is_not_done_again(tmp_path: Path, make_pack: MakePack) -> None:
    looks = itertools.count()
    with pytest.raises(Stopped):
        make_pack(tmp_path / "pack", stop=lambda: next(looks) >= 3)
    before = {name: (tmp_path / "pack" / name).stat().st_mtime_ns for name in contents(tmp_path / "pack")}
    assert any(name.startswith("train-") for name in before)
    make_pack(tmp_path / "pack")
    for name, at in before.items():
        if name != JOURNAL:
            assert (tmp_path / "pack" / name).stat().st_mtime_ns == at, name


def test_a_factory_that_grew_meanwhile_is_packed_from_the_start(
    home: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    looks = itertools.count()
    with source.opened(make_factory(tmp_path / "small.db", 12)) as db, pytest.raises(Stopped):
        pack(db, tokenizer, tmp_path / "pack", CONFIG, stop=lambda: next(looks) >= 3)
    assert json.loads((tmp_path / "pack" / JOURNAL).read_text())["splits"]["train"]["cursor"] > 0
    with source.opened(home / "factory.db") as db:
        pack(db, tokenizer, tmp_path / "pack", CONFIG)
    assert contents(tmp_path / "pack") == contents(home / "pack")


def test_a_torn_journal_is_no_journal(home: Path, tmp_path: Path, make_pack: MakePack) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / JOURNAL).write_text('{"made_with": {"fac')
    make_pack(tmp_path / "pack")
    assert contents(tmp_path / "pack") == contents(home / "pack")


def test_a_finished_pack_is_left_alone_and_other_settings_are_refused(home: Path, make_pack: MakePack) -> None:
    before = contents(home / "pack")
    make_pack(home / "pack")
    with pytest.raises(BadPack, match="made with other config: a finished pack is never changed"):
        make_pack(home / "pack", PackConfig(context_len=200))
    assert contents(home / "pack") == before


@pytest.mark.parametrize("content", [None, b"", b"not a database" * 100])
def test_a_file_that_is_no_factory_is_refused_with_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "factory.db").write_bytes(content)
    with pytest.raises(source.BadSource, match="factory"), source.opened(tmp_path / "factory.db"):
        pass


def test_a_factory_without_records_is_refused(tmp_path: Path) -> None:
    open_factory(tmp_path / "factory.db").close()
    with pytest.raises(source.BadSource, match="run generate on it first"), source.opened(tmp_path / "factory.db"):
        pass
