"""Backups of the queue: which stay, what is in them, and a damaged queue that one of them replaces."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from supervisor import db as database
from supervisor import meta, queue
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.house import backup, damage
from supervisor.job import NewJob

NOW = 1_800_000_000.0
HOUR_S, DAY_S = 3600.0, 86400.0


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def add(db, n: int = 1) -> list[int]:
    return [queue.add(db, NewJob("sleep", {}, "gpu"), now=NOW) for _ in range(n)]


def spoil(path: Path, at: int = 0) -> bytes:
    """Damage a database from this byte on. What it holds now."""
    content = bytearray(path.read_bytes())
    content[at : at + 4096] = os.urandom(4096)
    path.write_bytes(content)
    return bytes(content)


def closed(db, home: Home) -> None:
    """Nobody has the queue open: all of it is in the one file."""
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()


def ids(path: Path) -> list[int]:
    with closing(database.connect(path)) as db:
        return [row["id"] for row in db.execute("select id from job order by id")]


# ── making and keeping ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_holds_what_was_there_and_only_its_owner_reads_it(db, home):
    add(db, 3)
    path = backup.make(home, now=NOW)
    add(db)
    assert ids(path) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == [path.name], "nothing else is left beside it"


def test_a_day_of_hours_and_a_week_of_days_are_kept():
    names = [Path(f"queue-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(NOW - n * HOUR_S))}.db") for n in range(24 * 30)]
    kept = backup.kept(names)
    assert set(names[:24]) < set(kept)
    days = {path.name[6:14] for path in kept}
    assert days == {time.strftime("%Y%m%d", time.gmtime(NOW - n * DAY_S)) for n in range(7)}
    assert len(kept) <= 24 + 7
    assert all(max(n for n in names if n.name[6:14] == day) in kept for day in days), "a day's last one"


def test_what_jobd_did_not_make_is_not_let_go_of(db, home):
    backup.folder(home).mkdir()
    own = backup.folder(home) / "queue-v1.db"
    mine = backup.folder(home) / "before-the-exam.db"
    for path in (own, mine):
        path.write_bytes(b"x")
    for n in range(40):
        backup.folder(home).joinpath(f"queue-20200101T0000{n:02}Z.db").write_bytes(b"x")
    made = backup.make(home, now=NOW)
    left = set(backup.folder(home).iterdir())
    assert {own, mine, made} <= left
    assert len(left) == 24 + 2


def test_a_damaged_queue_makes_no_backup_and_costs_none(db, home):
    add(db, 300)
    before = backup.make(home, now=NOW)
    add(db, 300)
    pages = db.execute("pragma page_count").fetchone()[0]
    closed(db, home)
    for page in range(2, pages):
        spoil(home.queue_db, page * 4096)
    with pytest.raises(Refused, match="start jobd"):
        backup.make(home, now=NOW + HOUR_S)
    assert list(backup.folder(home).iterdir()) == [before]


def test_jobd_makes_one_when_an_hour_is_over_and_something_happened(db, home, monkeypatch):
    started: list[float] = []

    class Copying:
        def __init__(self) -> None:
            started.append(clock[0])
            path = backup.folder(home) / f"queue-20270115T08{len(started):02}00Z.db"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            os.utime(path, (clock[0], clock[0]))

        def poll(self) -> int:
            return 0

    clock = [NOW]
    monkeypatch.setattr(backup, "start", lambda home: Copying())
    monkeypatch.setattr(time, "time", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    backups = backup.Backups(db, home)
    for minute in range(6 * 60):
        clock[0] = NOW + minute * 60
        if 60 < minute < 200:
            add(db)
        backups.look()
    hours = [round((at - NOW) / HOUR_S, 1) for at in started]
    assert hours == [0.0, 1.0, 2.0, 3.0, 4.0][: len(hours)]
    assert len(hours) in (4, 5), "and none in the hours in which nothing happened"


# ── a queue that is damaged ───────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_queue_is_let_alone(db, home):
    add(db)
    backup.make(home, now=NOW)
    damage.mend(home)
    assert sorted(path.name for path in home.path.glob("queue.db*")) == ["queue.db", "queue.db-shm", "queue.db-wal"]


@pytest.mark.parametrize("at", [0, 4096, 3 * 4096], ids=["its head", "a table", "an index"])
def test_a_damaged_queue_is_put_aside_whole_and_the_newest_backup_is_the_queue(db, home, at, capfd):
    add(db, 30)
    backup.make(home, now=NOW)
    add(db, 200)
    closed(db, home)
    damaged = spoil(home.queue_db, at)
    damage.mend(home)
    assert ids(home.queue_db) == list(range(1, 31))
    (aside,) = home.path.glob("queue.db.damaged-*Z")
    assert aside.read_bytes() == damaged
    assert "it lies whole in queue.db.damaged-" in capfd.readouterr().err
    with closing(home.connect()) as new:
        [notice] = new.execute("select what, text from notice").fetchall()
        assert notice["what"] == "queue"
    assert home.queue_db.stat().st_mode & 0o777 == 0o600


def test_a_backup_that_is_damaged_itself_is_passed_over(db, home):
    add(db, 2)
    good = backup.make(home, now=NOW)
    add(db, 2)
    bad = backup.make(home, now=NOW + HOUR_S)
    spoil(bad, 2 * 4096)
    os.utime(good, (NOW, NOW))
    closed(db, home)
    spoil(home.queue_db)
    damage.mend(home)
    assert ids(home.queue_db) == [1, 2]


def test_without_a_sound_backup_everything_stays_as_it_is(db, home):
    add(db, 2)
    closed(db, home)
    damaged = spoil(home.queue_db)
    with pytest.raises(Refused, match="holds no sound backup"):
        damage.mend(home)
    assert [path.name for path in home.path.glob("*queue.db*")] == ["queue.db"]
    assert home.queue_db.read_bytes() == damaged


def test_no_number_of_the_lost_hours_is_given_again(db, home):
    """A job that was added after the backup left its folder: the next one must not find another's checkpoint there."""
    add(db)
    queue.claim(db, "gpu", now=NOW)
    backup.make(home, now=NOW)
    lost = add(db, 5)
    for job_id in (1, lost[1]):
        home.workdir(job_id).mkdir(parents=True)
        (home.workdir(job_id) / "outcome.json").write_text('{"attempt": 2, "exit": 0}')
    closed(db, home)
    spoil(home.queue_db)
    damage.mend(home)
    with closing(home.connect()) as new:
        assert queue.add(new, NewJob("sleep", {}, "gpu"), now=NOW) == lost[1] + 1
        queue.release(new, 1, queue.get(new, 1).attempt, "restored", now=NOW)
        assert queue.claim(new, "gpu", now=NOW).attempt > 1 + damage.LOST_ATTEMPTS
        said = meta.read(new, "restored")
    assert f"left their folder in runs/ (job {lost[1]})" in said
    assert "jobs that worked on (job 1) go on" in said


