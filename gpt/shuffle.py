"""Which articles are kept for validation, and in which order records are packed. Both follow from a seed alone."""

import hashlib
import sqlite3

import numpy as np
from numpy.typing import NDArray


class BadPack(Exception):
    """It can't be packed as asked. Told to a person."""


def split_articles(db: sqlite3.Connection, share: float, seed: int) -> dict[int, str]:
    """Id and title of the articles kept for validation, of those with records to train on.

    `share` of them, at least one, at most all but one; drawn by hash of the title, so an article that is added later
    moves others only at the border. Raises BadPack for fewer than two articles.
    """
    titles = dict(db.execute("select id, title from article where id in (select article_id from record)"))
    if len(titles) < 2:
        raise BadPack(f"{len(titles)} article has records: take two or more, since one is kept for validation")
    drawn = sorted(titles, key=lambda id: hashlib.sha256(f"{seed}\0{titles[id]}".encode()).digest())
    count = min(max(1, round(share * len(titles))), len(titles) - 1)
    return {id: titles[id] for id in sorted(drawn[:count])}


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Every order of 0 .. count-1 equally likely. The same seed gives the same one."""
    return np.random.Generator(np.random.Philox(seed)).permutation(count)


def order_records(db: sqlite3.Connection, val: set[int], seed: int) -> dict[str, NDArray[np.int64]]:
    """Ids of the train records, those of the articles in val apart, each in the order of one permutation over all."""
    rows = db.execute("select id, article_id from record where role = 'train'")  # answered by an index alone
    table = np.fromiter(rows, np.dtype([("id", np.int64), ("article", np.int64)]))
    table.sort(order="id")
    table = table[permutation(len(table), seed)]
    in_val = np.isin(table["article"], sorted(val))
    return {"train": table["id"][~in_val].copy(), "val": table["id"][in_val].copy()}
