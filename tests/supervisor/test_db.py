"""queue.db through the versions: what an older Neverrest made always opens, and nothing in it is lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tower import CHECKOUT, until

from supervisor import db as database
from supervisor import queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.job import Job

OLD = sorted((Path(__file__).parent / "old").glob("queue-v*.db"))


def copied(old: Path, to: Path) -> Path:
    path = to / "queue.db"
    shutil.copy(old, path)
    return path


def shape(db: sqlite3.Connection) -> dict[str, object]:
    """What a schema is, however it came about: each table's columns in order, each index, each view."""
    names = [row["name"] for row in db.execute("select name from sqlite_master where type = 'table' order by name")]
    columns = {name: [tuple(row)[1:] for row in db.execute(f"pragma table_xinfo({name})")] for name in names}
    keys = {name: [tuple(row)[2:] for row in db.execute(f"pragma foreign_key_list({name})")] for name in names}
    indexes = {
        (row["name"], row["tbl_name"], row["sql"])
        for row in db.execute("select * from sqlite_master where type = 'index' and sql is not null")
    }
    return {"columns": columns, "keys": keys, "indexes": indexes}


def test_every_older_version_is_checked_in():
    assert [path.stem for path in OLD] == [f"queue-v{version}" for version in range(1, database.VERSION)]


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_a_migrated_queue_has_the_schema_of_a_new_one(old, tmp_path):
    (tmp_path / "new").mkdir()
    database.create(tmp_path / "new" / "queue.db")
    with (
        closing(database.connect(copied(old, tmp_path))) as led,
        closing(database.connect(tmp_path / "new" / "queue.db")) as made,
    ):
        assert shape(led) == shape(made)


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_what_an_older_version_knew_of_its_jobs_is_kept(old, tmp_path):
    path = copied(old, tmp_path)
    with closing(sqlite3.connect(path)) as before:
        tables = [name for (name,) in before.execute("select name from sqlite_master where type = 'table'")]
        known = {name: before.execute(f"select * from {name}").fetchall() for name in tables}
    with closing(database.connect(path)) as db:
        for name, rows in known.items():
            width = len(rows[0]) if rows else 0
            assert [tuple(row)[:width] for row in db.execute(f"select * from {name}")] == rows, name
        jobs = [Job.from_row(row) for row in db.execute("select * from job")]
        assert {job.state for job in jobs} == set(queue.STATES)
        waiting = next(job for job in jobs if job.name == "backing off")
        assert queue.claim(db, "gpu", now=waiting.available_at + 1) is not None
        assert db.execute("pragma integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize("old", OLD, ids=lambda path: path.stem)
def test_the_queue_as_it_was_before_a_migration_stays_in_backups(old, tmp_path):
    path = copied(old, tmp_path)
    database.connect(path).close()
    kept = tmp_path / "backups" / f"{old.stem}.db"
    with closing(sqlite3.connect(kept)) as db, closing(sqlite3.connect(old)) as was:
        assert list(db.iterdump()) == list(was.iterdump())
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path, monkeypatch):
    path = copied(OLD[0], tmp_path)
    real = database._statements
    monkeypatch.setattr(database, "_statements", lambda script: [*list(real(script))[:-1], "select gone"])
    with pytest.raises(Exception, match="no such column: gone"):
        database.connect(path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(OLD[0])) as was:
        assert list(db.iterdump()) == list(was.iterdump())
    database.connect(path).close()  # and the next try succeeds


def test_two_who_open_an_older_queue_at_once_migrate_it_once(tmp_path):
    path = copied(OLD[0], tmp_path)
    code = "import sys, pathlib; from supervisor import db; db.connect(pathlib.Path(sys.argv[1])).close()"
    openers = [subprocess.Popen([sys.executable, "-P", "-c", code, path]) for _ in range(4)]
    assert [opener.wait() for opener in openers] == [0, 0, 0, 0]
    [kept] = (tmp_path / "backups").iterdir()
    with closing(sqlite3.connect(kept)) as copy:
        assert (kept.name, copy.execute("pragma user_version").fetchone()[0]) == (f"{OLD[0].stem}.db", 1)


def test_a_queue_that_an_older_jobd_serves_is_not_led_on_under_it(tmp_path):
    copied(OLD[0], tmp_path)
    serve = "import sys, pathlib; from supervisor.home import Home; Home(pathlib.Path(sys.argv[1])).hold(); input()"
    with subprocess.Popen([sys.executable, "-c", serve, tmp_path], stdin=subprocess.PIPE, cwd=CHECKOUT) as jobd:
        home = Home(tmp_path)
        until(lambda: home.served_by() == str(jobd.pid))
        with pytest.raises(Refused, match=rf"an older jobd \(pid {jobd.pid}\) still serves"):
            home.connect()
        jobd.communicate(b"\n")
    home.connect().close()


def test_a_jobd_leads_on_the_queue_that_it_serves_itself(tmp_path):
    copied(OLD[0], tmp_path)
    lock = Home(tmp_path).hold()
    Home(tmp_path).connect().close()
    os.close(lock)
