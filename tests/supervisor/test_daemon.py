"""The loop's table, and what it does when the world does not play along."""

import contextlib
import errno
import io
import itertools
import math
import os
import sqlite3
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tower import until

from supervisor import db as database
from supervisor import meta, queue
from supervisor.children import crew, standby, tree, verdict
from supervisor.children.child import Child, Phase
from supervisor.children.lock import take_lock
from supervisor.daemon import ON, Daemon, Event
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.settings import Settings


@pytest.fixture
def jobd(tmp_path, monkeypatch):
    """A daemon that does not loop: its parts are called one by one. Whom other tests left here is none of its."""
    others, real = {process.pid for process in tree.adopted(set())}, tree.adopted
    monkeypatch.setattr(tree, "adopted", lambda known: real(known | others))
    home = Home(tmp_path)
    database.create(home.queue_db)
    made = Daemon(home, Settings(device="cpu", standby=False, cgroups=False))
    made.house.due_at = math.inf  # nobody makes backups of it
    yield made
    made.db.close()
    made.soft_db.close()
    made.selector.close()


def running_child(jobd: Daemon, lane: str = "gpu") -> Child:
    """A child of a claimed job, without a process: its pipe is the test's. jobd knows it."""
    queue.add(jobd.db, NewJob("sleep", {}, lane), now=time.time())
    job = queue.claim(jobd.db, lane, now=time.time())
    reports, other = os.pipe2(os.O_NONBLOCK)
    process = SimpleNamespace(pid=2**22 + job.id, stdin=None)  # no such pid: /proc/sys/kernel/pid_max at most
    child = Child(job, SimpleNamespace(home=str(jobd.home.path)), "mark", process, reports, False, None, Phase.RUNNING)
    child.claimed, child.test_end = True, other
    jobd.children.append(child)
    jobd.selector.register(reports, 1, child)
    return child


def test_the_table_says_what_to_do_for_every_phase_and_every_event():
    assert {(phase, event) for phase in ON for event in ON[phase]} == set(itertools.product(Phase, Event))


def test_every_action_leads_to_a_phase(jobd):
    for action in {action for row in ON.values() for action in row.values()}:
        assert action.__annotations__["return"] is Phase


def test_a_follow_up_job_that_finds_the_disk_full_is_kept_until_there_is_room(jobd, monkeypatch):
    child = running_child(jobd)
    first = b'{"report": "submit", "kind": "sleep", "args": {}, "key": "1"}\n'
    os.write(child.test_end, first + first.replace(b'"1"', b'"2", "after": ["1"]'))
    full = [True]
    real = verdict.submit

    def submit(*args):
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return real(*args)

    monkeypatch.setattr(verdict, "submit", submit)
    child.status = 0
    jobd.end(child)
    assert [one["key"] for one in child.untaken] == ["1", "2"]
    with pytest.raises(sqlite3.OperationalError):
        jobd._turn()
    assert queue.get(jobd.db, child.job.id).state == "running"  # its end must not come before its follow-ups
    full[0] = False
    jobd._turn()
    assert queue.get(jobd.db, child.job.id).state == "succeeded"
    assert [queue.get(jobd.db, i).key for i in (2, 3)] == ["1", "2"]


