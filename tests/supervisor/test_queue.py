"""A job's whole life: every arrow, every law, and a machine that tries them in any order."""

import dataclasses
import sqlite3
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from supervisor import bulk, queue
from supervisor import db as database
from supervisor.errors import Refused, StaleAttempt
from supervisor.job import LANES, Job, NewJob

NOW = 1000.0


def new(db, lane="gpu", now=NOW, **more) -> int:
    return queue.add(db, NewJob(kind="sleep", args={"seconds": 1.5}, lane=lane, **more), now=now)


def claimed(db, now=NOW, **more) -> Job:
    """A job that runs."""
    new(db, **more)
    job = queue.claim(db, more.get("lane", "gpu"), now=now)
    assert job is not None
    return job


def events(db, job_id) -> list[tuple[int, str, str]]:
    rows = db.execute("select attempt, what, detail from event where job_id = ? order by id", (job_id,))
    return [tuple(row) for row in rows]


# ── into the queue ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_job_is_queued_with_all_that_was_asked(db):
    job_id = new(db, lane="cpu", name="n", priority=-3, preemptible=False, available_at=1005.0, max_failures=7, key="k")
    job = queue.get(db, job_id)
    assert (job.kind, job.name, job.args, job.lane, job.priority) == ("sleep", "n", {"seconds": 1.5}, "cpu", -3)
    assert (job.preemptible, job.available_at, job.max_failures, job.key) == (False, 1005.0, 7, "k")
    assert (job.state, job.attempt, job.failures, job.created_at) == ("queued", 0, 0, NOW)


def test_a_job_without_a_name_has_its_kinds(db):
    assert queue.get(db, new(db)).name == "sleep"


def test_the_same_key_again_gives_the_same_job_and_changes_nothing(db):
    first = new(db, key="k", priority=1)
    assert new(db, key="k", priority=2, after=(99,)) == first
    assert queue.get(db, first).priority == 1
    assert len(events(db, first)) == 1


def test_a_job_cannot_come_after_one_that_does_not_exist(db):
    with pytest.raises(Refused, match="there is no job 99"):
        new(db, after=(99,))
    assert db.execute("select count(*) from job").fetchone()[0] == 0


def test_what_stands_in_another_transaction_that_fails_is_not_there(db):
    with pytest.raises(Refused), database.transaction(db):
        new(db, after=(new(db), 99))
    assert db.execute("select count(*) from job").fetchone()[0] == 0


# ── claim ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_claim_takes_the_highest_priority_then_the_oldest(db):
    low, first, second, high = (new(db, priority=p) for p in (-1, 0, 0, 5))
    assert [queue.claim(db, "gpu", now=NOW).id for _ in range(4)] == [high, first, second, low]
    assert queue.claim(db, "gpu", now=NOW) is None


def test_peek_names_the_one_that_claim_takes_and_changes_nothing(db):
    new(db), new(db, priority=3)
    seen = queue.peek(db, "gpu", now=NOW)
    assert seen == queue.get(db, seen.id)
    assert queue.claim(db, "gpu", now=NOW).id == seen.id


def test_lanes_do_not_see_each_other(db):
    new(db, lane="cpu")
    assert queue.claim(db, "gpu", now=NOW) is None
    assert queue.claim(db, "cpu", now=NOW) is not None


def test_nothing_is_claimed_before_its_time(db):
    new(db, available_at=NOW + 5)
    assert queue.claim(db, "gpu", now=NOW + 4.9) is None
    assert queue.next_due_at(db, now=NOW) == NOW + 5
    assert queue.claim(db, "gpu", now=NOW + 5) is not None
    assert queue.next_due_at(db, now=NOW) is None


def test_a_claim_begins_a_new_attempt(db):
    job = claimed(db)
    assert (job.state, job.attempt, job.started_at) == ("running", 1, NOW)


