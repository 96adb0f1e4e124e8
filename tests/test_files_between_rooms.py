"""What one room writes, the next one reads: every file between rooms, made by the real kinds, read by its real reader.

corpus → factory ← generate → tokenizer → pack → train → models → answer → answers → judge → reports → picture
No supervisor here, and no daemon: files alone.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from datagen import files
from datagen.factory import open_factory
from datagen.records import Record, read_questions
from gpt import archive, plot, source
from gpt.metrics import read_steps
from gpt.shards import IGNORE, Pack, open_pack
from gpt.tokenizer import IM_END, Tokenizer
from jobs import models
from judge.verdicts import load_answers, load_questions, read_verdicts
from tests.jobs.small_home import run_kind

ROOT = Path(__file__).parent.parent
ARTICLES = ("battle-of-kursk", "battle-of-midway", "siege-of-tobruk", "winter-war", "the-blitz")
TRAIN_JOB = 5
TRAIN = {
    "pack": "packs/made", "name": "made", "steps": 8, "micro_batch": 2, "grad_accum": 1, "n_layer": 1, "n_head": 2,
    "n_embd": 32, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 2, "eval_every": 4, "eval_contexts": 2, "threads": 1,
    "draw_every_s": 1000.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which every kind of the pipeline ran once."""
    home = tmp_path_factory.mktemp("home")
    (home / "articles").mkdir()
    for name in ARTICLES:
        shutil.copy(ROOT / "datagen" / "sample" / f"{name}.txt", home / "articles")
    run_kind(home, 1, "corpus", source=str(home / "articles"), factory="corpus/made.db")
    records = {"phrasings_per_snippet": 2, "facts_per_article": 8}
    run_kind(home, 2, "generate", corpus="corpus/made.db", factory="factory/made.db", **records)
    run_kind(home, 3, "tokenizer", factory="factory/made.db", out="tokenizers/made", vocab_size=800)
    given = {"factory": "factory/made.db", "tokenizer": "tokenizers/made", "out": "packs/made"}
    run_kind(home, 4, "pack", **given, context_len=320, shard_contexts=64, val_articles=0.2)
    run_kind(home, TRAIN_JOB, "train", **TRAIN)
    asked = {"model": model_of(home), "questions": "packs/made/questions.jsonl", "limit_per_group": 15}
    run_kind(home, 6, "answer", **asked)
    run_kind(home, 7, "answer", **asked, untrained=True, out="fresh")
    run_kind(home, 8, "judge", model=model_of(home), pack="packs/made", baselines="fresh")
    return home


def model_of(home: Path) -> str:
    [only] = archive.list_models(home)
    return only.name


@pytest.fixture
def factory(home: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_factory(home / "factory" / "made.db")) as db:
        yield db


@pytest.fixture
def tokenizer(home: Path) -> Tokenizer:
    return Tokenizer.load(home / "tokenizers" / "made")


@pytest.fixture
def pack(home: Path) -> Pack:
    return open_pack(home / "packs" / "made")


def records(db: sqlite3.Connection) -> dict[int, tuple[Record, str]]:
    """Each record by id, with its article's title."""
    rows = db.execute("select record.*, title from record join article on article.id = article_id")
    return {row["id"]: (Record.from_row(row), row["title"]) for row in rows}


# ── corpus → generate → gpt ───────────────────────────────────────────────────────────────────────────────────────


def test_generate_works_on_the_very_articles_that_corpus_wrote(home, factory):
    with closing(open_factory(home / "corpus" / "made.db")) as corpus:
        for table in ("article", "snippet"):
            told = f"select * from {table} order by id"
            assert [tuple(row) for row in corpus.execute(told)] == [tuple(row) for row in factory.execute(told)]
        assert corpus.execute("select count(*) from record").fetchone()[0] == 0  # it writes into its own file alone
    assert factory.execute("select count(*) from article").fetchone()[0] == len(ARTICLES)


