"""When an attempt counts as stalled: by what its user said, or by its own pace; and what such an end is called."""

from types import SimpleNamespace

import pytest

from supervisor import queue
from supervisor.children import stall, verdict
from supervisor.children.stall import LEAST_S, Watch
from supervisor.job import NewJob

FOR_EVER = float("inf")


def told(watch: Watch, *times: float, total: float = 100.0) -> Watch:
    """A report of progress at each of these times."""
    for done, now in enumerate(times):
        watch.note(done, total, "steps", now=now)
    return watch


def test_who_reports_nothing_is_never_stalled_unless_its_user_gave_a_time():
    assert Watch(since=50.0).due_at == FOR_EVER
    assert Watch(since=50.0, set_s=30.0).due_at == 80.0


def test_before_its_pace_is_known_it_is_not_stalled():
    assert told(Watch(), 10, 900, 1800).due_at == FOR_EVER  # a step may take a quarter of an hour
    assert told(Watch(), 10, 900, 1800, 2700).due_at == 2700 + 20 * 900


def test_a_quick_one_has_the_least_patience_from_its_newest_progress_on():
    assert told(Watch(), 1, 2, 3, 4).due_at == 4 + LEAST_S


def test_the_slowest_gap_counts_not_the_last():
    assert told(Watch(), 0, 1, 101, 102, 103).due_at == 103 + 20 * 100


def test_a_report_that_says_nothing_new_is_no_progress():
    watch = told(Watch(set_s=5.0), 1, 2)
    watch.note(1, 100.0, "steps", now=6.0)
    assert watch.due_at == 7.0


def test_another_phase_of_the_work_is_progress_though_its_count_begins_anew():
    watch = told(Watch(set_s=5.0), 1, 2)
    watch.note(0, 7.0, "files", now=6.0)
    assert watch.due_at == 11.0


def test_who_has_said_that_all_is_done_owes_no_more_progress():
    assert told(Watch(), 1, 2, 3, 4, 5, total=4.0).due_at == FOR_EVER
    assert told(Watch(set_s=9.0), 1, 2, 3, 4, 5, total=4.0).due_at == 14.0


def test_after_a_stall_there_is_more_patience_so_that_what_is_slow_each_time_is_not_killed_each_time(db):
    queue.add(db, NewJob("sleep", {}, "gpu", stall_s=None), now=0)
    assert told(stall.watch(queue.get(db, 1), 0.0), 1, 2, 3, 4).due_at == 4 + LEAST_S
    for failures in (1, 2):
        job = queue.claim(db, "gpu", now=1e9 * failures)
        queue.retry(db, 1, job.attempt, "stalled: no progress for 600 s", now=0, cause="stalled")
        assert told(stall.watch(queue.get(db, 1), 0.0), 1, 2, 3, 4).due_at == 4 + LEAST_S * 4**failures


@pytest.mark.parametrize(
    ("status", "stalled", "state", "cause"),
    [
        (1, None, "queued", "failed"),
        (-9, None, "queued", "killed"),
        (71, None, "queued", "out of memory"),
        (64, None, "failed", "bad args"),
        (75, "stalled: no progress for 9 s", "queued", "stalled"),
        (-9, "stalled: no progress for 9 s", "queued", "stalled"),
        (0, "stalled: no progress for 9 s", "succeeded", ""),
        (75, None, "queued", ""),
    ],
)
def test_each_blamed_end_has_its_word(db, tmp_path, status, stalled, state, cause):
    queue.add(db, NewJob("sleep", {}, "gpu"), now=0)
    job = queue.claim(db, "gpu", now=0)
    child = SimpleNamespace(
        job=job, status=status, stalled=stalled, progress=None, why=None, outgrew=False, card="cpu", free_mib=0,
        best_mib=0, ticket=SimpleNamespace(args=job.args),
    )  # fmt: skip
    verdict.settle(db, child, tmp_path / "log", now=1)
    assert (queue.get(db, 1).state, queue.get(db, 1).cause) == (state, cause)


def test_one_that_leaves_again_and_again_without_progress_goes_in_circles(db):
    queue.add(db, NewJob("sleep", {}, "gpu"), now=0)
    for _ in range(queue.MAX_IDLE_RELEASES):
        queue.leave_unfinished(db, 1, queue.claim(db, "gpu", now=0).attempt, now=0)
    assert (queue.get(db, 1).state, queue.get(db, 1).cause) == ("failed", "in circles")


def test_the_last_lines_are_those_of_the_newest_attempt(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "── attempt 1 · x ──\nold\n── attempt 2 · x ──\n" + "".join(f"line {n}\n" for n in range(30)) + "\x1b[2J\n"
    )
    assert verdict.last_lines(log) == [*(f"line {n}" for n in range(11, 30)), "�[2J"]
    assert verdict.last_lines(tmp_path / "none") == []
