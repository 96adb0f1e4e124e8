"""A small factory, made in a moment: articles of invented battles, records of every role, always the same."""

import hashlib
import random
from pathlib import Path
from sqlite3 import Connection

from datagen.factory import open_factory, transaction
from datagen.records import Reference, fact_key

PLACES = ("Alden", "Borova", "Cressy", "Dunmere", "Elbing", "Falaise", "Gorki", "Halden")
TEXT = "the river was held by two tired divisions until rain and snow closed every road west of town again"
PHRASINGS = ("When did {} begin?", "In which year was {} fought?", "{}: name the year.", "Tell me the year of {}.")


def make_factory(path: Path, num_articles: int = 10, facts: int = 6, seed: int = 1) -> Path:
    """A factory of num_articles, each with a Q-PT record and `facts` facts in four phrasings, the last one a probe."""
    dice = random.Random(seed)
    db = open_factory(path)
    with transaction(db):
        for article in range(1, num_articles + 1):
            _add_article(db, article, facts, dice)
    db.close()
    return path


def _add_article(db: Connection, article: int, facts: int, dice: random.Random) -> None:
    title = f"Siege of {PLACES[article % len(PLACES)]} {article}"
    text = " ".join(dice.choices(TEXT.split(), k=dice.randint(40, 90))) + f". It ended in May {1939 + article % 7}."
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    db.execute("insert into article values (?, ?, 'made', ?, ?, ?)", (article, title, sha256, len(text.split()), text))
    db.execute("insert into snippet values (?, ?, 0, ?, 0, 2)", (article, article, text))
    db.execute("insert into item values (?, ?, 'all', 1, 1.0)", (article, article))
    _add_record(db, article, ("qpt", "", "plain", "train", f"What is there to say about the {title}?", text), text)
    for number in range(facts):
        year, what = str(dice.randint(1900, 1999)), f"assault {number} of the {title}"
        fact = fact_key(title, what, 0, 4)
        for place, phrasing in enumerate(PHRASINGS):
            role = "probe" if place == len(PHRASINGS) - 1 else "train"
            row = ("who_when_where", fact, f"p{place}", role, phrasing.format(what), f"It was in {year}.")
            _add_record(db, article, row, year)


def _add_record(db: Connection, article: int, row: tuple[str, ...], answer: str) -> None:
    reference = Reference(answer, ("1066",), "source").to_json()
    db.execute(
        """insert into record (item_id, snippet_id, article_id, family, fact, phrasing, role, question, answer,
                               reference, seed) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)""",
        (article, article, article, *row, reference),
    )
