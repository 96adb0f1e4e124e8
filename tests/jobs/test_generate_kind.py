"""The kind `generate`: what it refuses, what it reports, how it leaves."""

import hashlib
from pathlib import Path

import pytest

from datagen.factory import open_factory
from jobs import kind
from jobs.contract import BadArgs, Run, Ticket, Unfinished

TEXT = (
    "The Battle of Kursk began on 5 July 1943. General Walter Model commanded the Ninth Army. "
    "The Battle of Orel ended on 5 August 1943. The Red Army took Kharkov on 23 August 1943."
)


def a_run(home: Path) -> Run:
    return Run(Ticket(id=1, attempt=1, kind="generate", args={}, home=str(home), workdir=str(home)))


def fill(home: Path, text: str = TEXT) -> None:
    db = open_factory(home / "factory.db")
    columns = ("Battle of Kursk", "a test", hashlib.sha256(text.encode()).hexdigest(), len(text.split()), text)
    db.execute("insert into article (title, source, sha256, num_words, text) values (?, ?, ?, ?, ?)", columns)
    db.execute("insert into snippet values (1, 1, 0, ?, 0, 4)", (text,))
    db.close()


def test_a_job_fills_the_factory_and_reports_items(tmp_path: Path) -> None:
    fill(tmp_path)
    job = a_run(tmp_path)
    args = kind.parse("generate", {"families": "cloze,who_when_where", "per_fact": "3"})
    kind.load("generate").run(args, job, None)
    assert (job.sent[-1]["done"], job.sent[-1]["total"], job.sent[-1]["unit"]) == (2, 2, "items")
    db = open_factory(tmp_path / "factory.db")
    assert job.sent[-1]["metrics"]["records"] == db.execute("select count(*) from record").fetchone()[0] > 10
    db.close()
    again = a_run(tmp_path)
    kind.load("generate").run(args, again, None)
    assert [report["metrics"]["records"] for report in again.sent] == [0]


def test_a_job_told_to_leave_leaves_at_once_and_goes_on_later(tmp_path: Path) -> None:
    fill(tmp_path)
    job = a_run(tmp_path)
    job.stop_requested = True
    with pytest.raises(Unfinished):
        kind.load("generate").run(kind.parse("generate", {}), job, None)
    kind.load("generate").run(kind.parse("generate", {}), a_run(tmp_path), None)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"families": "cloze,rhyme"}, "families='cloze,rhyme' does not fit: take some of qpt,cloze"),
        ({"families": "qpt,qpt"}, "names one twice"),
        ({"families": ()}, "take some of"),
        ({"probe_share": "1.5"}, "at least 0 and less than 1, not 1.5"),
        ({"per_fact": "0"}, "per_fact is a whole number from 1 on, not 0"),
        ({"phrasings_per_snippet": -1}, "phrasings_per_snippet is a whole number"),
        ({"facts_per_article": "some"}, "it takes a whole number or none"),
        ({"factory": "/etc/passwd"}, "is not a path inside the home"),
        ({"model": "x"}, "generate has no setting 'model'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_queued(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadArgs, match=sentence):
        kind.parse("generate", given)


def test_a_missing_factory_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadArgs, match=r"there is no factory factory\.db: make it with corpus"):
        kind.load("generate").run(kind.parse("generate", {}), a_run(tmp_path), None)
    assert not (tmp_path / "factory.db").exists()


def test_an_empty_factory_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    open_factory(tmp_path / "factory.db").close()
    with pytest.raises(BadArgs, match="run corpus on it first"):
        kind.load("generate").run(kind.parse("generate", {}), a_run(tmp_path), None)
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at as one " * 40)
    with pytest.raises(BadArgs, match="can't be opened as a factory"):
        kind.load("generate").run(kind.parse("generate", {"factory": "notes.txt"}), a_run(tmp_path), None)
