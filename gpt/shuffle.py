"""Which articles are kept for validation, and in which order records are packed. Both follow from a seed alone."""

import hashlib
import json
import sqlite3
from collections.abc import Collection
from itertools import chain
from typing import Any

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


def shuffle(array: NDArray[Any], seed: int) -> None:
    """Put an array into an order drawn from all orders, each equally likely, in place. The same seed gives the same."""
    np.random.Generator(np.random.Philox(seed)).shuffle(array)


def order_records(db: sqlite3.Connection, val: Collection[int], seed: int) -> dict[str, NDArray[Any]]:
    """Ids of the train records, those of the articles in val apart, each in the order of one permutation over all.

    4 bytes a record (8 past 2^31), 10 while it works: all of a pack's memory that grows with the factory's records.
    """
    [count, last] = db.execute("select count(*), coalesce(max(id), 0) from record where role = 'train'").fetchone()
    rows = db.execute(  # answered by an index alone; the last bit says that the article is in val
        """select 2 * id + (article_id in (select value from json_each(?))) from record where role = 'train'""",
        (json.dumps(list(val)),),
    )
    dtype = np.uint32 if last < 2**31 else np.uint64
    ids: NDArray[Any] = np.fromiter(chain.from_iterable(rows), dtype, count)
    ids.sort()
    shuffle(ids, seed)
    in_val = (ids & 1).astype(bool)
    ids >>= 1
    return {"train": ids[~in_val], "val": ids[in_val]}
