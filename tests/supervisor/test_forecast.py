"""When jobs will start and end."""

import os
import sqlite3

import pytest

from supervisor import bulk, queue
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.screen import forecast, view
from supervisor.screen.forecast import Expected

NOW = 1_000_000.0


def add(db: sqlite3.Connection, name: str = "nap", lane: str = "gpu", kind: str = "sleep", **more) -> int:
    return queue.add(db, NewJob(kind, more.pop("args", {}), lane, name=name, **more), now=NOW)


def took(db: sqlite3.Connection, seconds: float, name: str = "nap", **more) -> None:
    """A job of this name that succeeded after so many seconds."""
    job_id = add(db, name, priority=1000, **more)
    job = queue.claim(db, more.get("lane", "gpu"), now=NOW - 500)
    queue.succeed(db, job_id, job.attempt, now=NOW - 500 + seconds)


def claim(db: sqlite3.Connection, at: float) -> int:
    return queue.claim(db, "gpu", now=at).id


def expect(db: sqlite3.Connection, slots: int = 1) -> dict[int, Expected]:
    return forecast.expected(db, slots, now=NOW)


def test_each_begins_when_the_one_before_it_ends(db):
    took(db, 60)
    took(db, 10, "short")
    runs = add(db, priority=9)
    assert claim(db, NOW) == runs
    second, third, first = add(db), add(db, "short"), add(db, priority=5)
    assert expect(db) == {
        runs: Expected(NOW, NOW + 60),
        first: Expected(NOW + 60, NOW + 120, 0),
        second: Expected(NOW + 120, NOW + 180, 1),
        third: Expected(NOW + 180, NOW + 190, 2),
    }


def test_a_running_job_ends_when_it_says_so_itself(db):
    took(db, 60)
    job, after = add(db, priority=9), add(db)
    claim(db, NOW)
    queue.note_progress(db, job, 1, {"done": 1, "total": 9, "eta_at": NOW + 7}, now=NOW)
    assert expect(db)[job].ends_at == NOW + 7
    assert expect(db)[after].starts_at == NOW + 7


def test_a_job_whose_like_never_succeeded_has_no_end_and_the_next_no_start(db):
    took(db, 60)
    first, second = add(db, "new"), add(db)
    assert expect(db) == {first: Expected(NOW, None, 0), second: Expected(None, None, 1)}


def test_its_like_is_the_median_of_the_newest_with_the_same_args_else_of_the_same_name(db):
    for seconds in (10, 1000, 20, 30, 25):
        took(db, seconds)
    assert forecast.typical_s(db, "sleep", "nap", "{}") == 25
    took(db, 99, args={"steps": 7})
    assert forecast.typical_s(db, "sleep", "nap", '{"steps": 7}') == 99
    assert forecast.typical_s(db, "sleep", "nap", '{"steps": 8}') == 30
    assert forecast.typical_s(db, "sleep", "nop", "{}") is None


def test_a_program_without_a_name_is_like_nothing_but_itself(db):
    took(db, 10, "command", kind="command", args={"argv": ["a"]})
    assert forecast.typical_s(db, "command", "command", '{"argv": ["a"]}') == 10
    assert forecast.typical_s(db, "command", "command", '{"argv": ["b"]}') is None


def test_what_was_done_before_an_interruption_counts(db):
    took(db, 100)
    job = add(db)
    claim(db, NOW - 40)
    queue.release(db, job, 1, "preempted", now=NOW)
    assert expect(db)[job] == Expected(NOW, NOW + 60, 0)  # its like took 100 s, and it ran for 40
    claim(db, NOW)
    queue.note_progress(db, job, 2, {"done": 20, "total": 100}, now=NOW)
    queue.release(db, job, 2, "preempted", now=NOW)
    assert expect(db)[job] == Expected(NOW, NOW + 160, 0)  # its own pace says more than its like


def test_what_needs_others_or_waits_for_its_time_starts_then_and_others_go_before_it(db):
    took(db, 60)
    later = add(db, priority=9, available_at=NOW + 1000)
    first = add(db)
    needs = add(db, after=(first,), priority=7)
    other = add(db)
    found = expect(db)
    assert found[first].starts_at == NOW
    assert found[needs].starts_at == NOW + 60
    assert found[other].starts_at == NOW + 120
    assert found[later].starts_at == NOW + 1000


def test_what_needs_a_job_that_failed_has_no_start(db):
    took(db, 60)
    bad = add(db)
    claim(db, NOW)
    queue.fail(db, bad, 1, "why", now=NOW)
    waits = add(db, after=(bad,))
    assert expect(db)[waits].starts_at is None


def test_the_cpu_lane_runs_as_many_side_by_side_as_it_has_room_for(db):
    took(db, 60, lane="cpu")
    jobs = [add(db, lane="cpu") for _ in range(3)]
    assert [expect(db, 2)[job].starts_at for job in jobs] == [NOW, NOW, NOW + 60]


def test_far_behind_nothing_is_said(db):
    took(db, 1)
    bulk.add_many(db, [NewJob("sleep", {}, "gpu", name="nap")] * (forecast.LOOK_AHEAD + 5), now=NOW)
    found = expect(db)
    assert len(found) == forecast.LOOK_AHEAD
    assert max(one.before for one in found.values()) == forecast.LOOK_AHEAD - 1


@pytest.mark.parametrize("width", [80, 120])
def test_the_list_fits_and_says_when(db, tmp_path, width):
    home, lock = Home(tmp_path), Home(tmp_path).hold()
    took(db, 3600, "a name that is much longer than the column")
    runs = add(db, "a name that is much longer than the column", priority=9)
    claim(db, NOW)
    waits = add(db, "a name that is much longer than the column")
    queue.note_progress(db, runs, 1, {"done": 43, "total": 100, "unit": "steps", "eta_at": NOW + 1800}, now=NOW)
    jobs = [queue.get(db, job_id) for job_id in (runs, waits, 1)]
    lines = view.table(db, jobs, home, now=NOW, width=width, expected=expect(db))
    assert max(map(len, lines)) <= width
    starts, ends = view.clock(NOW + 1800, NOW), view.clock(NOW + 5400, NOW)
    assert f"to ~{starts}" in lines[1]
    assert "43" in lines[1]
    assert f"~{starts} to ~{ends}" in lines[2]
    assert "the gpu lane" in lines[2]
    assert "took 1h00m" in lines[3]
    os.close(lock)
