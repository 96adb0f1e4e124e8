"""Forgetting what is over: never what is still needed, and nothing half."""

import contextlib
import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from supervisor import bulk, ledger, queue, settings, tags
from supervisor import db as database
from supervisor.filters import Filter
from supervisor.home import Home
from supervisor.house import prune
from supervisor.job import NewJob
from supervisor.outside import notices

NOW = 1_000_000.0


@pytest.fixture
def home(db: sqlite3.Connection, tmp_path) -> Home:
    return Home(tmp_path)


def add(db: sqlite3.Connection, **more) -> int:
    return queue.add(db, NewJob("sleep", more.pop("args", {}), "gpu", **more), now=NOW)


def done(db: sqlite3.Connection, home: Home | None = None, *, at: float = NOW, **more) -> int:
    """A job that has succeeded, with a folder where a home is given."""
    job_id = add(db, priority=99, **more)
    job = queue.claim(db, "gpu", now=at)
    assert job is not None
    assert job.id == job_id
    queue.succeed(db, job_id, job.attempt, now=at)
    if home is not None:
        home.workdir(job_id).mkdir(parents=True)
        home.log(job_id).write_text("words")
    return job_id


def known(db: sqlite3.Connection) -> set[int]:
    return {row["id"] for row in db.execute("select id from job")}


def test_a_forgotten_job_leaves_nothing_behind_but_the_time_it_took(db, home):
    gone, stays = done(db, home, args={"env": {"A": "1"}}), add(db, args={"env": {"B": "2"}})
    tags.change(db, [gone], ["old"])
    ledger_rows(db, gone)
    before = ledger.shares(db, since=0, until=NOW + 99)
    assert prune.who(db, Filter()) == [gone]
    prune.forget(db, [gone])
    assert prune.sweep(home, db) == 1
    assert known(db) == {stays}
    for table in ("event", "tag", "need", "span"):
        assert not db.execute(f"select * from {table} where job_id = ?", (gone,)).fetchall(), table
    assert [row["text"] for row in db.execute("select text from shared")] == ['{"B": "2"}']
    assert not home.workdir(gone).exists()
    assert ledger.shares(db, since=0, until=NOW + 99) == before
    assert db.execute("pragma foreign_key_check").fetchall() == []
    assert add(db) > stays  # an id never comes back


def ledger_rows(db: sqlite3.Connection, job_id: int) -> None:
    db.execute(
        "insert into span (class, kind, job_id, began_at, seen_at, closed) values ('running', 'sleep', ?, ?, ?, 1)",
        (job_id, NOW, NOW + 60),
    )


def test_what_is_not_over_is_never_forgotten(db):
    queued, paused = add(db), add(db)
    queue.pause(db, paused, now=NOW)
    running = add(db, priority=5)
    queue.claim(db, "gpu", now=NOW)
    assert prune.who(db, Filter(), before=math.inf) == []
    assert known(db) == {queued, paused, running}


def test_what_somebody_still_needs_stays_until_he_has_succeeded(db):
    needed = done(db)
    waits = add(db, after=(needed,))
    assert prune.who(db, Filter()) == []
    queue.cancel(db, waits, now=NOW)
    assert prune.who(db, Filter()) == [waits]  # it may be retried: then it needs the other one
    queue.again(db, waits, now=NOW)
    job = queue.claim(db, "gpu", now=NOW)
    queue.succeed(db, waits, job.attempt, now=NOW)
    assert prune.who(db, Filter()) == [needed, waits]
    prune.forget(db, [needed])
    assert known(db) == {waits}


def test_what_a_recipe_planned_stays_for_it_is_found_by_its_key(db):
    planned = done(db, key="demo/corpus/abc")
    parent = add(db, priority=100)
    queue.claim(db, "gpu", now=NOW)
    submitted = done(db, key="judge/1", parent_id=parent)
    assert prune.who(db, Filter()) == []  # said again after a crash, it must be found
    queue.succeed(db, parent, 1, now=NOW)
    assert set(prune.who(db, Filter())) == {parent, submitted}
    prune.forget(db, [parent])  # its children need not go with it
    assert known(db) == {planned, submitted}


def test_by_age_by_number_and_by_filter(db):
    jobs = [done(db, at=NOW + number) for number in range(5)]
    cancelled = add(db)
    queue.cancel(db, cancelled, now=NOW + 9)
    assert prune.who(db, Filter(), before=NOW + 2) == jobs[:2]
    assert prune.who(db, Filter(), keep=2) == jobs[:4]
    assert prune.who(db, Filter(states=("cancelled",))) == [cancelled]
    assert prune.who(db, Filter(), before=NOW + 2, keep=9) == []
    assert prune.who(db, Filter(), most=1) == jobs[:1]


