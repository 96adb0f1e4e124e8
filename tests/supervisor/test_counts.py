"""How many jobs there are: right, and where there are very many, seldom asked."""

import sqlite3

import pytest

from supervisor import counts, queue
from supervisor.counts import Seldom
from supervisor.job import NewJob


def test_jobs_are_counted_by_state_kind_and_lane(db):
    assert counts.by_state(db) == {}
    for kind, lane, after in (
        ("a", "gpu", ()),
        ("b", "gpu", ()),
        ("b", "cpu", ()),
        ("a", "cpu", (1,)),
        ("c", "gpu", ()),
    ):
        queue.add(db, NewJob(kind, {}, lane, after=after), now=1.0)
    job = queue.claim(db, "gpu", now=2.0)
    queue.succeed(db, job.id, job.attempt, now=3.0)
    queue.claim(db, "cpu", now=4.0)
    queue.cancel(db, 5, now=5.0)
    assert counts.by_state(db) == {"queued": 2, "running": 1, "succeeded": 1, "cancelled": 1}
    assert counts.by_kind(db) == {
        ("queued", "a"): 1, ("queued", "b"): 1, ("running", "b"): 1, ("succeeded", "a"): 1, ("cancelled", "c"): 1,
    }  # fmt: skip
    assert counts.in_line(db) == {"gpu": 1, "cpu": 1}


def test_what_is_dear_is_kept_for_a_hundred_times_what_it_took(db, monkeypatch):
    clock, asked = [100.0], []
    monkeypatch.setattr(counts.time, "monotonic", lambda: clock[0])

    def ask(_, takes_s=0.5):
        asked.append(clock[0])
        clock[0] += takes_s
        return len(asked)

    dear = Seldom(ask)
    assert [dear.now(db), dear.now(db)] == [1, 1]
    clock[0] = 100.0 + 49.9
    assert dear.now(db) == 1
    clock[0] = 100.0 + 50.0
    assert dear.now(db) == 2
    cheap = Seldom(lambda db: ask(db, 0.001))
    assert [cheap.now(db), cheap.now(db)] == [3, 4]


def test_a_count_that_is_interrupted_is_the_one_before_where_there_is_one(db):
    answers = [7]

    def ask(_):
        if not answers:
            raise sqlite3.OperationalError("interrupted")
        return answers.pop()

    many = Seldom(ask)
    assert [many.now(db), many.now(db)] == [7, 7]
    with pytest.raises(sqlite3.OperationalError):
        Seldom(ask).now(db)
