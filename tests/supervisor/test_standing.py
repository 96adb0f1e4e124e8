"""Evergreens in turn by weight, schedules by the calendar: what is made, when, and what is left alone."""

import datetime
import itertools
import json
import os
import sqlite3
import time
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from supervisor import bulk, cron, ledger, queue, standing
from supervisor.errors import Refused
from supervisor.filters import Filter
from supervisor.job import NewJob
from supervisor.standing import Standing

BERLIN = "Europe/Berlin"
SLEEP = Standing("evergreen", "a", "sleep", {"seconds": 9.0}, "gpu", standing.EVERGREEN_PRIORITY, True, 3)
NIGHTLY = replace(SLEEP, what="schedule", name="nightly", priority=0, cron="0 3 * * *", timezone="UTC")
HOUR = 3600.0
DAY = 24 * HOUR


def plant(db, name: str, weight: float = 1.0, **more) -> None:
    standing.add(db, replace(SLEEP, name=name, weight=weight, **more), now=0)


def run(db, now: float, seconds: float) -> str:
    """The evergreen whose turn it is has its job run so long. Its name."""
    job = standing.claim(db, now=now)
    queue.succeed(db, job.id, job.attempt, now=now)
    standing.charge(db, job, seconds)
    return job.name


def pass_of(db, name: str) -> float:
    return db.execute("select pass from standing where name = ?", (name,)).fetchone()["pass"]


def at(zone: str, text: str, fold: int = 0) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


# ── evergreens ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_due_where_there_is_no_evergreen(db):
    assert not standing.is_due(db, now=0)
    assert standing.claim(db, now=0) is None


def test_the_lane_is_shared_by_weight_whatever_their_jobs_take(db):
    plant(db, "heavy", 3.0)
    plant(db, "light", 1.0)
    takes_s = {"heavy": 50.0, "light": 200.0}
    spent_s = dict.fromkeys(takes_s, 0.0)
    for turn in range(200):
        name = run(db, 100.0 * turn, takes_s[standing_next(db, 100.0 * turn)])
        spent_s[name] += takes_s[name]
    assert spent_s["heavy"] / spent_s["light"] == pytest.approx(3.0, rel=0.1)


def standing_next(db, now: float) -> str:
    row = db.execute(f"select standing.name {standing.DUE} order by pass, standing.id", {"now": now}).fetchone()
    return row["name"]


def test_a_newcomer_begins_level_with_the_others(db):
    plant(db, "old")
    for turn in range(5):
        run(db, 10.0 * turn, 1000.0)
    plant(db, "new")
    assert pass_of(db, "new") == 5000.0


def test_one_that_was_paused_for_days_comes_back_level_with_the_others(db):
    plant(db, "paused")
    plant(db, "other")
    job = standing.claim(db, now=0)
    queue.release(db, job.id, job.attempt, "paused by its user", now=1, state="paused")
    for turn in range(1, 6):
        assert run(db, 1000.0 * turn, 1000.0) == "other"
    queue.resume(db, job.id, now=6000)
    again = standing.claim(db, now=6000)
    assert again.id == job.id
    queue.leave_unfinished(db, again.id, again.attempt, now=8000)
    standing.charge(db, again, 2000.0)
    assert run(db, 8000, 1.0) == "other"  # not when 5,000 s are made up for


