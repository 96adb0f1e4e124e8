"""The numbers a program may ask for: right, in the format Prometheus reads, and never long in coming."""

import re
import sqlite3
import time

import pytest

from supervisor import db as database
from supervisor import ledger, meta, queue
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.ledger import Entry, Moment
from supervisor.outside import metrics

LINE = re.compile(r'(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? \S+)')


@pytest.fixture
def home(tmp_path):
    database.create(tmp_path / "queue.db")
    return Home(tmp_path)


@pytest.fixture
def db(home):
    connection = home.connect()
    yield connection
    connection.close()


def values(text):
    """{name and labels: value}"""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_every_number_is_what_the_queue_says(db, home):
    now = time.time()
    for _ in range(3):
        queue.add(db, NewJob("train", {}, "gpu"), now=now)
    queue.add(db, NewJob("pack", {}, "cpu", after=[1]), now=now)
    ledger.enter(db, Entry("empty"), now=now - 50)
    job = queue.claim(db, "gpu", now=now)
    queue.note_progress(db, 1, job.attempt, {"done": 3, "total": 12, "metrics": {"loss": 2.5}}, now=now)
    ledger.enter(db, Entry("running", "train"), now=now - 20)
    ledger.touch(db, Moment(now, "boot", 9.0))
    found = values(metrics.prometheus(db, home))
    assert found['neverrest_jobs{state="running",kind="train"}'] == 1
    assert found['neverrest_jobs{state="queued",kind="train"}'] == 2
    assert found['neverrest_queue_depth{lane="gpu"}'] == 2
    assert found['neverrest_queue_depth{lane="cpu"}'] == 0, "it waits for another one"
    assert found['neverrest_job_progress_ratio{job="1",kind="train",name="train"}'] == 0.25
    assert found['neverrest_job_metric{job="1",kind="train",metric="loss"}'] == 2.5
    assert found['neverrest_gpu_lane_seconds_total{class="empty",kind=""}'] == pytest.approx(30)
    assert found['neverrest_gpu_lane_seconds_total{class="running",kind="train"}'] == pytest.approx(20)
    assert found["neverrest_gpu_lane_open"] == 1
    assert found["neverrest_disk_free_bytes"] > 0
    assert 1e6 < found["neverrest_jobd_resident_bytes"] < 1e10


def test_the_text_is_what_prometheus_reads_whatever_a_job_is_called(db, home):
    queue.add(db, NewJob("train", {}, "gpu", name='a "quoted"\n\\ name{} 1'), now=time.time())
    queue.note_progress(db, 1, queue.claim(db, "gpu", now=time.time()).attempt, {"done": 1, "total": 2}, now=1.0)
    text = metrics.prometheus(db, home)
    assert text.endswith("\n")
    for line in text.splitlines():
        assert LINE.fullmatch(line), line
    assert r'name="a \"quoted\"\n\\ name{} 1"' in text


def test_failures_and_what_waits_to_be_told_are_counted(db, home):
    queue.add(db, NewJob("train", {}, "gpu"), now=1.0)
    for failures in range(3):
        job = queue.claim(db, "gpu", now=time.time() + 1e6)
        assert values(metrics.prometheus(db, home))['neverrest_job_failures{job="1",kind="train"}'] == failures
        queue.retry(db, 1, job.attempt, "oh no", now=time.time())
    found = values(metrics.prometheus(db, home))
    assert found["neverrest_notices_waiting"] == 1
    assert found['neverrest_jobs{state="failed",kind="train"}'] == 1
    assert not [name for name in found if name.startswith("neverrest_job_failures{")], "it is over"


def test_a_count_that_takes_too_long_is_left_out_and_the_loop_goes_on(db, home, monkeypatch):
    monkeypatch.setattr(metrics, "DEADLINE_S", -1.0)
    monkeypatch.setattr(metrics, "STEPS", 1)
    text = metrics.prometheus(db, home)
    assert "# neverrest_jobs is left out: interrupted" in text
    assert "neverrest_disk_free_bytes " in text, "what needs no queue is there"
    assert db.execute("select count(*) from job").fetchone()[0] == 0, "the deadline was this answer's alone"


def test_health_says_what_is_wrong(db):
    assert metrics.health(db) == (True, '{"ok": true, "paused": false}\n')
    meta.write(db, "lane_closed", "a card that fell off the bus")
    queue.set_paused(db, True)
    well, body = metrics.health(db)
    assert not well
    assert body == '{"ok": false, "paused": true, "lane_closed": "a card that fell off the bus"}\n'


def test_a_queue_that_cannot_be_read_is_no_crash(db, home, monkeypatch):
    def broken(*args, **times):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(ledger, "shares", broken)
    assert "# neverrest_gpu_lane_seconds_total is left out: disk I/O error" in metrics.prometheus(db, home)
