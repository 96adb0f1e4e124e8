"""A small factory with real sentences, made without corpus: what generate's tests run on."""

import hashlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from datagen.factory import open_factory, transaction
from datagen.sentences import split

SAMPLE = Path(__file__).parents[2] / "datagen" / "sample"


def sample_articles(count: int) -> list[tuple[str, str]]:
    """Title and text of the first bundled articles."""
    articles = []
    for path in sorted(SAMPLE.glob("*.txt"))[:count]:
        first_line, _, text = path.read_text().partition("\n")
        articles.append((first_line.removeprefix("# "), text.strip()))
    return articles


def sentences_of(text: str) -> list[str]:
    return [sentence for paragraph in text.split("\n\n") for sentence in split(paragraph)]


def fill(path: Path, articles: Iterable[tuple[str, str]]) -> sqlite3.Connection:
    """A factory with these articles in snippets of 8 sentences, stride 4."""
    db = open_factory(path)
    with transaction(db):
        for title, text in articles:
            sha256 = hashlib.sha256(text.encode()).hexdigest()
            columns = (title, "a test", sha256, len(text.split()), text)
            article_id = db.execute(
                "insert into article (title, source, sha256, num_words, text) values (?, ?, ?, ?, ?)", columns
            ).lastrowid
            for ordinal, (first, sentences) in enumerate(windows(sentences_of(text))):
                db.execute(
                    "insert into snippet (article_id, ordinal, text, first_sentence, num_sentences)"
                    " values (?, ?, ?, ?, ?)",
                    (article_id, ordinal, " ".join(sentences), first, len(sentences)),
                )
    return db


def windows(sentences: list[str]) -> list[tuple[int, list[str]]]:
    starts = [*range(0, max(len(sentences) - 8, 0), 4), max(len(sentences) - 8, 0)]
    return [(start, sentences[start : start + 8]) for start in starts]


def content(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    """All that generate wrote, without ids and times, sorted."""
    rows = db.execute(
        "select 'record', prompt, prompt_version, ordinal, title, phrasing, role, fact, question, answer, reference,"
        " seed from record join item on item.id = item_id join snippet on snippet.id = item.snippet_id"
        " join article on article.id = snippet.article_id"
        " union all select 'reject', prompt, prompt_version, ordinal, title, phase, reason, '', question, answer, '', 0"
        " from reject join item on item.id = item_id join snippet on snippet.id = item.snippet_id"
        " join article on article.id = snippet.article_id"
        " union all select 'item', prompt, prompt_version, ordinal, title, finished_at is null, '', '', '', '', '', 0"
        " from item join snippet on snippet.id = item.snippet_id join article on article.id = snippet.article_id"
    )
    return sorted(tuple(row) for row in rows)
