"""Every second of the GPU lane is in exactly one class, and they sum to the time on record."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import db as database
from supervisor import ledger, queue


def spans(db) -> list[tuple]:
    return [tuple(r) for r in db.execute("select class, kind, began_at, seen_at, closed from span order by id")]


def test_a_span_ends_where_the_next_begins(db):
    ledger.enter(db, "empty", now=10)
    job = queue.add(db, queue.NewJob("sleep", {}, "gpu"), now=10)
    ledger.enter(db, "running", now=13, job_id=job, kind="sleep")
    ledger.enter(db, "empty", now=20)
    ledger.touch(db, now=21)
    assert spans(db) == [("empty", "", 10, 13, 1), ("running", "sleep", 13, 20, 1), ("empty", "", 20, 21, 0)]
    assert ledger.now_in(db) == "empty"
    assert [vars(s) for s in ledger.shares(db, since=0, until=99)] == [
        {"what": "running", "kind": "sleep", "seconds": 7}, {"what": "empty", "kind": "", "seconds": 4},
    ]  # fmt: skip


def test_the_same_class_going_on_is_one_span(db):
    for now in (10, 12, 15):
        ledger.enter(db, "empty", now=now)
    assert spans(db) == [("empty", "", 10, 15, 0)]


def test_shares_are_cut_to_the_time_asked_for(db):
    ledger.enter(db, "empty", now=10)
    ledger.enter(db, "paused", now=20)
    ledger.touch(db, now=30)
    assert {s.what: s.seconds for s in ledger.shares(db, since=15, until=22)} == {"empty": 5, "paused": 2}


def test_the_time_without_a_supervisor_is_booked_as_such(db):
    ledger.recover(db, now=5)  # the first start ever: nothing to book
    assert spans(db) == []
    ledger.enter(db, "empty", now=10)
    ledger.touch(db, now=12)  # last seen, then killed
    ledger.recover(db, now=50)
    assert {s.what: s.seconds for s in ledger.shares(db, since=0, until=99)} == {"empty": 2, "down": 38}
    ledger.recover(db, now=60)  # it left in good order, and the next one comes
    ledger.enter(db, "empty", now=61)
    assert {s.what: s.seconds for s in ledger.shares(db, since=0, until=99)} == {"empty": 2, "down": 49}


def test_a_clock_set_back_makes_no_time_overlap(db):
    ledger.enter(db, "empty", now=100)
    ledger.enter(db, "paused", now=40)
    ledger.enter(db, "empty", now=110)
    assert [(s[2], s[3]) for s in spans(db)] == [(100, 100), (100, 110), (110, 110)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*ledger.CLASSES, "touch", "recover"]), st.floats(-1, 5)), max_size=25))
def test_the_shares_sum_to_the_time_on_record_and_never_overlap(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("ledger") / "queue.db"
    database.create(path)
    db = database.connect(path, durable=False)
    now = 1000.0
    for what, wait_s in steps:
        now += wait_s
        if what in ("touch", "recover"):
            getattr(ledger, what)(db, now=now)
        else:
            ledger.enter(db, what, now=now)
    found = spans(db)
    for before, after in itertools.pairwise(found):
        assert before[3] <= after[2]
    total = sum(share.seconds for share in ledger.shares(db, since=0, until=1e9))
    assert total == pytest.approx(sum(end - began for _, _, began, end, _ in found))
    if found and all(wait_s >= 0 for _, wait_s in steps):  # no clock was set back: no second is missing
        assert total == pytest.approx(found[-1][3] - found[0][2])
    db.close()