def test_every_snippet_is_text_of_its_article(factory):
    for row in factory.execute(
        "select snippet.text, article.text as whole from snippet join article on article.id = article_id"
    ):
        assert row["text"] in " ".join(row["whole"].split())


def test_gpt_reads_each_record_as_datagen_wrote_it(home, factory):
    written = records(factory)
    with source.opened(home / "factory" / "made.db") as db:
        read = source.fetch(db, sorted(written))
        lines = set(source.training_lines(db))
    assert read == [(id, written[id][0].question, written[id][0].answer) for id in sorted(written)]
    taught = {record.question for record, _ in written.values() if record.role == "train"}
    asked = {record.question for record, _ in written.values() if record.role == "probe"}
    assert taught <= lines
    assert asked
    assert not asked & lines  # the tokenizer never sees what a model will be asked


# ── tokenizer → pack ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tokenizer_gives_every_text_of_the_factory_back(factory, tokenizer):
    for record, _ in records(factory).values():
        for text in (record.question, record.answer):
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_same_tokenizer_goes_with_the_pack_and_with_the_model(home, tokenizer, pack):
    assert pack.manifest["tokenizer_sha256"] == tokenizer.sha256
    for folder in (pack.folder, home / "models" / model_of(home)):
        assert (folder / "tokenizer.model").read_bytes() == tokenizer.model_bytes
    config = archive.read_config(home / "models" / model_of(home))
    assert (config.vocab_size, config.context_len) == (tokenizer.vocab_size, pack.context_len)


# ── factory → pack → train ────────────────────────────────────────────────────────────────────────────────────────


def documents(pack: Pack, split: str) -> Iterator[tuple[int, list[int], list[int]]]:
    """(record, tokens, the labels at their places) of every document in a split."""
    for index in range(pack.num_contexts(split)):
        row = pack.context(split, index)
        for place, record in enumerate(pack.records(split, index)):
            start, end = row.bounds[place], row.bounds[place + 1]
            yield int(record), row.tokens_T[start:end].tolist(), row.labels_T[start:end].tolist()


def test_each_document_in_a_shard_is_its_record_and_the_loss_is_on_the_answer_alone(factory, tokenizer, pack):
    written = records(factory)
    pack.verify()
    for split in ("train", "val"):
        for id, tokens, labels in documents(pack, split):
            record, _ = written[id]
            expected, start, end = tokenizer.document(record.question, record.answer)
            assert tokens == expected
            assert [label for label in labels if label != IGNORE] == tokens[start:end]
            assert tokenizer.decode(tokens[start:end]) == record.answer + IM_END


def test_every_train_record_is_in_one_shard_once_and_no_article_on_both_sides(factory, pack):
    written = records(factory)
    packed = {split: [id for id, _, _ in documents(pack, split)] for split in ("train", "val")}
    titles = {split: {written[id][1] for id in ids} for split, ids in packed.items()}
    assert titles["val"] == set(pack.manifest["val_articles"])
    assert not titles["train"] & titles["val"]
    every = packed["train"] + packed["val"]
    assert len(every) == len(set(every))
    assert {written[id][0].role for id in every} == {"train"}
    too_long = pack.manifest["rejected"]["count"]
    assert len(every) + too_long == sum(record.role == "train" for record, _ in written.values())


def test_training_read_what_was_packed(home, pack):
    [about] = [entry.manifest for entry in archive.list_models(home)]
    assert (about["pack"], about["pack_sha256"]) == ("packs/made", pack.manifest["sha256"])
    steps = read_steps(home / "runs" / str(TRAIN_JOB) / "metrics.db")
    assert [row.step for row in steps] == list(range(1, 9))
    assert (steps[-1].val_loss, steps[-1].tokens_seen) == (about["val_loss"], about["tokens_seen"])


# ── pack → questions → answers → verdicts ─────────────────────────────────────────────────────────────────────────


