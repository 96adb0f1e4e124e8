"""metrics.db: what each step of a run measured, and which contexts it saw. SQLite; one writer, the training process.

Rows past the checkpoint a run resumes from belong to a history that did not happen: they are replaced.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

SCHEMA = """
create table if not exists step (
    step          integer primary key,
    loss          real not null,     -- mean over the step's labelled tokens
    val_loss      real,              -- where it was measured
    lr            real not null,
    tokens_per_s  real not null,     -- tokens of documents through the model, padding not counted
    tokens_seen   integer not null,  -- tokens that gave loss, since step 1
    weight_decay  real not null,
    grad_norm     real not null,     -- before clipping
    at            real not null      -- Unix seconds
) strict;
create table if not exists micro_batch (
    step      integer not null,
    place     integer not null,      -- which of the step's micro-batches
    contexts  text not null,         -- train contexts, in order, with commas between
    sha256    text not null,         -- of the token ids, little-endian int32
    primary key (step, place)
) strict, without rowid;
create table if not exists skip (
    id            integer primary key,
    step          integer not null,  -- that it would have been
    first_place   integer not null,  -- of its contexts in the order of the data, since step 1
    num_contexts  integer not null,
    loss          real,              -- null: no number
    grad_norm     real,
    at            real not null
) strict;
"""


@dataclass(frozen=True)
class MicroBatch:
    contexts: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class Row:
    step: int
    loss: float
    val_loss: float | None
    lr: float
    tokens_per_s: float
    tokens_seen: int
    weight_decay: float
    grad_norm: float
    at: float


@dataclass(frozen=True)
class Skip:
    """A step that was not made, and its data."""

    step: int
    first_place: int
    num_contexts: int
    loss: float
    grad_norm: float
    at: float


def open_metrics(path: Path, *, last_step: int, contexts_seen: int = 0) -> sqlite3.Connection:
    """Open for writing, with the steps after last_step forgotten, and what was skipped past contexts_seen.

    contexts_seen: how far in its data the run stands. A skip before that did happen, whatever step it would have been.
    """
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.executescript(SCHEMA)
    with db:
        db.execute("delete from skip where first_place >= ?", (contexts_seen,))
    forget_after(db, last_step)
    return db


def forget_after(db: sqlite3.Connection, last_step: int) -> None:
    """Steps after this one did not happen."""
    with db:
        db.execute("delete from step where step > ?", (last_step,))
        db.execute("delete from micro_batch where step > ?", (last_step,))


def write_step(db: sqlite3.Connection, row: Row, batches: list[MicroBatch]) -> None:
    """One step and its micro-batches, in one transaction."""
    with db:
        db.execute("insert into step values (?,?,?,?,?,?,?,?,?)", tuple(vars(row).values()))
        db.executemany(
            "insert into micro_batch values (?,?,?,?)",
            [(row.step, place, ",".join(map(str, b.contexts)), b.sha256) for place, b in enumerate(batches)],
        )


def write_skip(db: sqlite3.Connection, skip: Skip) -> None:
    """A NaN is stored as null: SQLite has none."""
    with db:
        db.execute(
            "insert into skip (step, first_place, num_contexts, loss, grad_norm, at) values (?,?,?,?,?,?)",
            tuple(vars(skip).values()),
        )


def read_steps(path: Path) -> list[Row]:
    """Every step so far, in order; none when there is no file yet. Any process may read while the run writes."""
    if not path.exists():
        return []
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [Row(*row) for row in db.execute("select * from step order by step")]
    except sqlite3.OperationalError:  # the file is there, its tables not yet
        return []
    finally:
        db.close()


def token_hash(tokens: bytes) -> str:
    return hashlib.sha256(tokens).hexdigest()
