"""What gpt reads of the factory: text to train a tokenizer on, records to pack. Read-only, one row at a time.

The factory's tables are described in datagen/factory.sql; the rooms share the file, not the code.
"""

import hashlib
import json
import random
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datagen import files

VERSION = 1  # the user_version of the factory files this room can read
BUSY_S = 60.0
LOOK_EVERY = 256  # rows between two looks at whether to stop
LONGEST_LINE = 2**16  # characters: a text without line breaks must not get into a sample whole, or not at all


class BadSource(Exception):
    """The factory can't be read, or holds nothing to work with. Told to a person."""


class Stopped(Exception):
    """Told to leave in the middle of reading."""


@dataclass(frozen=True)
class Fingerprint:
    """Which state of a factory was read. Rows are only ever added, so this tells two states apart."""

    num_articles: int
    num_records: int
    last_record: int
    articles_sha256: str  # over the articles' own hashes, in order of id


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The factory at path, inside one read transaction: what a generate job adds meanwhile stays unseen.

    Raises BadSource for a file that is missing, no factory, of another version, or without records to train on.
    """
    if not path.is_file():
        raise BadSource(f"there is no factory {path}: run corpus and generate first, or name another file")
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)) as db:
        try:
            _refuse_strangers(db, path)
        except sqlite3.DatabaseError as error:
            raise BadSource(f"{path} can't be read as a factory ({error}): name another file") from error
        yield db


def _refuse_strangers(db: sqlite3.Connection, path: Path) -> None:
    db.execute("begin")
    version = db.execute("pragma user_version").fetchone()[0]
    if version != VERSION:
        raise BadSource(f"{path} is of version {version}, this program reads {VERSION}: take a factory made by it")
    if db.execute("select 1 from record where role = 'train' limit 1").fetchone() is None:
        raise BadSource(f"{path} holds no records to train on: run generate on it first")


def fingerprint(db: sqlite3.Connection) -> Fingerprint:
    """The state of the factory that db reads."""
    num_articles, hashes = 0, hashlib.sha256()
    for (sha256,) in db.execute("select sha256 from article order by id"):
        num_articles += 1
        hashes.update(sha256.encode())
    num_records, last = db.execute("select count(*), coalesce(max(id), 0) from record").fetchone()
    return Fingerprint(num_articles, num_records, last, hashes.hexdigest())


def read_finished(folder: Path, given: dict[str, Any], run: int | None, refuse: type[Exception]) -> dict[str, Any]:
    """The manifest of a finished folder that was made of what is given, or by this very job.

    Raises refuse for one that was made of something else: it would have to be changed.
    """
    manifest = files.read_manifest(folder)
    changed = [name for name, value in given.items() if manifest.get(name) != value]
    if changed and (run is None or manifest.get("run") != run):
        raise refuse(
            f"{folder} holds a {manifest['kind']} made with other {' and '.join(changed)}: a finished "
            f"{manifest['kind']} is never changed; give another name as out, or delete it"
        )
    return manifest


def fetch(db: sqlite3.Connection, ids: Sequence[int]) -> list[tuple[int, str, str]]:
    """(id, question, answer) of records, in the order of ids."""
    return db.execute(
        """select record.id, record.question, record.answer
             from json_each(?) as wanted join record on record.id = wanted.value order by wanted.key""",
        (json.dumps(list(ids)),),
    ).fetchall()


def training_lines(db: sqlite3.Connection) -> Iterator[str]:
    """Every line of text a model may meet: the articles', then the train records' questions and answers."""
    for (text,) in db.execute("select text from article order by id"):
        yield from _lines(text)
    for question, answer in db.execute("select question, answer from record where role = 'train' order by id"):
        yield from _lines(f"{question}\n{answer}")


def _lines(text: str) -> Iterator[str]:
    """Lines that hold something; one longer than LONGEST_LINE in parts."""
    for line in text.split("\n"):
        for start in range(0, len(line), LONGEST_LINE):
            yield line[start : start + LONGEST_LINE]


def count_characters(db: sqlite3.Connection) -> int:
    """How many characters training_lines gives, line breaks aside from it (an upper bound)."""
    [articles] = db.execute("select coalesce(sum(length(text)), 0) from article").fetchone()
    [records] = db.execute(
        "select coalesce(sum(length(question) + length(answer)), 0) from record where role = 'train'"
    ).fetchone()
    return int(articles + records)


@dataclass(frozen=True)
class Sample:
    """Text taken from a factory: lines to train on are in `path`, `held_out` is for the report: lines never in it."""

    path: Path
    num_lines: int
    num_characters: int
    held_out: list[str]

    def facts(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name.startswith("num_")} | {
            "num_held_out_lines": len(self.held_out)
        }


def write_sample(
    db: sqlite3.Connection,
    path: Path,
    *,
    max_characters: int,
    seed: int,
    avoid: str = "",
    stop: Callable[[], bool] = lambda: False,
    held_out_every: int = 50,
    max_held_out: int = 2000,
) -> Sample:
    """Put about max_characters of the factory's lines into a file, one per line, each kept or left by a seeded chance.

    avoid: characters that must not stand in the sample; they are left out. Memory stays flat, and so does
    that of training on the sample: the factory's size only changes how seldom a line is drawn.
    Raises Stopped when told to.
    """
    chance = max_characters / max(count_characters(db), 1)
    dice = random.Random(seed)
    held_out: list[str] = []
    num_lines = num_characters = 0
    table = str.maketrans("", "", avoid)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for num_seen, line in enumerate(training_lines(db)):
            if num_seen % LOOK_EVERY == 0 and stop():
                raise Stopped
            if dice.random() >= chance:
                continue
            # by content: a text that stands twice is held out twice
            if zlib.crc32(line.encode()) % held_out_every == 0:
                held_out += [line] if len(held_out) < max_held_out else []
                continue
            num_characters += file.write(line.translate(table) + "\n") - 1
            num_lines += 1
    return Sample(path, num_lines, num_characters, held_out)
