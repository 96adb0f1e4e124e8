"""The factory's laws, each broken once."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from datagen.factory import BadFactory, get_meta, open_factory, set_meta, transaction

RECORD = {
    "item_id": 1,
    "snippet_id": 1,
    "article_id": 1,
    "family": "cloze",
    "fact": "f",
    "phrasing": "p",
    "role": "train",
    "question": "q?",
    "answer": "a",
    "reference": '{"answer": "a", "alternatives": [], "source": "s"}',
    "seed": 0,
}


def insert(db: sqlite3.Connection, table: str, **values: object) -> None:
    marks = ", ".join("?" * len(values))
    db.execute(f"insert into {table} ({', '.join(values)}) values ({marks})", list(values.values()))


@pytest.fixture
def db(tmp_path):
    db = open_factory(tmp_path / "factory.db")
    insert(db, "article", id=1, title="Narvik", source="s", sha256="0" * 64, num_words=2, text="A port.")
    insert(db, "snippet", id=1, article_id=1, ordinal=0, text="A port.", first_sentence=0, num_sentences=1)
    insert(db, "item", id=1, snippet_id=1, prompt="cloze", prompt_version=1)
    yield db
    db.close()


def test_a_factory_opens_again_with_what_was_in_it(tmp_path):
    first = open_factory(tmp_path / "factory.db")
    set_meta(first, "k", "old")
    set_meta(first, "k", "new")
    first.close()
    again = open_factory(tmp_path / "factory.db")
    assert get_meta(again, "k") == "new"
    assert get_meta(again, "absent") is None
    assert again.execute("pragma journal_mode").fetchone()[0] == "wal"
    assert again.execute("pragma synchronous").fetchone()[0] == 2
    again.close()


def test_a_whole_record_is_taken(db):
    insert(db, "record", **RECORD)
    row = db.execute("select * from record").fetchone()
    assert {key: row[key] for key in RECORD} == RECORD


@pytest.mark.parametrize(
    "broken",
    [
        {"family": "riddle"},
        {"role": "test"},
        {"fact": ""},
        {"family": "qpt"},
        {"question": ""},
        {"answer": ""},
        {"reference": "not json"},
        {"seed": "zero"},
        {"item_id": 99},
        {"snippet_id": 99},
        {"article_id": 99},
        {"family": "qpt", "fact": "", "role": "probe"},
    ],
    ids=str,
)
def test_a_record_that_breaks_a_law_is_refused(db, broken):
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, "record", **(RECORD | broken))


def test_the_same_question_is_taken_once_whatever_its_answer(db):
    insert(db, "record", **RECORD)
    for answer in (RECORD["answer"], "b"):
        with pytest.raises(sqlite3.IntegrityError):
            insert(db, "record", **(RECORD | {"answer": answer}))


def test_one_prompt_version_on_one_snippet_is_one_item(db):
    insert(db, "item", snippet_id=1, prompt="cloze", prompt_version=2)
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, "item", snippet_id=1, prompt="cloze", prompt_version=1)


def test_two_articles_never_share_a_title(db):
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, "article", title="Narvik", source="s", sha256="1" * 64, num_words=1, text="x")


def test_a_reject_needs_its_phase_and_reason(db):
    insert(db, "reject", item_id=1, family="cloze", phase="guard", reason="why", question="q", answer="")
    with pytest.raises(sqlite3.IntegrityError):
        insert(db, "reject", item_id=1, family="cloze", phase="guard", reason="", question="q", answer="")


def test_a_transaction_that_fails_leaves_nothing(db):
    def fail_half_way() -> None:
        with transaction(db):
            set_meta(db, "k", "v")
            raise KeyError("half way")

    with pytest.raises(KeyError):
        fail_half_way()
    assert get_meta(db, "k") is None
    with transaction(db):
        set_meta(db, "k", "v")
    assert get_meta(db, "k") == "v"


def test_a_process_killed_inside_a_transaction_leaves_nothing(tmp_path):
    path = tmp_path / "factory.db"
    code = f"""
import os
from datagen.factory import open_factory, set_meta, transaction
db = open_factory({str(path)!r})
with transaction(db):
    set_meta(db, "whole", "yes")
with transaction(db):
    set_meta(db, "half", "yes")
    os.kill(os.getpid(), {signal.SIGKILL.value})
"""
    root = Path(__file__).parents[2]
    child = subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ | {"PYTHONPATH": str(root)})
    assert child.returncode == -signal.SIGKILL
    db = open_factory(path)
    assert (get_meta(db, "whole"), get_meta(db, "half")) == ("yes", None)
    db.close()


def test_what_is_not_a_factory_is_refused_with_a_sentence(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("Dear diary, " * 100)
    with pytest.raises(BadFactory, match=r"notes\.txt can't be opened as a factory .* name another file"):
        open_factory(text)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as stranger:
        stranger.execute("create table mine (x)")
    stranger.close()
    with pytest.raises(BadFactory, match="some other SQLite database"):
        open_factory(other)
    with pytest.raises(BadFactory, match="there is no folder"):
        open_factory(tmp_path / "nowhere" / "factory.db")


def test_a_factory_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "factory.db"
    db = open_factory(path)
    db.execute("pragma user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(BadFactory, match="version 99, this program knows up to 1"):
        open_factory(path)
    assert path.read_bytes() == before