def test_an_end_that_cannot_be_written_is_written_later_with_its_progress(jobd, monkeypatch):
    child = running_child(jobd)
    os.write(child.test_end, b'{"report": "progress", "done": 5, "total": 5}\n')
    child.status = 1
    jobd.end(child)
    with monkeypatch.context() as broken:
        broken.setattr(queue, "retry", lambda *a, **k: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
        with pytest.raises(sqlite3.OperationalError):
            jobd._turn()
    assert queue.get(jobd.db, child.job.id).best_done == 0  # the whole transaction was taken back
    jobd._turn()
    job = queue.get(jobd.db, child.job.id)
    assert (job.state, job.failures, job.best_done) == ("queued", 1, 5.0)


def test_an_attempt_that_the_queue_does_not_know_any_more_stops_nobody(jobd):
    child, other = running_child(jobd), running_child(jobd, "cpu")
    queue.release(jobd.db, child.job.id, 1, "by another hand", now=0)
    for one in (child, other):
        one.status = 0
        jobd.end(one)
    jobd.draining = True
    jobd._turn()
    assert [queue.get(jobd.db, one.job.id).state for one in (child, other)] == ["queued", "succeeded"]


def standing_by(jobd: Daemon) -> Child:
    """A child that stands by for a due job, without a process: what it is told is the test's to read."""
    job_id = queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=time.time())
    job = queue.get(jobd.db, job_id)
    ticket = SimpleNamespace(home=str(jobd.home.path), id=job.id, attempt=1, args=job.args)
    reports, other = os.pipe2(os.O_NONBLOCK)
    process = SimpleNamespace(pid=2**22 + job.id, stdin=io.BytesIO())
    child = Child(job, ticket, "mark", process, reports, False, None)
    child.test_end = other
    jobd.children.append(child)
    return child


def test_who_stands_by_begins_before_the_commit_and_its_row_says_so_behind_it(jobd, monkeypatch):
    first, second = running_child(jobd), standing_by(jobd)
    first.status = 0
    jobd.end(first)
    seen = []
    real = second.go
    monkeypatch.setattr(second, "go", lambda device: (seen.append(jobd.db.in_transaction), real(device)))
    assert jobd._turn()
    assert seen == [True]
    assert b'"go"' in second.process.stdin.getvalue()
    assert (second.phase, second.claimed, jobd.claimed) == (Phase.RUNNING, True, [])
    assert [queue.get(jobd.db, one.job.id).state for one in (first, second)] == ["succeeded", "running"]


def test_who_began_before_a_commit_that_fails_leaves_and_is_not_blamed(jobd, monkeypatch, capfd):
    first, second = running_child(jobd), standing_by(jobd)
    first.status = 0
    jobd.end(first)
    real = database.transaction

    @contextlib.contextmanager
    def failing(db):
        with real(db):
            yield
            raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(database, "transaction", failing)
        jobd._turn_if_due()
    assert b'"go"' in second.process.stdin.getvalue()
    assert (second.phase, second.why) == (Phase.STOPPING, "the queue could not be written")
    assert [queue.get(jobd.db, one.job.id).state for one in (first, second)] == ["running", "queued"]
    assert not jobd.is_well  # nobody begins so again before a commit succeeds
    second.status = 75
    jobd.end(second)
    jobd.draining = True
    jobd._turn()
    job = queue.get(jobd.db, second.job.id)
    assert (job.state, job.attempt, job.failures, job.idle_releases) == ("queued", 0, 0, 0)
    assert queue.get(jobd.db, first.job.id).state == "succeeded"
    assert jobd.is_well
    assert "disk I/O error" in capfd.readouterr().err


def test_while_the_queue_can_not_be_written_nobody_begins_before_the_commit(jobd, monkeypatch):
    second = standing_by(jobd)
    jobd.is_well = False
    monkeypatch.setattr(jobd.crew, "begin_warm", lambda _: pytest.fail("it began"))
    assert not jobd._turn()
    assert [job.id for job in jobd.claimed] == [second.job.id]


def test_who_stands_by_waits_for_the_commit_when_the_end_of_the_one_before_may_change_whose_turn_it_is(jobd):
    first, second = running_child(jobd), standing_by(jobd)
    third = queue.add(jobd.db, NewJob("sleep", {}, "gpu", priority=1, after=(first.job.id,)), now=time.time())
    first.status = 0
    jobd.end(first)
    assert not jobd._turn()
    assert ([job.id for job in jobd.claimed], second.phase) == ([third], Phase.STANDBY)


def test_who_comes_back_to_the_queue_goes_on_before_the_one_that_stands_by_behind_it(jobd):
    first, second = running_child(jobd), standing_by(jobd)
    first.status = 75
    jobd.end(first)
    assert not jobd._turn()
    assert ([job.id for job in jobd.claimed], second.phase) == ([first.job.id], Phase.STANDBY)


