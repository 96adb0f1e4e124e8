"""The calendar was a year ahead, and is put right: nobody waits for that year to pass."""

import pytest

from supervisor import clock, queue
from supervisor.job import NewJob
from supervisor.outside import notices

NOW = 1_800_000_000.0
AHEAD = NOW + 365 * 86400


def began(db, **more):
    """A job that was added, and claimed, a year ahead. Its id."""
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", **more), now=AHEAD)
    assert queue.claim(db, "gpu", now=AHEAD).id == job_id
    return job_id


def test_a_job_that_was_interrupted_a_year_ahead_is_due_at_once(db):
    job_id = began(db)
    queue.release(db, job_id, 1, "preempted", now=AHEAD)
    clock.set_right(db, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).id == job_id


@pytest.mark.parametrize("failures", [1, 2])
def test_a_job_that_failed_a_year_ahead_waits_for_its_backoff_and_no_longer(db, failures):
    job_id = began(db, max_failures=9)
    for attempt in range(1, failures + 1):
        queue.retry(db, job_id, attempt, "exit code 1", now=AHEAD)
        if attempt < failures:
            queue.claim(db, "gpu", now=AHEAD + 1000)
    clock.set_right(db, now=NOW)
    assert queue.claim(db, "gpu", now=NOW) is None
    assert queue.claim(db, "gpu", now=NOW + queue.BACKOFF_S * 4 ** (failures - 1) * 1.2).id == job_id


def test_a_backoff_reckoned_by_a_right_clock_stays_as_it_is(db):
    job_id = began(db, max_failures=9)
    queue.retry(db, job_id, 1, "exit code 1", now=NOW)
    before = queue.get(db, job_id).available_at
    clock.set_right(db, now=NOW)
    assert queue.get(db, job_id).available_at <= before
    assert queue.claim(db, "gpu", now=NOW) is None


def test_a_date_that_its_user_gave_stays(db):
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", available_at=NOW + 86400), now=NOW)
    clock.set_right(db, now=NOW)
    assert queue.get(db, job_id).available_at == NOW + 86400


def test_what_was_added_by_a_clock_that_was_ahead_is_due_by_any(tower):
    assert tower.job(tower.add("sleep")).available_at == 0.0


def test_a_notice_of_a_wrong_year_is_told_now(db):
    notices.add(db, "queue", "text", now=AHEAD)
    clock.set_right(db, now=NOW)
    assert db.execute("select next_try_at from notice").fetchone()[0] == NOW
