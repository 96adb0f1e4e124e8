"""generate with a corpus of its own: the articles are copied once, whole or not at all."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from datagen import factory
from jobs.contract import BadArgs, Unfinished
from tests.jobs.small_home import run_kind, run_of

SETTINGS = {"corpus": "corpus/a.db", "factory": "factory/a.db", "phrasings_per_snippet": 1}
ARTICLE = "The battle began on 5 July 1943 near Kursk. It was over by 23 August 1943. General Model led the north. " * 4


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "articles").mkdir()
    write(tmp_path, 1)
    read(tmp_path)
    return tmp_path


def write(home: Path, number: int) -> None:
    (home / "articles" / f"Battle {number}.txt").write_text(ARTICLE.replace("Kursk", f"Place {number}"))


def read(home: Path) -> None:
    run_kind(home, 1, "corpus", source=str(home / "articles"), factory="corpus/a.db")


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute(f"select count(*) from {table}").fetchone()[0])


def test_records_stand_in_their_own_file_and_the_corpus_stays_as_it_was(home):
    before = (home / "corpus" / "a.db").read_bytes()
    run_kind(home, 2, "generate", **SETTINGS)
    assert count(home / "factory" / "a.db", "record") > 0
    assert count(home / "factory" / "a.db", "article") == 1
    assert (home / "corpus" / "a.db").read_bytes() == before


def test_said_again_nothing_is_copied_or_made_again(home):
    run_kind(home, 2, "generate", **SETTINGS)
    with closing(sqlite3.connect(home / "factory" / "a.db")) as db:
        before = db.execute("select id, question from record order by id").fetchall()
    run_kind(home, 2, "generate", **SETTINGS)
    with closing(sqlite3.connect(home / "factory" / "a.db")) as db:
        assert db.execute("select id, question from record order by id").fetchall() == before


def test_told_to_leave_while_it_copies_it_leaves_no_half_of_a_factory(home, monkeypatch):
    monkeypatch.setattr(factory, "COPIED_PAGES", 1)
    run = run_of(home, 2, "generate")
    run.stop_requested = True
    with pytest.raises(Unfinished):
        run_kind(home, 2, "generate", run, **SETTINGS)
    assert not (home / "factory" / "a.db").exists()
    run_kind(home, 2, "generate", **SETTINGS)
    assert [path.name for path in (home / "factory").iterdir() if path.name.startswith(".")] == []
    assert count(home / "factory" / "a.db", "record") > 0


def test_two_that_copy_to_one_place_at_once_make_one_whole_factory(home, monkeypatch):
    monkeypatch.setattr(factory, "COPIED_PAGES", 1)
    source, place = home / "corpus/a.db", home / "factory/a.db"
    waits = threading.Event()
    second = threading.Thread(target=factory.copy_factory, args=(source, place, waits.set))

    def begin_the_second() -> None:
        if not second.ident:
            second.start()
            assert waits.wait(20)

    factory.copy_factory(source, place, begin_the_second)
    second.join()
    assert count(place, "article") == count(source, "article") == 1
    assert [path.name for path in (home / "factory").iterdir()] == ["a.db"]


def test_a_corpus_that_grew_is_not_passed_over_in_silence(home):
    run_kind(home, 2, "generate", **SETTINGS)
    write(home, 2)
    read(home)
    with pytest.raises(BadArgs, match=r"holds other articles than .*: name another factory, or leave corpus out"):
        run_kind(home, 3, "generate", **SETTINGS)
    run_kind(home, 3, "generate", **SETTINGS | {"factory": "factory/b.db"})
    assert count(home / "factory" / "b.db", "article") == 2


def test_a_corpus_that_is_not_there_is_named(home):
    with pytest.raises(BadArgs, match=r"there is no factory .*no\.db: make it with corpus"):
        run_kind(home, 2, "generate", **SETTINGS | {"corpus": "corpus/no.db"})
    assert not (home / "factory").exists()
