"""Room on the disk: below the floor nobody starts, a little above it all goes on."""

import errno
import os
import time
from types import SimpleNamespace

import pytest

from supervisor import db as database
from supervisor import meta, queue
from supervisor.home import Home
from supervisor.house import logs, space
from supervisor.house.space import Space
from supervisor.job import NewJob
from supervisor.screen import view
from supervisor.settings import Settings

MIB = 1 << 20


@pytest.fixture
def home(tmp_path):
    database.create(tmp_path / "queue.db")
    return Home(tmp_path)


@pytest.fixture
def disk(monkeypatch):
    """A disk that has as many MiB free as we say."""
    facts = SimpleNamespace(f_frsize=4096, f_bavail=0)
    monkeypatch.setattr(os, "statvfs", lambda path: facts)

    def has(free_mib):
        facts.f_bavail = free_mib * 256

    has(5000)
    return has


def test_it_is_low_below_the_floor_and_goes_on_a_little_above_it(home, disk):
    watched = Space(home, Settings(disk_floor_mib=2048))
    for free, low, changed in (
        (2048, False, False), (2047, True, True), (10, True, False), (2100, True, False), (2303, True, False),
        (2304, False, True), (2048, False, False), (0, True, True),
    ):  # fmt: skip
        disk(free)
        assert watched.look() is changed, free
        assert bool(watched.low) is low, free


def test_a_floor_of_zero_switches_the_guard_off(home, disk):
    disk(0)
    watched = Space(home, Settings(disk_floor_mib=0))
    watched.look()
    assert watched.low == ""


def test_it_looks_before_the_first_job_starts(home, disk):
    disk(1)
    assert "1 MiB are free for the home, disk_floor_mib is 2048: make room" in Space(home, Settings()).low


def test_the_queue_is_told_once_and_list_says_why_a_job_waits(home, disk, monkeypatch, capfd):
    monkeypatch.setattr(view, "serving", lambda home: True)
    db = home.connect()
    job = queue.get(db, queue.add(db, NewJob("sleep", {}, "cpu"), now=1.0))
    watched = Space(home, Settings())
    for free in (5000, 100, 100, 50, 5000, 5000):
        disk(free)
        watched.look()
        watched.write_down(db)
        waits = view.waiting_for(db, job, home, now=time.time())
        assert ("room on the disk: 100 MiB are free" in waits) is (free < 2048)
    said = capfd.readouterr().err
    assert said.count("ALARM") == 1
    assert said.count("jobs go on") == 2  # once in the alarm itself
    db.close()


def test_what_an_earlier_jobd_said_of_the_disk_is_taken_back(home, disk):
    db = home.connect()
    meta.write(db, "disk_low", "it was full when jobd was killed")
    Space(home, Settings()).write_down(db)
    assert meta.read(db, "disk_low") == ""
    db.close()


def test_a_file_system_without_holes_is_said_once(home, monkeypatch, capfd):
    def refuse(path, most_bytes):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(logs, "cap", refuse)
    watched = Space(home, Settings())
    for _ in range(3):
        watched.cap_logs([1, 2])
    assert capfd.readouterr().err == "jobd: log_mib is not kept: this file system knows no holes in files\n"


def test_a_log_keeps_as_many_mib_as_it_was_told(home):
    if not logs.can_be_capped(home.path):
        pytest.skip("the file system of the temporary folder knows no holes in files")
    home.workdir(1).mkdir(parents=True)
    home.log(1).write_bytes(b"x" * 99 + b"\n" * 5 * MIB)
    Space(home, Settings(log_mib=2)).cap_logs([1, 2])
    assert 2 * MIB <= home.log(1).stat().st_blocks * 512 < 3 * MIB


def test_free_room_is_what_anybody_but_root_may_write(tmp_path):
    facts = os.statvfs(tmp_path)
    assert space.free_mib(tmp_path) == pytest.approx(facts.f_bavail * facts.f_frsize / MIB, rel=0.2)
