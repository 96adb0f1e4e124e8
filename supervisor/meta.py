"""What the house remembers about itself: a text by its name."""

import sqlite3

from supervisor.db import transaction


def read(db: sqlite3.Connection, key: str) -> str | None:
    row = db.execute("select value from meta where key = ?", (key,)).fetchone()
    return row["value"] if row else None


def write(db: sqlite3.Connection, key: str, value: str) -> None:
    with transaction(db):
        db.execute("insert or replace into meta values (?, ?)", (key, value))
