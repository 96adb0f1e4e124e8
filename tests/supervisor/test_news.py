"""Waiting for a home to change: woken by what happens, not by the clock."""

import contextlib
import os
import threading
import time

import pytest

from supervisor import db as database
from supervisor import queue
from supervisor.job import NewJob
from supervisor.screen import news
from supervisor.screen.news import News

FAR_S = 30.0  # so long would a wait take that nothing wakes


def looked(tmp_path, act, *places, seen):
    """How many looks it took to see something that happens while we wait; each wait could take for ever."""
    waiting = News(*places)
    waiting._coming, looks = [], 0
    actor = threading.Thread(target=act)
    actor.start()
    give_up = time.monotonic() + FAR_S
    while not seen():
        assert time.monotonic() < give_up, "nothing woke us"
        waiting.wait()
        looks += 1
    actor.join()
    waiting.close()
    return looks


@pytest.fixture(autouse=True)
def no_safety_net(monkeypatch):
    monkeypatch.setattr(news, "AT_MOST_S", FAR_S)


def test_a_commit_wakes_who_waits_for_the_queue_and_is_seen_once_it_is_on_the_disk(tmp_path, db):
    other = queue.add

    def act():
        mine = database.connect(tmp_path / "queue.db")
        other(mine, NewJob("sleep", {}, "gpu"), now=1.0)
        mine.close()

    def seen():
        return db.execute("select count(*) from job").fetchone()[0] == 1

    assert looked(tmp_path, act, tmp_path, seen=seen) < 50


def test_a_log_wakes_who_waits_also_when_it_and_its_folder_are_not_there_yet(tmp_path):
    log = tmp_path / "runs" / "1" / "log"

    def act():
        log.parent.mkdir(parents=True)
        for _ in range(3):
            time.sleep(0.01)
            with open(log, "ab") as file:
                file.write(b"x")

    looked(tmp_path, act, log, seen=lambda: log.exists() and log.stat().st_size == 3)


def test_where_there_are_no_events_we_look_all_the_same(tmp_path, monkeypatch):
    class None_:
        def inotify_init1(self, flags):
            return -1

        def inotify_add_watch(self, *args):
            return -1

    monkeypatch.setattr(news, "_libc", None_())
    path = tmp_path / "file"
    looked(tmp_path, path.touch, tmp_path, seen=path.exists)


def test_a_watch_that_is_closed_leaves_no_descriptor_behind(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        News(tmp_path, tmp_path / "no" / "such").close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_watches_a_queue_is_woken_by_anothers_commit_and_by_a_key(tmp_path, db):
    watching, seen, began = News(tmp_path), news.data_version(db), time.monotonic()

    def act():
        with contextlib.closing(database.connect(tmp_path / "queue.db")) as other:
            queue.add(other, NewJob("sleep", {}, "gpu"), now=1.0)

    actor = threading.Timer(0.05, act)
    actor.start()
    news.until_changed(db, watching, seen, FAR_S)
    assert news.data_version(db) != seen
    actor.join()
    keys, keyboard = os.pipe()
    os.write(keyboard, b"q")
    news.until_changed(db, watching, news.data_version(db), FAR_S, keys)
    assert time.monotonic() - began < FAR_S
    for descriptor in (keys, keyboard):
        os.close(descriptor)
    watching.close()
