"""Items are done once, whoever is killed when; a changed prompt does its own items again and no others."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_corpus import content, fill, sample_articles, sentences_of

import datagen.generate
from datagen import families
from datagen.factory import BadFactory, open_factory
from datagen.families import Draft, Dropped, Group
from datagen.generate import Progress, Settings, generate, overlap, own_sentences, sift
from datagen.phrasings import Choice
from datagen.records import FAMILIES

SMALL = Settings(choice=Choice(per_fact=4, phrasings_per_snippet=5))
CHILD = """
import sys
from datagen.factory import open_factory
from datagen import generate
generate.BATCH_S = 0.0  # one item, one transaction
db = open_factory(sys.argv[1])
settings = generate.Settings(choice=generate.Choice(per_fact=4, phrasings_per_snippet=5))
for progress in generate.generate(db, settings):
    print(progress.done, progress.total, flush=True)
"""


def run_all(db: sqlite3.Connection, settings: Settings) -> Progress:
    *_, last = generate(db, settings)
    return last


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = fill(tmp_path / "factory.db", sample_articles(3))
    yield db
    db.close()


def test_all_items_of_all_prompts_are_finished(db: sqlite3.Connection) -> None:
    last = run_all(db, SMALL)
    num_snippets = db.execute("select count(*) from snippet").fetchone()[0]
    assert last.done == last.total == num_snippets * len(FAMILIES)
    assert last.records == db.execute("select count(*) from record").fetchone()[0] > 500
    assert last.rejects == db.execute("select count(*) from reject").fetchone()[0] > 10
    assert db.execute("select count(*) from item where finished_at is null").fetchone()[0] == 0
    assert db.execute("pragma foreign_key_check").fetchall() == []


def test_finished_work_is_found_and_nothing_is_made_again(db: sqlite3.Connection) -> None:
    run_all(db, SMALL)
    before = content(db)
    assert run_all(db, SMALL)[2:] == (0, 0)
    assert content(db) == before


def test_the_same_articles_give_the_same_records(db: sqlite3.Connection, tmp_path: Path) -> None:
    run_all(db, SMALL)
    other = fill(tmp_path / "other.db", sample_articles(3))
    run_all(other, SMALL)
    assert content(other) == content(db)
    other.close()


def test_killed_at_any_moment_and_run_again_it_writes_what_the_uninterrupted_run_writes(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    run_all(db, SMALL)
    path = tmp_path / "killed.db"
    fill(path, sample_articles(3)).close()
    dice, kills, landed = random.Random(5), 0, set()
    while True:
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            lines = list(islice(child.stdout, dice.randrange(1, 26)))  # planned, looked, some items done
            time.sleep(dice.random() * 0.01)
            if kills < 8:
                os.kill(child.pid, signal.SIGKILL)
                kills += 1
            child.communicate()
            if child.returncode == 0:
                break
            landed.add(int(lines[-1].split()[0]))
    assert kills == 8
    assert len(landed) >= 6, "the kills must hit different stages of the work"
    killed = open_factory(path)
    assert content(killed) == content(db)
    assert killed.execute("pragma integrity_check").fetchone()[0] == "ok"
    killed.close()


def test_an_item_that_fails_half_way_leaves_nothing_behind(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagen.generate, "BATCH_S", 0.0)  # one item, one transaction
    made = []
    cloze = families.load("cloze")
    whole = cloze.make

    def breaks(work: families.Work) -> Iterator[Group | Dropped]:
        made.append(work)
        yield from islice(whole(work), 10 if len(made) == 2 else None)
        if len(made) == 2:
            raise RuntimeError("the disk is gone")

    monkeypatch.setattr(cloze, "make", breaks)
    settings = Settings(("cloze",), SMALL.choice)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        run_all(db, settings)
    finished = db.execute("select id from item where finished_at is not null").fetchall()
    assert len(finished) == 1
    assert {row["item_id"] for row in db.execute("select item_id from record")} == {finished[0]["id"]}
    monkeypatch.undo()
    assert run_all(db, settings).done > 1


def test_raising_one_prompts_version_does_its_items_again_and_no_others(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(db, SMALL)
    before = {row["id"]: tuple(row) for row in db.execute("select * from record where family <> 'cloze'")}
    times = db.execute("select id, finished_at from item where prompt <> 'cloze'").fetchall()
    num_cloze = db.execute("select count(*) from record where family = 'cloze'").fetchone()[0]
    monkeypatch.setattr(families.load("cloze"), "VERSION", 99)
    last = run_all(db, SMALL)
    assert last.records == num_cloze
    assert {row["id"]: tuple(row) for row in db.execute("select * from record where family <> 'cloze'")} == before
    assert db.execute("select id, finished_at from item where prompt <> 'cloze'").fetchall() == times
    versions = db.execute("select distinct prompt_version from item where prompt = 'cloze'").fetchall()
    assert [row[0] for row in versions] == [99]
    assert db.execute("select count(*) from record where family = 'cloze'").fetchone()[0] == num_cloze


def test_other_settings_start_a_prompt_afresh(db: sqlite3.Connection) -> None:
    run_all(db, Settings(("cloze", "qpt"), Choice(per_fact=4)))
    many = db.execute("select count(*) from record where family = 'cloze'").fetchone()[0]
    run_all(db, Settings(("cloze",), Choice(per_fact=2)))
    few = db.execute("select count(*) from record where family = 'cloze'").fetchone()[0]
    assert few == many / 2
    assert db.execute("select count(*) from record where family = 'qpt'").fetchone()[0] > 0


def test_two_at_once_on_one_factory_do_each_item_once(db: sqlite3.Connection, tmp_path: Path) -> None:
    with open_factory(tmp_path / "two.db") as other:
        db.backup(other)
    run_all(db, SMALL)
    both = [
        subprocess.Popen([sys.executable, "-c", CHILD, tmp_path / "two.db"], stdout=subprocess.PIPE) for _ in range(2)
    ]
    said = [child.communicate()[0].split() for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert [words[-2] == words[-1] for words in said] == [True, True], "both end with all of it done"
    with open_factory(tmp_path / "two.db") as other:
        for table in ("record", "reject"):
            counted = f"select count(*), count(distinct item_id) from {table}"
            assert tuple(other.execute(counted).fetchone()) == tuple(db.execute(counted).fetchone())


def test_who_is_overtaken_by_one_with_other_settings_stops_and_writes_nothing_into_its_records(
    db: sqlite3.Connection,
) -> None:
    first = generate(db, Settings(("cloze",), Choice(per_fact=4)))
    assert next(first).done == 0
    run_all(db, Settings(("cloze", "qpt"), Choice(per_fact=2)))
    before = [tuple(row) for row in db.execute("select * from record")]
    with pytest.raises(BadFactory, match="makes the cloze records of this factory anew, with other settings"):
        list(first)
    assert [tuple(row) for row in db.execute("select * from record")] == before


def test_articles_added_later_get_their_own_items_only(db: sqlite3.Connection, tmp_path: Path) -> None:
    run_all(db, SMALL)
    first_records = db.execute("select max(id) from record").fetchone()[0]
    fill(tmp_path / "factory.db", sample_articles(4)[3:]).close()
    last = run_all(db, SMALL)
    assert last.done == last.total
    new = db.execute("select distinct article_id from record where id > ?", (first_records,)).fetchall()
    assert [row[0] for row in new] == [4]


def test_overlapping_snippets_ask_about_a_sentence_once(db: sqlite3.Connection) -> None:
    run_all(db, SMALL)
    rows = db.execute("select fact, count(distinct snippet_id) from record where fact <> '' group by fact").fetchall()
    assert {row[1] for row in rows} == {1}
    last = db.execute("select max(snippet_id) from record where fact <> ''").fetchone()[0]
    assert last == db.execute("select max(id) from snippet").fetchone()[0], "the tail must be asked about too"


def test_a_limit_on_facts_takes_the_plainest_and_spreads_over_articles(db: sqlite3.Connection) -> None:
    run_all(db, Settings(("cloze", "who_when_where"), Choice(), facts_per_article=5))
    rows = db.execute("select article_id, count(distinct fact) from record group by article_id").fetchall()
    assert [row[1] for row in rows] == [5, 5, 5]
    asked = "select count(distinct fact) from record where family = ?"
    assert db.execute(asked, ("who_when_where",)).fetchone()[0] == 15


def test_a_small_per_fact_leaves_no_probe_that_is_not_taught(db: sqlite3.Connection) -> None:
    run_all(db, Settings(("cloze",), Choice(per_fact=3, probe_share=0.9)))
    rows = db.execute("select sum(role = 'train'), sum(role = 'probe') from record group by fact").fetchall()
    assert {tuple(row) for row in rows} <= {(2, 1), (3, 0)}
    assert (2, 1) in {tuple(row) for row in rows}


def test_progress_counts_items_and_is_reported_before_and_after_the_looking(db: sqlite3.Connection) -> None:
    seen = list(generate(db, SMALL))
    assert seen[0].done == 0
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert len({progress.total for progress in seen}) == 1


def test_a_factory_without_articles_is_refused(tmp_path: Path) -> None:
    empty = open_factory(tmp_path / "empty.db")
    with pytest.raises(BadFactory, match="run corpus on it first"):
        list(generate(empty, SMALL))
    empty.close()


@given(st.lists(st.text("ab", min_size=1, max_size=2), max_size=30), st.integers(0, 12), st.integers(1, 12))
def test_what_two_neighbours_share_is_found_word_for_word(words: list[str], start: int, length: int) -> None:
    before, after = words[: start + length], words[start:]
    shared = overlap(before, after)
    assert shared >= len(before) - start
    assert shared == 0 or before[-shared:] == after[:shared]


def test_the_snippets_own_sentences_are_the_article(db: sqlite3.Connection) -> None:
    for id, text in db.execute("select id, text from article"):
        own = [sentence for sentences in own_sentences(db, id).values() for sentence in sentences]
        assert own == sentences_of(text)


def test_every_record_holds_its_reference_and_every_reject_its_reason(db: sqlite3.Connection) -> None:
    run_all(db, SMALL)
    for row in db.execute("select * from record"):
        reference = json.loads(row["reference"])
        assert set(reference) == {"answer", "alternatives", "source"}
        assert reference["answer"] == ("" if row["family"] == "qpt" else row["answer"])
    phases = {row[0] for row in db.execute("select distinct phase from reject where reason <> ''")}
    assert phases <= {"extract", "phrase", "guard"}
    assert {"extract", "phrase"} <= phases


def drafts(*pairs: tuple[str, str]) -> Group:
    return tuple(Draft("f1", f"p{n}", "train", question, answer, "S 5") for n, (question, answer) in enumerate(pairs))


def test_a_group_falls_with_its_worst_member() -> None:
    groups: list[Group | Dropped] = [
        drafts(("Is it 5?", "5"), ("Is it 6?", "6")),
        drafts(("Five or six?", "5"), ("Six or five?", "5")),
    ]
    kept, dropped = sift("which_of_two", iter(groups), "S 5", lambda question: False)
    assert [draft.question for draft in kept] == ["Five or six?", "Six or five?"]
    assert [drop.question for drop in dropped] == ["Is it 5?", "Is it 6?"]
    assert {drop.reason for drop in dropped} == {"grounded: '6' is not in the source"}


def test_what_the_factory_asks_already_is_not_asked_again() -> None:
    group = drafts(("5 or 6?", "5"), ("6 or 5?", "5"))
    kept, dropped = sift("which_of_two", iter([group]), "S 5", lambda question: question == "6 or 5?")
    assert not kept
    assert len(dropped) == 2
    kept, dropped = sift("which_of_two", iter([group, group]), "S 5", lambda question: False)
    assert (len(kept), len(dropped)) == (2, 2)


def test_a_probe_goes_when_too_little_of_what_it_asks_is_left_to_teach() -> None:
    probe = Draft("f1", "p9", "probe", "In other words?", "5", "S 5")
    train = [Draft("f1", "p1", "train", "One?", "5", "S 5"), Draft("f1", "p2", "train", "Two?", "7", "S 5")]
    kept, dropped = sift("cloze", iter([(probe,), *((draft,) for draft in train)]), "S 5", lambda question: False)
    assert [draft.question for draft in kept] == ["One?"]
    assert [drop.reason.partition(":")[0] for drop in dropped] == ["grounded", "taught"]