def test_a_machine_without_room_for_a_process_is_no_fault_of_the_job(jobd, monkeypatch):
    def start(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(crew, "start", start)
    job_id = queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    jobd._turn_if_due()
    job = queue.get(jobd.db, job_id)
    assert (job.state, job.failures, job.attempt) == ("queued", 0, 1)
    jobd.due["turn"] = 0.0
    jobd._turn_if_due()
    assert queue.get(jobd.db, job_id).attempt == 1  # it rests before it tries again


def test_a_claimed_job_whose_end_could_not_be_written_is_not_forgotten(jobd, monkeypatch):
    def start(*_, **__):
        raise OSError(errno.ENOENT, "no such program")

    monkeypatch.setattr(crew, "start", start)
    job_id = queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    with monkeypatch.context() as broken:
        broken.setattr(queue, "retry", lambda *a, **k: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
        jobd._turn_if_due()
    assert (queue.get(jobd.db, job_id).state, len(jobd.claimed)) == ("running", 1)
    jobd.due["turn"] = 0.0
    jobd._turn_if_due()
    assert (queue.get(jobd.db, job_id).state, jobd.claimed) == ("queued", [])


def test_a_lane_closed_by_one_child_is_not_opened_by_the_end_of_another(jobd, capfd):
    stuck, other = running_child(jobd), running_child(jobd, "cpu")
    stuck.phase = jobd.alarm(stuck)
    other.job = stuck.job  # a standby of the same lane
    other.claimed, other.why, other.status = False, "another job is next", -9
    jobd.end(other)
    assert "can't be killed" in jobd.lane.closed
    jobd._write_down()
    assert "can't be killed" in meta.read(jobd.db, "lane_closed")
    stuck.status = -9
    jobd.end(stuck)
    jobd._write_down()
    assert (jobd.lane.closed, meta.read(jobd.db, "lane_closed")) == (None, "")
    assert "ALARM" in capfd.readouterr().err


def test_nobody_is_claimed_while_somebody_holds_the_lane(jobd):
    job_id = queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    held = take_lock(jobd.home.lane_lock("gpu"))  # by ourselves: nobody can be killed for it
    assert not jobd._has_work("gpu", time.time())
    os.close(held)
    assert jobd._has_work("gpu", time.time())
    assert queue.get(jobd.db, job_id).attempt == 0


def test_a_standby_is_not_ended_by_the_memory_it_took_itself(jobd, monkeypatch):
    jobd.options = Settings(standby_min_free_mib=1000)
    running_child(jobd)
    queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    standing = SimpleNamespace(phase=Phase.STANDBY, why=None, claimed=False)
    for free_mib, already, stands in ((999, False, False), (1000, False, True), (600, True, True), (499, True, False)):
        monkeypatch.setattr(standby, "free_memory_mib", lambda free_mib=free_mib: free_mib)
        there = [*jobd.children, *([standing] if already else [])]
        assert (standby.wanted(jobd.db, there, jobd.options, None, jobd.lane, True) is not None) == stands


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["sleep", "k"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["done", "total", "unit", "metrics", "text", "kind", "args", "key", "name", "priority_above", "after"]
reports = st.fixed_dictionaries(
    {"report": st.sampled_from(["ready", "progress", "note", "submit"]) | json_like},
    optional=dict.fromkeys(FIELDS, json_like),
)


@settings(max_examples=150, deadline=None)
@given(given_reports=st.lists(reports, max_size=4))
def test_whatever_a_job_reports_it_is_taken_or_named_never_thrown(given_reports, tmp_path_factory):
    """Written down to the end: what was taken must also fit into the queue."""
    home = Home(tmp_path_factory.mktemp("home"))
    database.create(home.queue_db)
    db = home.connect()
    queue.add(db, NewJob("sleep", {}, "gpu"), now=1.0)
    job = queue.claim(db, "gpu", now=1.0)
    child = Child(job, SimpleNamespace(home=str(home.path)), "m", SimpleNamespace(pid=1), -1, False, None)
    child.claimed = True
    for report in given_reports:
        with contextlib.suppress(verdict.Unreadable):
            verdict.take_report(db, child, report)
    verdict.write_progress(db, child, now=2.0)
    child.status = 0
    assert verdict.settle(db, child, home.log(1), now=3.0) == "succeeded"
    db.close()


def test_a_standby_gives_its_memory_back_when_memory_becomes_short(jobd, monkeypatch):
    """And is made anew once there is room again."""
    jobd.crew.options = Settings(standby_min_free_mib=1000)
    free_mib = [4000]
    monkeypatch.setattr(standby, "free_memory_mib", lambda: free_mib[0])
    running_child(jobd)
    queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    jobd.crew.arrange_standby(evergreens=False)
    [child] = standby.standing_by(jobd.children)
    free_mib[0] = 499
    jobd.crew.arrange_standby(evergreens=False)
    assert (standby.standing_by(jobd.children), child.phase) == ([], Phase.KILLED)
    until_ended(jobd, child)
    assert queue.get(jobd.db, 2).attempt == 0
    free_mib[0] = 4000
    jobd.crew.arrange_standby(evergreens=False)
    [again] = standby.standing_by(jobd.children)
    jobd.drop(again)
    until_ended(jobd, again)


def until_ended(jobd: Daemon, child: Child) -> None:
    """Let it end, and clear away what is left of it."""

    def ended() -> bool:
        for one in jobd.crew.exits():
            one.phase = jobd.end(one)
        for one in [one for one in jobd.children if one.phase is Phase.SWEEPING]:
            one.phase = jobd.sweep(one)
        return child not in jobd.children

    until(ended)
    jobd.crew.clear_away()


def test_a_job_that_reports_often_does_not_cost_a_look_at_the_queue_each_time(jobd, monkeypatch):
    child, looks = running_child(jobd), []
    monkeypatch.setattr(queue, "wishes", lambda db: looks.append(1) or {})
    jobd.due |= {"turn": time.monotonic() + 60, "tick": time.monotonic() + 60}
    list(jobd._unwanted())
    seen = len(looks)
    for _ in range(5):
        list(jobd._unwanted())
    assert len(looks) == seen
    with contextlib.closing(database.connect(jobd.home.queue_db)) as other:
        queue.pause(other, child.job.id, now=1.0)
    list(jobd._unwanted())
    assert len(looks) == seen + 1


def test_no_durable_commit_brings_the_log_into_the_database(jobd):
    """It would fall between two jobs. The log has its length before it is needed, and soft commits keep it there."""
    database.make_room(jobd.db, jobd.soft_db)
    log = jobd.home.queue_db.with_name("queue.db-wal")
    long = log.stat().st_size
    assert long >= database.LOG_PAGES * 4096
    before = jobd.home.queue_db.stat().st_mtime_ns
    for n in range(30):
        meta.write(jobd.db, "n", str(n))
    assert (log.stat().st_size, jobd.home.queue_db.stat().st_mtime_ns) == (long, before)
    for n in range(2 * database.LOG_PAGES):
        meta.write(jobd.soft_db, "n", str(n))
    assert log.stat().st_size < 2 * long
    assert jobd.home.queue_db.stat().st_mtime_ns > before
    assert jobd.db.execute("select count(*) from sqlite_master where name = 'ballast'").fetchone()[0] == 0


def test_a_turn_right_behind_a_go_does_not_bring_forward_what_can_wait(jobd):
    soon = time.monotonic() + 60
    jobd.chores, jobd.due["turn"] = (soon, soon), 0.0
    jobd._turn_if_due()
    assert jobd.chores == (soon, soon)
    jobd.chores, jobd.due["turn"] = (0.0, soon), 0.0
    jobd._turn_if_due()
    assert jobd.chores is None
