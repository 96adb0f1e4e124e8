"""The factory file: how it is opened, and what a transaction on it is. The tables are in factory.sql.

Autocommit is on, so a statement outside `transaction` is durable by itself; whatever belongs together goes inside one.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import zip_longest
from pathlib import Path

from datagen import files

SCHEMA = Path(__file__).with_name("factory.sql")
VERSION = 1  # user_version, as factory.sql sets it
BUSY_S = 60.0
WAIT_S = 0.1  # between two looks at whether another copying has done
COPIED_PAGES = 2048  # of 4 KiB, between two looks at whether to stop


class BadFactory(Exception):
    """The file can't be used as a factory. Told to a person: what we got, what we take, what to do."""


def open_factory(path: Path | str) -> sqlite3.Connection:
    """The factory at path, made when there is none; rows are dict-like (sqlite3.Row).

    Raises BadFactory for a file that is not a factory, or one that a newer version wrote.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise BadFactory(f"there is no folder {path.parent}: make it, or take another place for the factory")
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        _refuse_strangers(db, path)
        _prepare(db)
    except sqlite3.DatabaseError as error:
        db.close()
        raise BadFactory(
            f"{path} can't be opened as a factory ({error}): move it away, or name another file"
        ) from error
    except BadFactory:
        db.close()
        raise
    return db


def _refuse_strangers(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("pragma user_version").fetchone()[0]
    if version > VERSION:
        raise BadFactory(
            f"{path} is a factory of version {version}, this program knows up to {VERSION}: "
            "use the newer program, or name another file"
        )
    if version == 0 and db.execute("select count(*) from sqlite_schema").fetchone()[0]:
        raise BadFactory(f"{path} is some other SQLite database, not a factory: name another file")


def _prepare(db: sqlite3.Connection) -> None:
    db.row_factory = sqlite3.Row
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")  # a finished transaction survives a power cut
    db.execute("pragma foreign_keys = on")
    if db.execute("pragma user_version").fetchone()[0] < VERSION:
        db.executescript(f"begin immediate;\n{SCHEMA.read_text()}\ncommit;")


def copy_factory(source: Path, place: Path, tell: Callable[[], None] = lambda: None) -> None:
    """Put a copy of a factory at place, whole or not at all, unless there is one; its folder is made.

    Who copies into the same folder waits until the other one has done. tell is called every few MiB and while it
    waits; what it raises ends the copying. Raises BadFactory.
    """
    beside = place.with_name(f".{place.name}.copy")
    with closing(_existing(source)) as db:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(place.parent, tell):
            if place.exists():
                return
            for rest in place.parent.glob(f"{beside.name}*"):  # of a copying that was killed
                rest.unlink()
            with closing(sqlite3.connect(beside)) as copy:
                db.backup(copy, pages=COPIED_PAGES, progress=lambda *_: tell())
            files.sync_file(beside)
            os.replace(beside, place)
            files.sync_folder(place.parent)


@contextmanager
def _alone_in(folder: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Hold the folder, alone."""
    while (held := files.try_hold(folder)) is None:
        tell()
        time.sleep(WAIT_S)
    try:
        yield
    finally:
        os.close(held)


def same_articles(one: Path, other: Path) -> bool:
    """Do two factories hold the same articles? Raises BadFactory."""
    with closing(_existing(one)) as a, closing(_existing(other)) as b:
        asked = "select title, sha256 from article order by id"
        return all(tuple(x or ()) == tuple(y or ()) for x, y in zip_longest(a.execute(asked), b.execute(asked)))


def _existing(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise BadFactory(f"there is no factory {path}: make it with corpus, or name another")
    return open_factory(path)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or nothing of it, whoever is killed when. Takes the write lock at once, so it can't fail half way."""
    db.execute("begin immediate")
    try:
        yield db
    except BaseException:
        db.rollback()
        raise
    db.execute("commit")


def get_meta(db: sqlite3.Connection, key: str) -> str | None:
    """A value kept under a key, or None."""
    row = db.execute("select value from meta where key = ?", (key,)).fetchone()
    return None if row is None else str(row["value"])


def set_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a value under a key, in the caller's transaction when there is one."""
    db.execute("insert into meta values (?, ?) on conflict (key) do update set value = excluded.value", (key, value))