def test_killed_between_rows_and_folders_the_next_prune_goes_on(db, home, monkeypatch):
    jobs = [done(db, home) for _ in range(3)]

    class Killed(BaseException):
        pass

    real, left = shutil.rmtree, [1]

    def once(path):
        if not left:
            raise Killed
        left.pop()
        real(path)

    monkeypatch.setattr(shutil, "rmtree", once)
    prune.forget(db, jobs)
    with pytest.raises(Killed):
        prune.sweep(home, db)
    monkeypatch.undo()
    assert known(db) == set()
    assert len(os.listdir(home.path / "runs")) == 2
    assert prune.sweep(home, db) == 2
    assert os.listdir(home.path / "runs") == []
    assert db.execute("select * from pruned").fetchall() == []


PRUNE_AS_NOBODY = """
import os, sys
from supervisor import jobctl  # before: the checkout may be closed to others
from supervisor import bulk, filters, origin
from supervisor.house import prune
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(jobctl.main(["-C", sys.argv[1], "prune", "--state", "cancelled"]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_that_cannot_be_removed_is_said_and_holds_up_no_other(tmp_path):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        home = Home(Path(folder))
        database.create(home.queue_db)
        with contextlib.closing(home.connect()) as db:
            [first, _] = (done(db, home) for _ in range(2))
            db.execute("update job set state = 'cancelled'")
        for place in (home.path, *home.path.rglob("*")):
            os.chown(place, 65534, 65534)
        os.chown(home.workdir(first), 0, 0)  # as a container leaves it
        (home.workdir(first) / "log").touch()
        asked = [sys.executable, "-c", PRUNE_AS_NOBODY, folder]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        left = os.listdir(home.path / "runs")
    assert found.returncode == 1
    assert f"2 jobs forgotten, but the folder of one can't be removed ({folder}/runs/{first}" in found.stderr
    assert left == [str(first)]


def test_a_folder_that_leads_elsewhere_is_not_followed(db, home, tmp_path):
    job, precious = done(db), tmp_path / "precious"
    precious.mkdir()
    (precious / "model").write_text("weights")
    (tmp_path / "runs").mkdir()
    home.workdir(job).symlink_to(precious)
    prune.forget(db, [job])
    prune.sweep(home, db)
    assert (precious / "model").read_text() == "weights"
    assert not home.workdir(job).is_symlink()


def test_the_file_gives_back_what_it_does_not_need(db, home):
    args = {"argv": ["x" * 4000]}
    ids = bulk.add_many(db, [NewJob("command", {**args, "n": n}, "gpu") for n in range(4000)], now=NOW)
    db.execute("update job set state = 'cancelled', finished_at = ?", (NOW,))
    prune.forget(db, ids)
    db.execute("pragma wal_checkpoint(truncate)")
    before = home.queue_db.stat().st_size
    assert "gave back" in prune.shrink(db)
    assert home.queue_db.stat().st_size < before / 4
    assert prune.shrink(db) == ""


def test_prune_says_what_it_would_do_and_does_it(tower):
    jobs = [tower.add("sleep") for _ in range(3)]
    tower.ctl("cancel", *jobs)
    assert "3 jobs would be forgotten; nothing was changed" in tower.ctl("prune", "--state", "cancelled", "--dry-run")
    assert tower.ctl("prune", "--older-than", "1d") == "0 jobs forgotten, 0 folders removed.\n"
    assert tower.ctl("prune", "--keep", 2) == "1 job forgotten, 0 folders removed.\n"
    assert "there is no job 1" in tower.ctl("show", 1, code=1)
    assert tower.shown(2)["state"] == "cancelled"


def test_a_little_is_forgotten_at_a_time_when_the_home_keeps_days(db, home):
    jobs = [done(db, home, at=NOW + number) for number in range(prune.AT_A_TIME + 3)]
    assert prune.some(home, db, keep_days=1, now=NOW + 2 * 86400) is True  # there is more
    assert len(known(db)) == 3
    assert prune.some(home, db, keep_days=1, now=NOW + 2 * 86400) is False
    assert known(db) == set()
    assert not any(home.workdir(job).exists() for job in jobs)
    assert prune.some(home, db, keep_days=0, now=time.time()) is False


def test_nothing_is_forgotten_in_the_first_hour_nor_after_the_calendar_was_set(db, home, monkeypatch):
    """A clock that woke up a year ahead makes everything old: there must be time to put it right."""
    done(db, home, at=NOW)
    for text in ("old", "the newest"):
        notices.add(db, "weekly", text, now=NOW)
    notices.close_all(db, now=NOW)
    uptime = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: uptime[0])
    history = prune.History(home, db, settings.Settings(keep_days=30))
    for wait in (lambda: None, history.wait):
        wait()
        history.look()
        uptime[0] += prune.EVERY_S - 1
        history.look()
        assert known(db) == {1}
        assert len(notices.newest(db, 9)) == 2
    uptime[0] += 1
    history.look()
    assert known(db) == set()
    assert [one["text"] for one in notices.newest(db, 9)] == ["the newest"]