def test_each_question_is_a_record_that_no_shard_teaches(factory, pack):
    written = records(factory)
    taught = {id for id, _, _ in documents(pack, "train")}
    for question in read_questions(pack.folder / "questions.jsonl"):
        record, title = written[int(question.id.removeprefix("r"))]
        assert (question.question, question.reference, question.article) == (record.question, record.reference, title)
        assert int(question.id.removeprefix("r")) not in taught
        facts = {written[id][0].fact for id in taught}
        assert (question.fact in facts) == (question.group == "seen_facts")


def test_answers_are_to_the_packs_questions_and_the_judge_can_read_them(home, pack):
    questions, manifest, sha256 = load_questions(pack.folder)
    assert manifest == pack.manifest
    answers = load_answers(home / "answers" / model_of(home), questions, sha256)
    assert answers.manifest["model_sha256"] == archive.list_models(home)[0].manifest["sha256"][archive.WEIGHTS]
    by_group = {question.id: question.group for question in questions}
    groups = [by_group[id] for id in answers.answers]
    assert (groups.count("seen_facts"), groups.count("unseen_articles")) == (15, 15)
    fresh = load_answers(home / "answers" / "fresh", questions, sha256)
    assert (answers.label, fresh.label) == (model_of(home), "untrained")
    assert list(fresh.answers) == list(answers.answers)


def test_each_verdict_is_on_the_answer_that_was_given(home, pack):
    verdicts = read_verdicts(home / "reports" / model_of(home))
    given = [
        json.loads(line) for line in (home / "answers" / model_of(home) / "answers.jsonl").read_text().splitlines()
    ]
    assert [(verdict.id, verdict.answer) for verdict in verdicts] == [(row["id"], row["answer"]) for row in given]


# ── verdicts → report → picture, archive ──────────────────────────────────────────────────────────────────────────


def report_of(home: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((home / "reports" / model_of(home) / "report.json").read_text())
    return report


def test_the_report_counts_its_verdicts_and_names_the_model_that_gave_them(home):
    report, verdicts = report_of(home), read_verdicts(home / "reports" / model_of(home))
    assert (report["model"], report["step"], report["run"], report["pack"]) == (model_of(home), 8, TRAIN_JOB, "made")
    for group, counted in report["groups"].items():
        mine = [verdict for verdict in verdicts if verdict.group == group]
        assert (counted["n"], counted["passed"]) == (len(mine), sum(verdict.passed for verdict in mine))
        assert set(counted["baselines"]) == {"untrained", "most_frequent"}


def test_the_picture_finds_the_verdicts_of_its_run_and_no_other_runs(home):
    judged = plot.read_judged(home / "reports", TRAIN_JOB, "made")
    for group, counted in report_of(home)["groups"].items():
        [point] = judged[group]
        assert (point.step, point.rate, point.num) == (8, counted["pass_rate"], counted["n"])
    assert plot.read_judged(home / "reports", TRAIN_JOB + 1, "made") == {}
    assert (home / "runs" / str(TRAIN_JOB) / "monitor.png").read_bytes().startswith(b"\x89PNG")


def test_the_archive_shows_the_rate_that_the_judge_found(home, capsys):
    assert models.main(["--home", str(home), "list", "--json"]) == 0
    [shown] = json.loads(capsys.readouterr().out)
    assert shown["pass_rate"] == report_of(home)["groups"]["seen_facts"]["pass_rate"]


# ── all of them ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_folder_of_the_contract_is_complete_and_its_hashes_hold(home):
    for place in ("tokenizers/made", "packs/made", f"models/{model_of(home)}", f"reports/{model_of(home)}"):
        for name, sha256 in files.read_manifest(home / place)["sha256"].items():
            assert files.sha256(home / place / name) == sha256, f"{place}/{name}"
    for name in (model_of(home), "fresh"):
        folder = home / "answers" / name
        assert files.sha256(folder / "answers.jsonl") == files.read_manifest(folder)["sha256"]


def test_nothing_half_written_is_left_lying(home):
    assert [path for path in home.rglob("*") if path.name.endswith((".tmp", ".part.jsonl", ".copy"))] == []
