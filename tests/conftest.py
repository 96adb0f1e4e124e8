"""What the tests share: a tower to run jobs on, and a queue alone."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tower import Tower

from supervisor import db as database

# How wide the screen of who tests is: pytest-xdist says 80 to its processes, and they would to theirs.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)


@pytest.fixture
def tower(tmp_path: Path) -> Iterator[Tower]:
    """A new home. Nothing serves it until `start`; nothing of it is left after the test."""
    made = Tower(tmp_path / "home")
    yield made
    made.sweep()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new queue.db, nothing else."""
    database.create(tmp_path / "queue.db")
    connection = database.connect(tmp_path / "queue.db")
    yield connection
    connection.close()