def test_one_job_at_most_is_alive_and_one_that_left_unfinished_is_resumed_not_made_anew(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    assert not standing.is_due(db, now=50)
    queue.leave_unfinished(db, job.id, job.attempt, now=60)
    again = standing.claim(db, now=70)
    assert (again.id, again.attempt) == (job.id, 2)


def test_one_that_left_unfinished_waits_for_its_turn(db):
    plant(db, "a")
    plant(db, "b")
    first = standing.claim(db, now=0)
    queue.leave_unfinished(db, first.id, first.attempt, now=9)
    standing.charge(db, first, 9.0)
    second = standing.claim(db, now=9)
    assert (first.name, second.name) == ("a", "b")
    queue.succeed(db, second.id, second.attempt, now=30)
    standing.charge(db, second, 21.0)
    assert standing.claim(db, now=30).id == first.id


def test_what_an_evergreen_made_is_never_claimed_before_other_work(db):
    plant(db, "a", priority=5)
    job = standing.claim(db, now=0)
    queue.release(db, job.id, job.attempt, "a higher priority needs the GPU", now=1)
    real = queue.add(db, NewJob("sleep", {}, "gpu", priority=-2000), now=2)
    assert queue.peek(db, "gpu", now=2).id == real
    assert queue.claim(db, "gpu", now=2).id == real
    assert queue.claim(db, "gpu", now=2) is None


def test_who_fails_backs_off_while_the_others_go_on_and_is_disabled_when_its_failures_are_spent(db):
    plant(db, "bad", max_failures=2)
    plant(db, "good")
    job = standing.claim(db, now=0)
    assert job.name == "bad"
    queue.retry(db, job.id, job.attempt, "exit code 1: no such file", now=0)
    assert [run(db, now, 1.0) for now in (1.0, 2.5, 4.0)] == ["good"] * 3  # it waits for its backoff
    job = standing.claim(db, now=6)
    assert job.name == "bad"
    queue.retry(db, job.id, job.attempt, "exit code 1: no such file", now=6)
    assert [run(db, now, 1.0) for now in (1e3, 2e3)] == ["good"] * 2
    bad = standing.get(db, "evergreen", "bad")
    assert (bad.enabled, bad.why, bad.made) == (False, f"job {job.id} failed: exit code 1: no such file", 1)
    said = [row["text"] for row in db.execute("select text from notice where what = 'held'")]
    assert said == [f"evergreen bad gives no more work, since its job {job.id} failed: exit code 1: no such file"]
    standing.enable(db, bad, now=3e3)
    assert standing.claim(db, now=3e3).name in ("bad", "good")
    assert standing.get(db, "evergreen", "bad").enabled


def test_an_evergreen_enabled_again_begins_a_new_job_after_a_failed_one(db):
    plant(db, "a", max_failures=1)
    job = standing.claim(db, now=0)
    queue.retry(db, job.id, job.attempt, "no", now=0)
    assert standing.claim(db, now=10) is None
    assert not standing.is_due(db, now=20)
    standing.enable(db, standing.get(db, "evergreen", "a"), now=20)
    assert standing.claim(db, now=21).id != job.id


def test_one_whose_jobs_end_at_once_fills_the_queue_once_a_second_at_most(db):
    plant(db, "quick")
    run(db, 100.0, 0.01)
    assert not standing.is_due(db, now=100.5)
    assert standing.wakes_at(db, now=100.5) == 101.0
    assert run(db, 101.0, 0.01) == "quick"


def test_a_paused_job_of_an_evergreen_holds_its_place_and_a_cancelled_one_does_not(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    queue.release(db, job.id, job.attempt, "paused by its user", now=1, state="paused")
    assert standing.claim(db, now=10) is None
    queue.cancel(db, job.id, now=11)
    assert standing.claim(db, now=12).id != job.id


def test_edited_disabled_or_removed_its_job_goes_on_as_it_is(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    one = standing.get(db, "evergreen", "a")
    standing.edit(db, replace(one, args={"seconds": 1.0}, weight=7.0), now=1)
    standing.disable(db, one)
    assert not standing.is_due(db, now=5)
    standing.remove(db, one)
    left = queue.get(db, job.id)
    assert (left.state, left.args, left.evergreen_id) == ("running", {"seconds": 9.0}, None)
    queue.leave_unfinished(db, job.id, 1, now=6)
    assert queue.claim(db, "gpu", now=7).id == job.id  # from now on a job like others
    with pytest.raises(Refused, match="no evergreen called 'a'"):
        standing.get(db, "evergreen", "a")


def test_the_job_of_one_that_is_disabled_comes_back_to_the_lane_until_it_is_over(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    standing.disable(db, standing.get(db, "evergreen", "a"))
    queue.release(db, job.id, job.attempt, "a higher priority needs the GPU", now=5)
    assert standing.peek(db, now=6).id == job.id
    again = standing.claim(db, now=6)
    assert (again.id, again.attempt) == (job.id, 2)
    queue.succeed(db, again.id, again.attempt, now=7)
    assert not standing.is_due(db, now=8)
    assert standing.claim(db, now=8) is None


@pytest.mark.parametrize("how", ["by its id", "by a filter"])
def test_a_job_tried_again_when_its_evergreen_has_another_one_is_a_job_like_others(db, how):
    plant(db, "a")
    first = standing.claim(db, now=0)
    queue.end_cancelled(db, first.id, first.attempt, now=1)
    second = standing.claim(db, now=2)
    if how == "by its id":
        queue.again(db, first.id, now=3)
    else:
        bulk.apply(db, "retry", Filter(states=("cancelled",)), now=3)
    assert queue.get(db, second.id).evergreen_id is not None
    queue.succeed(db, second.id, second.attempt, now=4)
    assert queue.claim(db, "gpu", now=5).id == first.id


def test_the_newest_job_of_an_evergreen_tried_again_stays_its_job(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    queue.end_cancelled(db, job.id, job.attempt, now=1)
    queue.again(db, job.id, now=2)
    assert queue.peek(db, "gpu", now=3) is None
    assert standing.claim(db, now=3).id == job.id


def test_a_queue_that_holds_only_an_evergreens_job_can_be_left(db):
    plant(db, "a")
    job = standing.claim(db, now=0)
    assert queue.can_still_run(db)
    queue.leave_unfinished(db, job.id, job.attempt, now=1)
    assert not queue.can_still_run(db)


def test_a_job_that_can_not_be_claimed_is_not_made_either(db, monkeypatch):
    plant(db, "a")
    monkeypatch.setattr(queue, "claim_job", lambda *a, **k: (_ for _ in ()).throw(sqlite3.OperationalError("full")))
    with pytest.raises(sqlite3.OperationalError):
        standing.claim(db, now=0)
    assert db.execute("select count(*) from job").fetchone()[0] == 0
    assert (standing.get(db, "evergreen", "a").made, standing.get(db, "evergreen", "a").job_id) == (0, None)


def test_a_turn_is_over_when_another_ones_pass_is_smaller_and_one_can_go_on_later(db):
    plant(db, "a", weight=2.0)
    job = standing.claim(db, now=0)
    assert not standing.turn_is_over(db, job, 1e6, now=50)  # there is no other
    plant(db, "b")
    db.execute("update standing set pass = 100 where name = 'b'")
    assert not standing.turn_is_over(db, job, 200.0, now=50)
    assert standing.turn_is_over(db, job, 200.1, now=50)
    standing.disable(db, standing.get(db, "evergreen", "b"))
    assert not standing.turn_is_over(db, job, 1e6, now=50)
    plant(db, "c", kind="command", args={"argv": ["/bin/true"]})
    db.execute("update standing set pass = 1e9 where name = 'a'")
    program = queue.get(db, standing._make(db, standing.get(db, "evergreen", "c"), 60.0, 60.0))
    plant(db, "d")
    assert not standing.turn_is_over(db, program, 1e6, now=70)  # it would begin anew


def test_nobody_makes_way_for_an_evergreen_whose_job_would_not_fit(db):
    plant(db, "a")
    plant(db, "big")
    job = standing.claim(db, now=0)
    assert standing.turn_is_over(db, job, 1.0, now=50, fits=lambda job: False)  # who knows what it will make?
    big = standing._make(db, standing.get(db, "evergreen", "big"), 60.0, 60.0)
    assert standing.turn_is_over(db, job, 1.0, now=70, fits=lambda job: job.id == big)
    assert not standing.turn_is_over(db, job, 1.0, now=70, fits=lambda job: False)


def test_what_ran_while_jobd_was_killed_counts_for_the_turn_too(db):
    plant(db, "a", weight=2.0)
    job = standing.claim(db, now=1000.0)
    for what, began_at, seen_at in [("preparing", 1000.1, 1004.1), ("running", 1004.1, 1010.1)]:
        db.execute("update span set closed = 1")
        ledger.enter(db, ledger.Entry(what, job_id=job.id), now=began_at)
        db.execute("update span set seen_at = ? where closed = 0", (seen_at,))
    standing.charge_lost(db, job)
    assert pass_of(db, "a") == pytest.approx(5.0)


# ── the calendar ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "after", "then"),
    [
        ("0 3 * * *", "2026-11-21T03:00", "2026-11-22T03:00"),
        ("*/15 * * * *", "2026-11-21T03:07", "2026-11-21T03:15"),
        ("0 3 * * 0", "2026-11-21T12:00", "2026-11-22T03:00"),  # 0 is Sunday, as in crontab(5)
        ("0 3 * * 7", "2026-11-21T12:00", "2026-11-22T03:00"),
        ("0 3 * * 1-5", "2026-11-21T12:00", "2026-11-23T03:00"),
        ("0 3 * * 5-7", "2026-11-22T12:00", "2026-11-27T03:00"),  # a range over the Sunday
        ("0 3 * * sat", "2026-11-21T12:00", "2026-11-28T03:00"),
        ("0 3 13 * 5", "2026-11-21T12:00", "2026-11-27T03:00"),  # the 13th or a Friday
        ("0 0 29 2 *", "2026-11-21T12:00", "2028-02-29T00:00"),
        ("30 2 * * *", "2026-10-25T00:00", "2026-10-25T02:30"),
        ("30 2 * * *", "2026-10-25T02:30", "2026-10-26T02:30"),  # the clock shows it twice: once is enough
        ("30 2 * * *", "2026-03-28T12:00", "2026-03-29T03:30"),  # the clock never shows it: an hour later then
        ("0 4 * * *", "2026-03-28T04:00", "2026-03-29T04:00"),  # 23 hours
    ],
)
def test_a_cron_line_is_read_as_crontab_reads_it(line, after, then):
    assert cron.next_after(line, BERLIN, at(BERLIN, after)) == at(BERLIN, then)


def test_what_comes_every_ten_minutes_comes_in_both_hours_of_the_same_name():
    times = [at(BERLIN, "2026-10-25T01:55")]
    for _ in range(13):
        times.append(cron.next_after("*/10 * * * *", BERLIN, times[-1]))
    assert [late - early for early, late in itertools.pairwise(times)][1:] == [600.0] * 12


@pytest.mark.parametrize(
    ("line", "zone", "sentence"),
    [
        ("0 3 * *", "UTC", "five fields"),
        ("60 * * * *", "UTC", "can't be read"),
        ("0 3 * * 8", "UTC", "0-7, or sun to sat"),
        ("0 3 * * 5-2", "UTC", "0-7, or sun to sat"),
        ("0 3 * * x", "UTC", "can't be read"),
        ("0 0 31 2 *", "UTC", "never comes"),
        ("0 3 * * *", "Europe/Berlln", "no time zone 'Europe/Berlln'"),
        ("0 3 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_a_line_or_a_zone_that_is_none_gets_a_sentence(line, zone, sentence):
    with pytest.raises(Refused, match=sentence):
        cron.next_after(line, zone, 0.0)


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────────────────────


def jobs(db) -> list[str]:
    return [row["name"] for row in db.execute("select name from job order by id")]


def finish(db, now: float) -> None:
    job = queue.claim(db, "gpu", now=now)
    queue.succeed(db, job.id, job.attempt, now=now)


def test_a_schedule_fires_when_its_time_comes_and_not_before(db):
    standing.add(db, NIGHTLY, now=0)
    assert standing.wakes_at(db, now=0) == 3 * HOUR
    standing.fire(db, now=3 * HOUR - 0.01)
    assert jobs(db) == []
    standing.fire(db, now=3 * HOUR)
    standing.fire(db, now=3 * HOUR + 1)
    assert jobs(db) == ["nightly"]
    assert standing.wakes_at(db, now=3 * HOUR) == DAY + 3 * HOUR
    assert queue.get(db, 1).evergreen_id is None  # real work, at its own priority


def test_what_was_missed_is_made_up_for_once(db):
    standing.add(db, NIGHTLY, now=0)
    standing.fire(db, now=10 * DAY)
    standing.fire(db, now=10 * DAY + 1)
    assert jobs(db) == ["nightly"]
    assert standing.wakes_at(db, now=10 * DAY) == 10 * DAY + 3 * HOUR


def test_what_was_missed_is_made_up_for_though_it_was_edited_meanwhile(db):
    standing.add(db, NIGHTLY, now=0)
    standing.edit(db, replace(standing.get(db, "schedule", "nightly"), priority=5), now=10 * DAY)
    standing.fire(db, now=10 * DAY)
    assert jobs(db) == ["nightly"]


def test_another_cron_line_counts_from_now(db):
    standing.add(db, NIGHTLY, now=0)
    standing.edit(db, replace(standing.get(db, "schedule", "nightly"), cron="0 5 * * *"), now=10 * DAY)
    standing.fire(db, now=10 * DAY)
    assert jobs(db) == []
    assert standing.wakes_at(db, now=10 * DAY) == 10 * DAY + 5 * HOUR


def test_jobs_do_not_pile_up_behind_a_long_one(db):
    standing.add(db, NIGHTLY, now=0)
    for night in range(3):
        standing.fire(db, now=night * DAY + 3 * HOUR)
    assert jobs(db) == ["nightly"]
    finish(db, now=3 * DAY)
    standing.fire(db, now=3 * DAY + 3 * HOUR)
    assert jobs(db) == ["nightly"] * 2


def test_a_schedule_goes_on_after_a_job_of_it_failed(db):
    standing.add(db, replace(NIGHTLY, max_failures=1), now=0)
    standing.fire(db, now=3 * HOUR)
    job = queue.claim(db, "gpu", now=3 * HOUR)
    queue.retry(db, job.id, job.attempt, "no", now=3 * HOUR)
    standing.fire(db, now=DAY + 3 * HOUR)
    assert jobs(db) == ["nightly"] * 2


def test_a_clock_set_back_a_little_does_not_fire_what_has_fired(db):
    standing.add(db, NIGHTLY, now=0)
    standing.fire(db, now=3 * HOUR + 5)
    finish(db, now=3 * HOUR + 6)
    standing.reset_clock(db, now=2 * HOUR)
    standing.fire(db, now=3 * HOUR)
    assert jobs(db) == ["nightly"]
    assert standing.wakes_at(db, now=3 * HOUR) == DAY + 3 * HOUR


def test_a_clock_that_was_years_ahead_does_not_silence_a_schedule(db):
    standing.add(db, NIGHTLY, now=30_000 * DAY)  # added by a clock that was wrong
    standing.fire(db, now=30_000 * DAY + 3 * HOUR)
    finish(db, now=30_000 * DAY + 4 * HOUR)
    standing.reset_clock(db, now=DAY)
    assert standing.wakes_at(db, now=DAY) == DAY + 3 * HOUR


@pytest.mark.parametrize("look", [standing.fire, standing.reset_clock])
def test_a_zone_the_machine_forgot_disables_the_schedule_with_the_reason(db, look):
    standing.add(db, NIGHTLY, now=0)
    db.execute("update standing set timezone = 'Gone/Away'")
    look(db, now=DAY if look is standing.fire else 60)
    one = standing.get(db, "schedule", "nightly")
    assert (one.enabled, jobs(db)) == (False, [])
    assert "no time zone 'Gone/Away'" in one.why


def test_a_schedule_disabled_over_its_time_and_enabled_again_makes_up_for_nothing(db):
    standing.add(db, NIGHTLY, now=0)
    standing.disable(db, standing.get(db, "schedule", "nightly"))
    standing.fire(db, now=5 * DAY)
    standing.enable(db, standing.get(db, "schedule", "nightly"), now=5 * DAY)
    standing.fire(db, now=5 * DAY + 1)
    assert jobs(db) == []
    assert standing.wakes_at(db, now=5 * DAY) == 5 * DAY + 3 * HOUR


# ── told by jobctl ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_evergreen_by_jobctl_from_add_to_remove(tower):
    assert "no evergreen yet" in tower.ctl("evergreen", "list")
    tower.ctl("evergreen", "add", "spare", "sleep", "--weight", "2.5", "--set", "seconds=7")
    tower.ctl("evergreen", "edit", "spare", "--set", "tick_s=0.5", "--priority", "-7")
    [one] = json.loads(tower.ctl("evergreen", "list", "--json"))
    assert one["args"] == {"seconds": 7.0, "tick_s": 0.5}
    assert (one["weight"], one["priority"], one["enabled"], one["job"]) == (2.5, -7, True, None)
    tower.ctl("evergreen", "disable", "spare")
    assert "off: by hand" in tower.ctl("evergreen", "list")
    tower.ctl("evergreen", "enable", "spare")
    assert "ready" in tower.ctl("evergreen", "list")
    tower.ctl("evergreen", "remove", "spare")
    assert json.loads(tower.ctl("evergreen", "list", "--json")) == []


def test_a_schedule_by_jobctl_with_a_program_of_ones_own(tower, monkeypatch):
    cwd = os.getcwd()
    said = tower.ctl(
        "schedule", "add", "tidy", "command", "--cron", "30 3 * * 1", "--timezone", BERLIN, "--", "/bin/true"
    )
    assert said.startswith("tidy: first at ")
    [one] = json.loads(tower.ctl("schedule", "list", "--json"))
    assert (one["args"]["argv"], one["cron"], one["timezone"]) == (["/bin/true"], "30 3 * * 1", BERLIN)
    assert "env" not in one["args"]  # it stays in the queue, out of a list that many read
    before = one["next_at"]
    tower.ctl("schedule", "edit", "tidy", "--cron", "30 4 * * 1")
    monkeypatch.chdir("/")
    tower.ctl("schedule", "edit", "tidy", "--set", "preemptible=true")
    [one] = json.loads(tower.ctl("schedule", "list", "--json"))
    assert one["next_at"] == before + HOUR
    assert (one["args"]["preemptible"], one["args"]["cwd"]) == (True, cwd)
    assert one["preemptible"] is True
    assert "30 4 * * 1 Europe/Berlin" in tower.ctl("schedule", "list")


@pytest.mark.parametrize(("what", "more"), [("schedule", ("--cron", "0 3 * * *")), ("evergreen", ())])
def test_a_secret_on_a_command_line_is_not_shown(tower, what, more):
    said = tower.ctl(what, "add", "a", "command", *more, "--json", "--", "/bin/true", "--token", "hunter2")
    said += tower.ctl(what, "list", "--json") + tower.ctl(what, "edit", "a", "--priority", "3", "--json")
    assert "hunter2" not in said
    assert said.count('"(hidden)"') == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("evergreen", "add", "a", "nosuch"), "no kind 'nosuch'"),
        (("evergreen", "add", "a", "sleep", "--set", "seconds=-1"), "seconds >= 0"),
        (("evergreen", "add", "a", "corpus"), "cpu lane"),
        (("add", "sleep", "--stall", "0s"), "stall"),
        (("add", "sleep", "--stall", "soon"), "--stall takes a duration"),
        (("evergreen", "remove", "a"), "no evergreen called 'a'"),
        (("schedule", "add", "a", "sleep", "--cron", "0 0 31 2 *"), "never comes"),
        (("schedule", "add", "a", "sleep", "--cron", "0 3 * * *", "--timezone", "Mars"), "no time zone 'Mars'"),
    ],
)
def test_what_can_never_work_is_refused_with_a_sentence(tower, words, sentence):
    assert sentence in tower.ctl(*words, code=1)
    assert tower.db.execute("select count(*) from standing").fetchone()[0] == 0


def test_two_of_one_name_are_refused_and_an_edit_without_a_change(tower):
    tower.ctl("evergreen", "add", "a", "sleep")
    assert "called 'a' already" in tower.ctl("schedule", "add", "a", "sleep", "--cron", "0 3 * * *", code=1)
    assert "edit a: what?" in tower.ctl("evergreen", "edit", "a", code=1)


@pytest.mark.parametrize("what", ["evergreen", "schedule"])
def test_its_jobs_have_its_limits_and_say_who_made_them(tower, what):
    cron = ("--cron", "* * * * *") if what == "schedule" else ()
    tower.ctl(what, "add", "night", "sleep", *cron, "--vram", "900", "--stall", "30m", "--set", "seconds=7")
    if what == "schedule":
        standing.fire(tower.db, now=time.time() + 120)
    else:
        standing.claim(tower.db, now=time.time(), fits=lambda job: True)
    job = tower.job(1)
    assert (job.needs_vram_mib, job.stall_s) == (900, 1800.0)
    assert f"made by {what} night" in tower.ctl("show", 1)
    assert tower.shown(1)["origin"]["said"][-1] == "seconds=7"
    tower.ctl(what, "edit", "night", "--vram", "500", "--stall", "1h")
    one = standing.get(tower.db, what, "night")
    assert (one.needs_vram_mib, one.stall_s, one.args["seconds"]) == (500, 3600.0, 7.0)
    assert tower.job(1).needs_vram_mib == 900, "the job it has stays as it is"
    assert "take a time like 30m" in tower.ctl(what, "edit", "night", "--stall", "0s", code=1)