@pytest.mark.parametrize("step", range(12))
def test_a_supervisor_that_dies_while_it_mends_leaves_it_to_the_next(db, home, step, monkeypatch):
    """At each change of a name, and at each sync, it dies; the next one ends with the same queue."""
    add(db, 2)
    backup.make(home, now=NOW)
    closed(db, home)
    damaged = spoil(home.queue_db)
    left = [step]

    class Killed(BaseException):
        pass

    def dying(real):
        def call(*args, **named):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*args, **named)

        return call

    (home.path / "queue.db-wal").write_bytes(b"of the damaged one")
    with monkeypatch.context() as patched:
        for module, name in ((os, "rename"), (os, "replace"), (os, "link"), (database, "sync")):
            patched.setattr(module, name, dying(getattr(module, name)))
        try:
            damage.mend(home)
        except Killed:
            assert home.queue_db.exists(), "there is a queue at every moment"
    damage.mend(home)
    assert ids(home.queue_db) == [1, 2]
    (aside,) = home.path.glob("queue.db.damaged-*Z")
    assert aside.read_bytes() == damaged
    assert aside.with_name(aside.name + "-wal").read_bytes() == b"of the damaged one"


def test_an_empty_file_in_the_place_of_a_queue_is_damage_where_there_are_backups(db, home):
    add(db, 2)
    backup.make(home, now=NOW)
    closed(db, home)
    home.queue_db.write_bytes(b"")
    damage.mend(home)
    assert ids(home.queue_db) == [1, 2]