def test_two_claims_of_one_job_at_once_give_it_to_one(db, tmp_path):
    new(db)
    found, start = [], threading.Barrier(4)

    def grab() -> None:
        own = database.connect(tmp_path / "queue.db")
        start.wait()
        found.append(queue.claim(own, "gpu", now=NOW))
        own.close()

    threads = [threading.Thread(target=grab) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(job is not None for job in found) == 1


# ── out of running ────────────────────────────────────────────────────────────────────────────────────────────────


def leave_by(name):
    """Each arrow out of running, as (db, job id, attempt) -> ..."""
    return {
        "succeed": lambda db, i, a: queue.succeed(db, i, a, now=NOW + 1),
        "release": lambda db, i, a: queue.release(db, i, a, "why", now=NOW + 1),
        "pause": lambda db, i, a: queue.release(db, i, a, "why", now=NOW + 1, state="paused"),
        "unfinished": lambda db, i, a: queue.leave_unfinished(db, i, a, now=NOW + 1),
        "lose": lambda db, i, a: queue.lose(db, i, a, now=NOW + 1),
        "retry": lambda db, i, a: queue.retry(db, i, a, "why", now=NOW + 1),
        "fail": lambda db, i, a: queue.fail(db, i, a, "why", now=NOW + 1),
        "cancel": lambda db, i, a: queue.end_cancelled(db, i, a, now=NOW + 1),
    }[name]


ARROWS = {
    "succeed": "succeeded", "release": "queued", "pause": "paused", "unfinished": "queued", "lose": "queued",
    "retry": "queued", "fail": "failed", "cancel": "cancelled",
}  # fmt: skip


@pytest.mark.parametrize(("arrow", "state"), ARROWS.items())
def test_each_arrow_out_of_running_leads_where_the_picture_says(db, arrow, state):
    job = claimed(db)
    leave_by(arrow)(db, job.id, job.attempt)
    left = queue.get(db, job.id)
    assert left.state == state
    assert left.attempt == 1
    assert left.wish is None
    assert (left.finished_at == NOW + 1) == (state in queue.OVER)
    assert events(db, job.id)[-1][1] == state


@pytest.mark.parametrize("arrow", ARROWS)
def test_a_late_word_of_an_old_attempt_changes_nothing(db, arrow):
    job = claimed(db)
    queue.release(db, job.id, 1, "yield", now=NOW)
    queue.claim(db, "gpu", now=NOW)
    before, said = queue.get(db, job.id), events(db, job.id)
    with pytest.raises(StaleAttempt):
        leave_by(arrow)(db, job.id, 1)
    assert queue.get(db, job.id) == before
    assert events(db, job.id) == said


@pytest.mark.parametrize("arrow", ARROWS)
@pytest.mark.parametrize("first", ARROWS)
def test_of_two_who_end_an_attempt_the_first_wins(db, first, arrow):
    job = claimed(db)
    leave_by(first)(db, job.id, 1)
    before = queue.get(db, job.id)
    with pytest.raises(StaleAttempt):
        leave_by(arrow)(db, job.id, 1)
    assert queue.get(db, job.id) == before


def test_two_finalisers_at_once_one_wins(db, tmp_path):
    for _ in range(20):
        job = claimed(db)
        won, start = [], threading.Barrier(2)

        def end(arrow, job=job, won=won, start=start):
            own = database.connect(tmp_path / "queue.db")
            start.wait()
            try:
                leave_by(arrow)(own, job.id, job.attempt)
                won.append(ARROWS[arrow])
            except StaleAttempt:
                pass
            own.close()

        threads = [threading.Thread(target=end, args=(arrow,)) for arrow in ("succeed", "fail")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [queue.get(db, job.id).state]


def test_success_frees_those_that_waited_for_it_alone(db):
    first, other = new(db, priority=9), new(db, priority=8)
    one, both = new(db, after=(first,)), new(db, after=(first, other))
    queue.claim(db, "gpu", now=NOW)
    queue.succeed(db, first, 1, now=NOW)
    assert (queue.get(db, one).blockers, queue.get(db, both).blockers) == (0, 1)
    queue.claim(db, "gpu", now=NOW)
    queue.succeed(db, other, 1, now=NOW)
    assert queue.get(db, both).blockers == 0


def test_one_added_after_what_has_succeeded_waits_for_nothing(db):
    first = claimed(db)
    queue.succeed(db, first.id, 1, now=NOW)
    assert queue.get(db, new(db, after=(first.id,))).blockers == 0


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_those_that_need_a_job_that_failed_wait_until_it_has_succeeded_after_all(db, end):
    first = claimed(db)
    waits = new(db, after=(first.id,))
    leave_by(end)(db, first.id, 1)
    assert queue.claim(db, "gpu", now=NOW) is None
    assert not queue.can_still_run(db)
    queue.again(db, first.id, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).id == first.id
    queue.succeed(db, first.id, 2, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).id == waits


# ── blame ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failures_back_off_longer_each_time_and_then_end_the_job(db):
    new(db, max_failures=4)
    now, waits = NOW, []
    for failures in range(1, 4):
        job = queue.claim(db, "gpu", now=now)
        assert queue.retry(db, job.id, job.attempt, f"error {failures}", now=now) == "queued"
        job = queue.get(db, job.id)
        assert (job.failures, job.error) == (failures, f"error {failures}")
        waits.append(job.available_at - now)
        now = job.available_at
    for n, wait_s in enumerate(waits):
        assert wait_s == pytest.approx(queue.BACKOFF_S * 4**n, rel=0.11)
    job = queue.claim(db, "gpu", now=now)
    assert queue.retry(db, job.id, job.attempt, "last", now=now) == "failed"
    assert (queue.get(db, job.id).failures, queue.get(db, job.id).error) == (4, "last")


@pytest.mark.parametrize("failures", [1, 5, 6, 50, 500])
def test_the_backoff_has_an_end(failures):
    assert queue.backoff_s(failures) <= queue.MAX_BACKOFF_S * 1.1


def test_three_lost_machines_in_a_row_hold_the_job_and_a_resume_dares(db):
    job_id = new(db)
    for state in ("queued", "queued", "paused"):
        job = queue.claim(db, "gpu", now=NOW)
        assert queue.lose(db, job_id, job.attempt, now=NOW) == state
    assert "went down 3 times" in queue.get(db, job_id).note
    assert queue.get(db, job_id).failures == 0
    queue.resume(db, job_id, now=NOW)
    assert (queue.get(db, job_id).state, queue.get(db, job_id).losses) == ("queued", 0)


def test_leaving_unfinished_is_blameless_until_it_goes_in_circles(db):
    job_id = new(db, max_failures=1)
    for n in range(1, queue.MAX_IDLE_RELEASES):
        job = queue.claim(db, "gpu", now=NOW)
        assert queue.leave_unfinished(db, job_id, job.attempt, now=NOW) == "queued"
        assert (queue.get(db, job_id).idle_releases, queue.get(db, job_id).failures) == (n, 0)
    job = queue.claim(db, "gpu", now=NOW)
    assert queue.leave_unfinished(db, job_id, job.attempt, now=NOW) == "failed"
    assert "without progress" in queue.get(db, job_id).error


def progress(db, job, done, **more):
    queue.note_progress(db, job.id, job.attempt, {"done": done, "total": 10, "unit": "steps"} | more, now=NOW)


def spoil(db, job_id):
    db.execute("update job set failures = 1, losses = 2, idle_releases = 3 where id = ?", (job_id,))


def spoilt(db, job_id):
    job = queue.get(db, job_id)
    return (job.failures, job.losses, job.idle_releases)


def test_work_never_done_before_forgives(db):
    job = claimed(db)
    spoil(db, job.id)
    progress(db, job, 4)
    assert spoilt(db, job.id) == (0, 0, 0)
    assert queue.get(db, job.id).best_done == 4


def test_a_start_forgives_nothing_nor_does_work_done_again(db):
    job = claimed(db)
    progress(db, job, 4)
    queue.release(db, job.id, 1, "yield", now=NOW)
    spoil(db, job.id)
    job = queue.claim(db, "gpu", now=NOW)
    assert spoilt(db, job.id) == (1, 2, 3)
    for done in (0, 2, 4):
        progress(db, job, done)
        assert spoilt(db, job.id) == (1, 2, 3)
    progress(db, job, 4.5)
    assert spoilt(db, job.id) == (0, 0, 0)


def test_progress_of_an_old_attempt_is_stale(db):
    job = claimed(db)
    queue.release(db, job.id, 1, "yield", now=NOW)
    queue.claim(db, "gpu", now=NOW)
    with pytest.raises(StaleAttempt):
        progress(db, job, 9)
    assert queue.get(db, job.id).best_done == 0


def test_metrics_come_together_and_one_that_is_no_number_any_more_is_none(db):
    job = claimed(db)
    progress(db, job, 1, metrics={"loss": 2.0, "lr": 0.1, "val": None})
    progress(db, job, 2, metrics={"loss": float("nan")})
    assert queue.get(db, job.id).metrics == {"loss": None, "lr": 0.1}


# ── asked by a person ─────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_and_resume_of_a_job_that_waits(db):
    job_id = new(db)
    queue.pause(db, job_id, now=NOW)
    assert queue.get(db, job_id).state == "paused"
    assert queue.claim(db, "gpu", now=NOW) is None
    queue.resume(db, job_id, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).id == job_id


def test_a_running_job_is_only_asked(db):
    job = claimed(db)
    queue.pause(db, job.id, now=NOW)
    assert (queue.get(db, job.id).state, queue.wishes(db)) == ("running", {job.id: "pause"})
    queue.cancel(db, job.id, now=NOW)
    assert queue.wishes(db) == {job.id: "cancel"}
    queue.pause(db, job.id, now=NOW)  # too late: cancel is for good
    assert queue.wishes(db) == {job.id: "cancel"}
    with pytest.raises(Refused, match="not paused"):
        queue.resume(db, job.id, now=NOW)


def test_a_pause_that_has_not_happened_yet_can_be_taken_back(db):
    job = claimed(db)
    queue.pause(db, job.id, now=NOW)
    queue.resume(db, job.id, now=NOW)
    assert queue.wishes(db) == {}


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
@pytest.mark.parametrize("act", ["pause", "cancel", "resume"])
def test_what_is_over_is_not_moved_and_the_sentence_says_what_helps(db, act, end):
    job = claimed(db)
    leave_by(end)(db, job.id, 1)
    if (act, end) == ("cancel", "cancel"):
        queue.cancel(db, job.id, now=NOW)  # said twice, it is as well
        return
    with pytest.raises(Refused) as refused:
        getattr(queue, act)(db, job.id, now=NOW)
    assert ("jobctl retry" in str(refused.value)) == (end != "succeed")


def test_retry_brings_back_what_failed_with_its_failures_forgotten(db):
    job = claimed(db, max_failures=1)
    queue.retry(db, job.id, 1, "bad", now=NOW)
    assert queue.get(db, job.id).state == "failed"
    queue.again(db, job.id, now=NOW)
    back = queue.get(db, job.id)
    assert (back.state, back.failures, back.error, back.finished_at, back.attempt) == ("queued", 0, None, None, 1)


def test_retry_spares_a_job_its_backoff(db):
    job = claimed(db)
    queue.retry(db, job.id, 1, "bad", now=NOW)
    assert queue.claim(db, "gpu", now=NOW) is None
    queue.again(db, job.id, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).attempt == 2


@pytest.mark.parametrize("state", ["queued", "running", "paused", "succeeded"])
def test_retry_refuses_what_has_not_failed(db, state):
    if state == "queued":
        job_id = new(db, available_at=NOW - 1)
    else:
        job_id = claimed(db).id
        if state != "running":
            leave_by({"paused": "pause", "succeeded": "succeed"}[state])(db, job_id, 1)
    with pytest.raises(Refused, match=f"is {state}: only failed and cancelled jobs"):
        queue.again(db, job_id, now=NOW)


def test_priority_counts_from_the_next_claim_on(db):
    first, second = new(db), new(db)
    queue.set_priority(db, second, 1, now=NOW)
    assert queue.claim(db, "gpu", now=NOW).id == second
    queue.succeed(db, second, 1, now=NOW)
    with pytest.raises(Refused, match="already over"):
        queue.set_priority(db, second, 1, now=NOW)
    assert queue.get(db, first).priority == 0


def test_args_change_only_where_nothing_runs(db):
    job_id = new(db)
    queue.set_args(db, job_id, {"seconds": 9.0}, now=NOW)
    assert queue.get(db, job_id).args == {"seconds": 9.0}
    queue.claim(db, "gpu", now=NOW)
    with pytest.raises(Refused, match="pause it first"):
        queue.set_args(db, job_id, {}, now=NOW)
    queue.succeed(db, job_id, 1, now=NOW)
    with pytest.raises(Refused, match="add a new one"):
        queue.set_args(db, job_id, {}, now=NOW)


def test_unknown_ids_and_keys_are_refused_with_a_sentence(db):
    with pytest.raises(Refused, match="there is no job 7: `jobctl list`"):
        queue.get(db, 7)
    with pytest.raises(Refused, match="no job has the key 'x'"):
        queue.ids_of_keys(db, ["x"])


# ── the laws of the schema ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "broken",
    [
        "update job set state = 'asleep'",
        "update job set state = 'succeeded'",  # without an end
        "update job set finished_at = 1",  # an end while it is queued
        "update job set wish = 'pause'",  # of a job that does not run
        "update job set state = 'running', attempt = 0, started_at = 1",
        "update job set state = 'running', attempt = 1, started_at = null",
        "update job set state = 'running', attempt = 1, started_at = 1, blockers = 1",
        "update job set blockers = -1",
        "update job set attempt = -1",
        "update job set failures = -1",
        "update job set max_failures = 0",
        "update job set lane = 'tpu'",
        "update job set preemptible = 2",
        "update job set args = '{'",
        "update job set metrics = 'nan'",
        "update job set priority = 'high'",  # strict: a number is a number
        "update job set priority = null",
        "update job set key = 'taken' where id = 2",
        "update job set parent_id = 99",
        "insert into need values (1, 2)",  # needs come before: so there are no circles
        "insert into need values (1, 1)",
        "insert into need values (2, 99)",
        "insert into event (job_id, attempt, at, what) values (99, 1, 1, 'added')",
        "insert into span (class, began_at, seen_at) values ('empty', 2, 1)",
        "insert into span (class, began_at, seen_at) values ('empty', 1, 1), ('empty', 2, 2)",  # two open ones
        "insert into meta values ('a', null)",
    ],
)
def test_the_database_itself_refuses_a_broken_law(db, broken):
    new(db, key="taken"), new(db)
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(broken)


def test_an_id_is_never_used_twice(db):
    first = new(db)
    db.execute("delete from event")
    db.execute("delete from job")
    assert new(db) > first


# ── any order ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Expected:
    """What the picture at the top of queue.py says of one job, without any SQL."""

    lane: str
    priority: int
    after: set[int]
    state: str = "queued"
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    idle: int = 0
    best: float = 0.0
    available_at: float | None = 0.0  # None: some time later
    wish: str | None = None


class Life(RuleBasedStateMachine):
    """The queue against a dict."""

    known = Bundle("known")
    attempts = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        database.create(Path(self.folder.name) / "queue.db")
        self.db = database.connect(Path(self.folder.name) / "queue.db", durable=False)
        self.jobs: dict[int, Expected] = {}
        self.now = NOW

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()
            self.folder.cleanup()

    @rule(target=known, lane=st.sampled_from(LANES), priority=st.integers(-1, 1), data=st.data())
    def add(self, lane, priority, data):
        after = set(data.draw(st.lists(st.sampled_from(sorted(self.jobs)), max_size=2))) if self.jobs else set()
        job_id = new(self.db, lane=lane, now=self.now, priority=priority, after=tuple(after), max_failures=2)
        self.jobs[job_id] = Expected(lane, priority, after)
        return job_id

    def due(self, lane) -> list[int]:
        ready = [
            i for i, job in self.jobs.items()
            if job.state == "queued" and job.lane == lane and job.available_at is not None
            and all(self.jobs[needed].state == "succeeded" for needed in job.after)
        ]  # fmt: skip
        return sorted(ready, key=lambda i: (-self.jobs[i].priority, i))

    @rule(target=attempts, lane=st.sampled_from(LANES))
    def claim(self, lane):
        due = self.due(lane)
        job = queue.claim(self.db, lane, now=self.now)
        assert (job.id if job else None) == (due[0] if due else None)
        if job is None:
            return multiple()
        self.jobs[job.id].state = "running"
        self.jobs[job.id].attempt += 1
        assert job.attempt == self.jobs[job.id].attempt
        return (job.id, job.attempt)

    def leaves(self, attempt, act) -> Expected | None:
        """Do an arrow out of running; the job when it was that attempt's to do, None when it was refused as stale."""
        job = self.jobs[attempt[0]]
        if job.state != "running" or job.attempt != attempt[1]:
            with pytest.raises(StaleAttempt):
                act()
            return None
        act()
        job.wish = None
        return job

    @rule(attempt=attempts)
    def succeed(self, attempt):
        """What jobd counts on when it begins the next one before this is written."""
        next_up = [queue.peek(self.db, lane, now=self.now) for lane in LANES]
        if job := self.leaves(attempt, lambda: queue.succeed(self.db, *attempt, now=self.now)):
            job.state, job.available_at = "succeeded", 0.0
        if not queue.is_needed(self.db, attempt[0]):
            assert [queue.peek(self.db, lane, now=self.now) for lane in LANES] == next_up

    @rule(attempt=attempts)
    def release(self, attempt):
        if job := self.leaves(attempt, lambda: queue.release(self.db, *attempt, "why", now=self.now)):
            job.state = "queued"

    @rule(attempt=attempts)
    def pause_it(self, attempt):
        if job := self.leaves(attempt, lambda: queue.release(self.db, *attempt, "w", now=self.now, state="paused")):
            job.state = "paused"

    @rule(attempt=attempts)
    def retry(self, attempt):
        if job := self.leaves(attempt, lambda: queue.retry(self.db, *attempt, "why", now=self.now)):
            job.failures += 1
            job.state, job.available_at = ("failed", 0.0) if job.failures >= 2 else ("queued", None)

    @rule(attempt=attempts)
    def fail(self, attempt):
        if job := self.leaves(attempt, lambda: queue.fail(self.db, *attempt, "why", now=self.now)):
            job.state = "failed"

    @rule(attempt=attempts)
    def end_cancelled(self, attempt):
        if job := self.leaves(attempt, lambda: queue.end_cancelled(self.db, *attempt, now=self.now)):
            job.state = "cancelled"

    @rule(attempt=attempts)
    def lose(self, attempt):
        if job := self.leaves(attempt, lambda: queue.lose(self.db, *attempt, now=self.now)):
            job.losses += 1
            job.state = "paused" if job.losses >= queue.MAX_LOSSES else "queued"

    @rule(attempt=attempts)
    def leave_unfinished(self, attempt):
        if job := self.leaves(attempt, lambda: queue.leave_unfinished(self.db, *attempt, now=self.now)):
            job.idle += 1
            job.state = "failed" if job.idle >= queue.MAX_IDLE_RELEASES else "queued"

    @rule(attempt=attempts, done=st.integers(0, 5))
    def progress(self, attempt, done):
        job = self.jobs[attempt[0]]
        act = queue.note_progress
        report = {"done": done, "total": 5}
        if job.state != "running" or job.attempt != attempt[1]:
            with pytest.raises(StaleAttempt):
                act(self.db, *attempt, report, now=self.now)
            return
        act(self.db, *attempt, report, now=self.now)
        if done > job.best:
            job.best, job.failures, job.losses, job.idle = done, 0, 0, 0

    @rule(job_id=known, wish=st.sampled_from(["pause", "cancel"]))
    def ask(self, job_id, wish):
        job, act = self.jobs[job_id], getattr(queue, wish)
        if job.state == "running":
            act(self.db, job_id, now=self.now)
            job.wish = "cancel" if job.wish == "cancel" else wish
        elif job.state in ("queued", "paused") or (job.state, wish) == ("cancelled", "cancel"):
            act(self.db, job_id, now=self.now)
            job.state = {"pause": "paused", "cancel": "cancelled"}[wish]
        else:
            with pytest.raises(Refused):
                act(self.db, job_id, now=self.now)

    @rule(job_id=known)
    def resume(self, job_id):
        job = self.jobs[job_id]
        if job.state == "running" and job.wish == "pause":
            job.wish = None
        elif job.state == "paused":
            job.state, job.losses = "queued", 0
        elif job.state != "queued":
            with pytest.raises(Refused):
                queue.resume(self.db, job_id, now=self.now)
            return
        queue.resume(self.db, job_id, now=self.now)

    @rule(job_id=known)
    def again(self, job_id):
        job = self.jobs[job_id]
        if job.state in ("failed", "cancelled"):
            job.state, job.failures, job.losses, job.idle, job.available_at = "queued", 0, 0, 0, 0.0
        elif job.state == "queued" and job.available_at is None:
            job.available_at, job.failures = 0.0, 0
        else:
            with pytest.raises(Refused):
                queue.again(self.db, job_id, now=self.now)
            return
        queue.again(self.db, job_id, now=self.now)

    @rule(job_id=known, priority=st.integers(-2, 2))
    def set_priority(self, job_id, priority):
        if self.jobs[job_id].state in queue.OVER:
            with pytest.raises(Refused):
                queue.set_priority(self.db, job_id, priority, now=self.now)
        else:
            queue.set_priority(self.db, job_id, priority, now=self.now)
            self.jobs[job_id].priority = priority

    @rule()
    def time_passes(self):
        self.now += queue.MAX_BACKOFF_S * 2
        for job in self.jobs.values():
            job.available_at = 0.0

    @invariant()
    def they_agree(self):
        if not hasattr(self, "jobs"):
            return
        for job_id, job in self.jobs.items():
            found = queue.get(self.db, job_id)
            assert (found.state, found.attempt, found.failures, found.losses, found.idle_releases, found.wish) == (
                job.state, job.attempt, job.failures, job.losses, job.idle, job.wish,
            )  # fmt: skip
            assert found.blockers == sum(self.jobs[needed].state != "succeeded" for needed in job.after)
        assert queue.can_still_run(self.db) == any(
            job.state == "running"
            or (job.state == "queued" and all(self.jobs[n].state == "succeeded" for n in job.after))
            for job in self.jobs.values()
        )


Life.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfArrows = Life.TestCase


def test_a_hundred_jobs_that_are_put_off_stand_in_nobodys_way_until_their_time(db):
    bulk.add_many(db, [NewJob("sleep", {}, "gpu", priority=9, available_at=NOW + 500.0)] * 100, now=NOW)
    due = queue.add(db, NewJob("sleep", {}, "gpu"), now=NOW)
    steps = [0]
    db.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 1)
    assert queue.peek(db, "gpu", now=NOW).id == due
    db.set_progress_handler(None, 0)
    assert steps[0] < 300, "it steps over none of them"
    assert queue.claim(db, "gpu", now=NOW + 1).id == due
    assert not queue.has_due(db, "gpu", now=NOW + 499)
    assert [job.id for job in queue.due(db, "gpu", now=NOW + 500, most=2)] == [1, 2]
    assert queue.claim(db, "gpu", now=NOW + 500).id == 1
    queue.pause(db, 2, now=NOW + 501)
    assert queue.claim(db, "gpu", now=NOW + 501).id == 3


def test_a_clock_that_was_set_back_puts_a_job_off_again(db):
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", available_at=NOW + 500), now=NOW)
    assert queue.has_due(db, "gpu", now=NOW + 600)
    assert not queue.has_due(db, "gpu", now=NOW + 400)
    assert queue.claim(db, "gpu", now=NOW + 600).id == job_id
