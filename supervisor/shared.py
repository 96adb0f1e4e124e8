"""Long texts that many jobs have in common, kept once: an environment, an origin. A million jobs hold one each."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any


def keep(db: sqlite3.Connection, value: Mapping[str, Any]) -> int:
    """Its row; the same value again has the same row. Call it inside the transaction that refers to it."""
    import hashlib

    text = json.dumps(value, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    db.execute("insert or ignore into shared (digest, text) values (?, ?)", (digest, text))
    [row_id] = db.execute("select id from shared where digest = ?", (digest,)).fetchone()
    return int(row_id)


def read(db: sqlite3.Connection, row_id: int) -> dict[str, Any]:
    """The value, as it was."""
    [text] = db.execute("select text from shared where id = ?", (row_id,)).fetchone()
    value: dict[str, Any] = json.loads(text)
    return value


def forget(db: sqlite3.Connection, row_ids: Iterable[int]) -> None:
    """Let go of those that no job refers to any more."""
    db.executemany(
        "delete from shared where id = ?1 and not exists (select 1 from job where env_id = ?1)"
        " and not exists (select 1 from job where origin_id = ?1)",
        [(row_id,) for row_id in row_ids],
    )
