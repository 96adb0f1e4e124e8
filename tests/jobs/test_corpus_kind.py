"""The kind `corpus`: what it refuses and when, what it reports, how it leaves and comes back."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from datagen import sample
from datagen.factory import open_factory
from jobs import kind
from jobs.contract import EXIT_BAD_ARGS, EXIT_DONE, BadArgs, Run, Ticket, Unfinished

ROOT = Path(__file__).parents[2]
TEXT = "The town of Caen was held by about 900 men on 6 June 1944. It was taken by the army in July. " * 6


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(f"# Article {number}\n\n{TEXT}")
    return folder


def ticket(home: Path, **args: object) -> Ticket:
    return Ticket(id=1, attempt=1, kind="corpus", args=args, home=str(home), workdir=str(home))


def run(home: Path, job: Run | None = None, **given: object) -> Run:
    job = job or Run(ticket(home))
    args = kind.parse("corpus", given)
    kind.check("corpus", args, home)
    kind.load("corpus").run(args, job, None)
    return job


def titles(home: Path, factory: str = "factory.db") -> list[str]:
    with closing(open_factory(home / factory)) as db:
        return [row["title"] for row in db.execute("select title from article order by id")]


def test_without_a_source_it_is_the_bundled_sample(tmp_path: Path) -> None:
    job = run(tmp_path)
    assert len(titles(tmp_path)) == len(sample.slugs()) >= 60
    assert titles(tmp_path) == sorted(titles(tmp_path), key=lambda title: sample_slug(title))
    *_, last, note = job.sent
    count = len(sample.slugs())
    assert (last["report"], last["done"], last["total"], last["unit"]) == ("progress", count, count, "files")
    assert last["metrics"]["articles"] == len(sample.slugs())
    assert note["report"] == "note"
    assert note["text"].startswith(f"{len(sample.slugs())} articles, ")


def sample_slug(title: str) -> str:
    [slug] = [slug for slug in sample.slugs() if sample.read(slug).startswith(f"# {title}\n")]
    return slug + ".txt"


def test_every_setting_reaches_the_room(tmp_path: Path, texts: Path) -> None:
    run(
        tmp_path,
        source=str(texts),
        factory="mine.db",
        titles="Article 1,article_2,Article 3",
        limit="2",
        snippet_sentences="3",
        stride="2",
        min_words="10",
    )
    assert titles(tmp_path, "mine.db") == ["Article 1", "Article 2"]
    with closing(open_factory(tmp_path / "mine.db")) as db:
        rows = db.execute("select first_sentence, num_sentences from snippet where article_id = 1").fetchall()
    assert [tuple(row) for row in rows] == [(0, 3), (2, 3), (4, 3), (6, 3), (8, 3), (9, 3)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stride": "9"}, "1 <= stride <= snippet_sentences, not 9 and 8"),
        ({"stride": "0"}, "1 <= stride <= snippet_sentences, not 0 and 8"),
        ({"limit": "0"}, "a limit of at least 1 article"),
        ({"min_words": "-1"}, "min_words >= 0"),
        ({"factory": "/etc/factory.db"}, "is not a path inside the home"),
        ({"soruce": "x"}, "corpus has no setting 'soruce'"),
        ({"source": "/nowhere/dump.xml"}, "there is no /nowhere/dump.xml: take a MediaWiki dump"),
        ({"category": "Battles"}, "files in a folder have no category"),
    ],
    ids=str,
)
def test_what_can_never_work_is_refused_before_it_is_queued(tmp_path: Path, given: dict, sentence: str) -> None:
    with pytest.raises(BadArgs) as caught:
        kind.check("corpus", kind.parse("corpus", given), tmp_path)
    assert sentence in str(caught.value)


def test_what_only_reading_tells_is_bad_args_too(tmp_path: Path, texts: Path) -> None:
    broken = tmp_path / "broken.xml"
    broken.write_text("<mediawiki><page><title>A</title>")
    with pytest.raises(BadArgs, match="ends or is damaged in the middle"):
        run(tmp_path, source=str(broken))
    with pytest.raises(BadArgs, match=r"no article of .* matches titles=Atlantis"):
        run(tmp_path, source=str(texts), titles="Atlantis")
    (tmp_path / "odd.db").write_text("Dear diary, " * 100)
    with pytest.raises(BadArgs, match=r"odd\.db can't be opened as a factory"):
        run(tmp_path, source=str(texts), factory="odd.db")


def test_told_to_leave_it_leaves_after_the_article_at_hand_and_comes_back(tmp_path: Path, texts: Path) -> None:
    job = Run(ticket(tmp_path))
    job.stop_requested = True
    for expected in (1, 1, 1):  # each attempt reads past what is there; only new work counts
        with pytest.raises(Unfinished):
            run(tmp_path, job, source=str(texts))
        assert len(titles(tmp_path)) == expected
    run(tmp_path, source=str(texts))
    assert titles(tmp_path) == [f"Article {number}" for number in range(4)]


def test_a_real_child_ends_with_the_verdict_of_the_contract(tmp_path: Path, texts: Path) -> None:
    assert child(tmp_path, source=str(texts)) == (EXIT_DONE, 4)
    assert child(tmp_path, source=str(texts / "0.txt")) == (EXIT_BAD_ARGS, 4)


def test_a_job_that_is_done_is_done_though_it_is_told_to_leave(tmp_path: Path, texts: Path) -> None:
    run(tmp_path, source=str(texts))
    job = Run(ticket(tmp_path))
    job.stop_requested = True
    run(tmp_path, job, source=str(texts))
    assert job.sent[-1]["text"].startswith("4 articles, ")


def child(home: Path, **args: object) -> tuple[int, int]:
    """Exit code of `python -m jobs` for a ticket and `go`, and how many articles there are."""
    lines = ticket(home, **args).to_line() + json.dumps({"go": {"device": "cpu"}}).encode() + b"\n"
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(lines)
    process.stdin.flush()
    code = process.wait(60)
    process.stdin.close()
    return code, len(titles(home))