def test_an_older_version_among_the_backups_is_led_to_this_one(db, home, tmp_path):
    closed(db, home)
    old = next((Path(__file__).parent / "old").glob("queue-v1.db"))
    backup.folder(home).mkdir()
    (backup.folder(home) / "queue-v1.db").write_bytes(old.read_bytes())
    spoil(home.queue_db)
    damage.mend(home)
    with closing(sqlite3.connect(old)) as was:
        count = was.execute("select count(*) from job").fetchone()[0]
    assert len(ids(home.queue_db)) == count > 0


# ── a queue that is gone ──────────────────────────────────────────────────────────────────────────────────────────


def lose(db, home: Home) -> bytes:
    """Delete queue.db while its log is full and stays behind, as a kill and an `rm queue.db` leave it. The log."""
    log = (home.path / "queue.db-wal").read_bytes()
    closed(db, home)
    home.queue_db.unlink()
    (home.path / "queue.db-wal").write_bytes(log)
    return log


def test_a_queue_that_is_gone_comes_back_from_the_newest_backup(db, home, capfd):
    add(db, 2)
    backup.make(home, now=NOW)
    log = lose(db, home)
    damage.mend(home)
    assert ids(home.queue_db) == [1, 2]
    assert "queue.db is gone. The queue is that of" in capfd.readouterr().err
    (aside,) = home.path.glob("queue.db.damaged-*-wal")
    assert aside.read_bytes() == log


def test_an_empty_queue_in_the_place_of_one_that_is_gone_meets_neither_its_log_nor_its_folders(db, home, capfd):
    """SQLite would take the log for that of the new file, and mix their pages."""
    add(db, 300)
    log = lose(db, home)
    home.workdir(7).mkdir(parents=True)
    damage.mend(home)
    with closing(home.connect()) as new:
        assert new.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert queue.add(new, NewJob("sleep", {}, "gpu"), now=NOW) == 8, "job 7's folder is not another job's"
    (aside,) = home.path.glob("queue.db.damaged-*-wal")
    assert aside.read_bytes() == log
    assert "an empty queue takes its place" in capfd.readouterr().err


def test_no_queue_is_made_beside_the_log_of_another(db, home):
    lose(db, home)
    with pytest.raises(Refused, match=r"queue\.db-wal is still there\. Start `jobd"):
        database.create(home.queue_db)


def test_who_asks_for_a_queue_where_one_was_is_told_of_its_copies(db, home):
    backup.make(home, now=NOW)
    closed(db, home)
    home.queue_db.unlink()
    with pytest.raises(Refused, match=r"is gone, but .*backups holds its copies"):
        damage.begin(home)
    assert not home.queue_db.exists()


# ── a calendar that was wrong ─────────────────────────────────────────────────────────────────────────────────────


def test_copies_of_a_year_to_come_are_older_than_the_one_made_when_the_clock_was_put_right(db, home):
    for hour in range(3):
        add(db)
        path = backup.make(home, now=NOW + 365 * DAY_S + hour * HOUR_S)
        os.utime(path, (NOW + 365 * DAY_S + hour * HOUR_S,) * 2)
    add(db)
    newest = backup.make(home, now=NOW)
    os.utime(newest, (NOW, NOW))
    assert [ids(path)[-1] for path in backup.newest_first(home)] == [4, 3, 2, 1]
    assert backup.kept(backup.newest_first(home))[-1] == newest


def test_copies_of_a_year_to_come_do_not_make_the_next_one_wait_for_it(db, home, monkeypatch):
    add(db)
    path = backup.make(home, now=time.time())
    os.utime(path, (time.time() + 365 * DAY_S,) * 2)
    started: list[Home] = []
    monkeypatch.setattr(backup, "start", started.append)
    backup.Backups(db, home).look()
    assert started == [home]
