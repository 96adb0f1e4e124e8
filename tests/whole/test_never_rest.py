"""The GPU lane never rests while there is work: a real jobd, real children, real signals."""

import itertools
import json
import os
import random
import signal
import time

import pytest
from tower import Tower, until

from supervisor import ledger, queue

REPORTER = """
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
fd = int(os.environ["NEVERREST_REPORT_FD"])
def say(done, total=100):
    os.write(fd, json.dumps({"report": "progress", "done": done, "total": total}).encode() + b"\\n")
"""


def made_by(tower: Tower, name: str) -> list[int]:
    return [row["id"] for row in tower.db.execute("select id from job where name = ? order by id", (name,))]


def of_the_lane(tower: Tower) -> dict[str, float]:
    shares = ledger.shares(tower.db, since=0.0, until=9e9)
    return {f"{one.what} {one.kind}".strip(): one.seconds for one in shares}


def evergreens(tower: Tower) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads(tower.ctl("evergreen", "list", "--json"))}


# ── evergreens ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_evergreen_fills_the_lane_makes_way_for_real_work_and_is_resumed_where_it_was(tower):
    tower.ctl("evergreen", "add", "spare", "sleep", "--set", "seconds=1000")
    tower.start()
    until(lambda: made_by(tower, "spare"), "the evergreen's job")
    [spare] = made_by(tower, "spare")
    until(lambda: tower.job(spare).best_done > 0.2, "progress")
    real = tower.add("sleep", seconds=0.1)
    tower.until(real, "succeeded")
    until(lambda: tower.job(spare).attempt == 2 and tower.job(spare).state == "running", "it is back")
    assert made_by(tower, "spare") == [spare]
    done = tower.job(spare).best_done
    until(lambda: tower.job(spare).best_done > done, "it goes on")
    assert tower.order() == [spare, real, spare]
    assert tower.job(spare).failures == 0
    assert (evergreens(tower)["spare"]["job"], tower.shown(spare)["evergreen"]) == (spare, "spare")


def test_a_program_that_is_an_evergreen_makes_way_too(tower):
    tower.ctl("evergreen", "add", "miner", "command", "--", "/bin/sleep", "1000")
    tower.start()
    until(lambda: made_by(tower, "miner"), "the evergreen's job")
    tower.until(tower.add("sleep", seconds=0.0), "succeeded")


def test_the_minimum_slice_holds_for_evergreens(tower):
    tower.set(min_slice_s=1000.0)
    tower.ctl("evergreen", "add", "spare", "sleep", "--set", "seconds=0.8")
    tower.start()
    until(lambda: tower.db.execute("select 1 from job where state = 'running'").fetchone(), "it runs")
    real = tower.add("sleep", seconds=0.0)
    tower.until(real, "succeeded")
    [spare, *_] = made_by(tower, "spare")
    assert tower.events(spare) == ["added", "claimed", "succeeded"]


def test_a_failing_evergreen_gives_up_with_the_reason_and_the_others_go_on(tower):
    tower.ctl(
        "evergreen", "add", "bad", "command", "--max-failures", "1", "--", "/bin/sh", "-c", "echo no data; exit 3"
    )
    tower.ctl("evergreen", "add", "good", "sleep", "--set", "seconds=0.1")
    tower.start()
    until(lambda: len(made_by(tower, "good")) >= 2, "the other one goes on")
    until(lambda: not evergreens(tower)["bad"]["enabled"], "the failing one is disabled")
    assert "exit code 3: no data" in evergreens(tower)["bad"]["why"]
    assert len(made_by(tower, "bad")) == 1
    tower.ctl("evergreen", "remove", "good")
    assert "no data" in tower.ctl("evergreen", "list")


def test_the_evergreen_that_made_way_stands_by_warm_while_real_work_runs(tower):
    tower.set(standby=True, standby_min_free_mib=1)
    tower.ctl("evergreen", "add", "spare", "sleep", "--set", "seconds=1000")
    tower.start()
    until(lambda: made_by(tower, "spare") and tower.job(1).best_done > 0, "the evergreen works")
    real = tower.add("sleep", seconds=1000)
    tower.until(real, "running")
    until(lambda: len(children_of(tower)) == 2, "a second child stands by")
    warm = max(children_of(tower))
    tower.ctl("cancel", real)
    until(lambda: tower.job(1).attempt == 2, "it is resumed")
    until(lambda: f"pid {warm} " in tower.log(1), "its second attempt is the one that stood by")


def test_two_evergreens_that_never_end_take_turns_by_weight_and_both_go_on_where_they_were(tower):
    tower.set(turn_s=0.3)
    tower.ctl("evergreen", "add", "often", "sleep", "--weight", "3", "--set", "seconds=1000")
    tower.ctl("evergreen", "add", "seldom", "sleep", "--set", "seconds=1000")
    tower.start()
    until(lambda: tower.db.execute("select min(attempt) >= 3 and count(*) = 2 from job").fetchone()[0], "turns")
    [often], [seldom] = made_by(tower, "often"), made_by(tower, "seldom")
    tower.stop_jobd()
    assert tower.job(often).ran_s > tower.job(seldom).ran_s
    assert tower.job(seldom).best_done > 0
    assert (tower.job(often).failures, tower.job(seldom).failures) == (0, 0)


def test_an_evergreen_survives_the_death_of_jobd_and_is_not_made_twice(tower):
    tower.ctl("evergreen", "add", "spare", "sleep", "--set", "seconds=1000")
    tower.start()
    until(lambda: made_by(tower, "spare") and tower.job(1).best_done > 0.2, "progress")
    tower.kill_jobd()
    tower.start()
    until(lambda: tower.job(1).attempt == 2 and tower.job(1).state == "running", "it is resumed")
    assert made_by(tower, "spare") == [1]


def test_jobd_killed_at_any_moment_makes_each_job_once_and_never_two_of_one_evergreen(tower):
    chance = random.Random(3)
    for name in ("one", "two"):
        tower.ctl("evergreen", "add", name, "command", "--", "/bin/sleep", "0.02")
    tower.ctl("schedule", "add", "tidy", "command", "--cron", "* * * * *", "--", "/bin/true")
    for _ in range(8):
        tower.db.execute("update standing set next_at = 1.0")
        before = tower.order()
        tower.start()
        until(lambda before=before: tower.order() != before, "it works")
        time.sleep(chance.uniform(0.0, 0.2))  # any moment
        tower.kill_jobd()
        made = tower.db.execute("select what, name, made from standing").fetchall()
        assert {row["name"]: row["made"] for row in made} == {
            row["name"]: len(made_by(tower, row["name"])) for row in made
        }
        live = tower.db.execute(
            "select name, count(*) as n from job where finished_at is null group by name"
        ).fetchall()
        assert all(row["n"] == 1 for row in live), [tuple(row) for row in live]
    assert sum(row["made"] for row in made) > 2


def test_until_empty_does_not_wait_for_work_that_never_ends(tower):
    tower.ctl("evergreen", "add", "spare", "sleep", "--set", "seconds=1000")
    job = tower.add("sleep", seconds=0.1)
    tower.serve()
    assert tower.job(job).state == "succeeded"
    assert made_by(tower, "spare") == []


def test_a_job_that_waits_for_a_cpu_job_does_not_idle_the_gpu(tower):
    gate = tower.path / "gate"
    script = f"until [ -e {gate} ]; do sleep 0.01; done"
    slow = tower.sh(script, "--lane", "cpu", "--name", "slow")
    waits = tower.add("sleep", "--after", slow, "--priority", 9, seconds=0.0)
    others = [tower.add("sleep", seconds=0.1) for _ in range(2)]
    tower.start()
    for other in others:
        tower.until(other, "succeeded")
    assert (tower.job(slow).state, tower.job(waits).state) == ("running", "queued")
    gate.touch()
    tower.until(waits, "succeeded")
    assert [job for job in tower.order() if job != slow] == [*others, waits]


@pytest.mark.parametrize("kind", ["command", "sleep"])
def test_the_end_of_a_cpu_job_leaves_the_job_on_the_gpu_alone_whoever_is_due_behind_it(tower, kind):
    long = tower.sh("exec sleep 1000") if kind == "command" else tower.add("sleep", seconds=1000)
    tower.start()
    tower.until(long, "running")
    tower.add("sleep", seconds=0)  # due, and behind it
    for _ in range(3):
        tower.until(tower.sh("true", "--lane", "cpu"), "succeeded")
    assert tower.events(long) == ["added", "claimed"]
    assert "holds the GPU lane" not in tower.said


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_missed_while_nobody_served_is_made_up_for_once_and_jobd_wakes_for_the_next(tower):
    tower.ctl("schedule", "add", "tidy", "sleep", "--cron", "* * * * *", "--set", "seconds=0")
    tower.db.execute("update standing set next_at = ?, last_at = null", (time.time() - 3600,))
    tower.start()
    until(lambda: made_by(tower, "tidy"), "what was missed is made up for")
    tower.until(1, "succeeded")
    [one] = json.loads(tower.ctl("schedule", "list", "--json"))
    assert one["made"] == 1
    assert 0 < one["next_at"] - time.time() <= 60
    tower.db.execute("update standing set next_at = ?", (time.time() + 0.5,))
    tower.home.ring()
    until(lambda: len(made_by(tower, "tidy")) == 2, "the next one")


def test_a_jobd_with_a_schedule_stays_small(tower):
    tower.ctl("schedule", "add", "tidy", "sleep", "--cron", "0 3 * * *", "--set", "seconds=0")
    tower.db.execute("update standing set next_at = 1.0")
    jobd = tower.start()
    until(lambda: made_by(tower, "tidy"), "APScheduler was needed")
    with open(f"/proc/{jobd.pid}/status") as file:
        [rss_kib] = [int(line.split()[1]) for line in file if line.startswith("VmRSS")]
    assert rss_kib < 60 << 10


# ── stalls ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_without_progress_is_stopped_and_tried_again_and_its_save_counts(tower):
    script = REPORTER + (
        "import pathlib; saved = pathlib.Path(os.environ['NEVERREST_WORKDIR'], 'saved')\n"
        "if saved.exists(): sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, lambda *_: (saved.touch(), sys.exit(75)))\n"
        "say(1)\nwhile True: time.sleep(9)\n"
    )
    job = tower.python(script, "--stall", "0.5s")
    tower.start()
    until(lambda: tower.job(job).cause == "stalled", "it is stopped")
    found = tower.job(job)
    assert (found.state, found.failures) == ("queued", 1)
    assert found.error.startswith("stalled: no progress for ")
    tower.ctl("retry", job)  # spare it the backoff
    assert tower.until(job, "succeeded").attempt == 2


def test_a_stalled_job_that_is_deaf_is_killed_and_the_gpu_goes_on_with_the_next(tower):
    tower.set(grace_s=0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(9)"
    job = tower.python(deaf, "--stall", "0.5s", "--max-failures", 1)
    after = tower.add("sleep", seconds=0.0)
    tower.start()
    tower.until(after, "succeeded")
    found = tower.job(job)
    assert (found.state, found.cause) == ("failed", "stalled")


def test_a_job_that_was_stopped_in_place_counts_as_stalled(tower):
    job = tower.python(REPORTER + "for n in range(100000): say(n, 100000); time.sleep(0.01)", "--stall", "1s")
    tower.start()
    until(lambda: tower.job(job).best_done > 3, "it runs")
    [pid] = [child for child in children_of(tower) if "REPORT_FD" in cmdline(child)]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: tower.job(job).cause == "stalled", "it is found out, and let go on so that it can save")
    assert tower.job(job).state == "queued"


def children_of(tower: Tower) -> list[int]:
    with open(f"/proc/{tower.jobd.pid}/task/{tower.jobd.pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def cmdline(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()


def test_a_job_that_keeps_its_pace_is_left_alone(tower):
    job = tower.python(REPORTER + "for n in range(8): say(n, 9); time.sleep(0.2)", "--stall", "2s")
    tower.serve()
    assert (tower.job(job).attempt, tower.job(job).cause) == (1, "")


def test_a_crash_loop_ends_as_failed_with_the_last_lines_of_its_log_and_the_gpu_goes_on(tower):
    job = tower.sh("for n in $(seq 1 30); do echo line $n; done; exit 9", "--max-failures", 2)
    after = tower.add("sleep", seconds=0.0)
    tower.start()
    until(lambda: tower.job(job).failures == 1, "the first crash")
    tower.until(after, "succeeded")
    tower.db.execute("update job set available_at = 0 where id = ?", (job,))  # spare us the backoff
    tower.home.ring()
    until(lambda: tower.job(job).state == "failed", "the second crash", 90)
    shown = tower.shown(job)
    assert shown["last_lines"] == [f"line {n}" for n in range(11, 31)]
    assert "line 30" in tower.ctl("show", job)
    assert tower.job(job).cause == "failed"


# ── where the time went ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_ledger_knows_what_the_lane_did_and_its_seconds_sum_to_those_that_passed(tower):
    began = time.time()
    tower.start()
    until(lambda: ledger.open_entry(tower.db) == ledger.Entry("empty"), "nothing to do")
    slow = tower.python(
        REPORTER + "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.4), sys.exit(75)))\nsay(1)\ntime.sleep(99)"
    )
    tower.until(slow, "running")
    until(lambda: tower.job(slow).best_done == 1, "it works")
    tower.ctl("pause", slow)  # it takes its time to save
    tower.until(slow, "paused")
    tower.until(tower.add("sleep", seconds=0.3), "succeeded")
    tower.ctl("pause", "--all")
    until(lambda: ledger.open_entry(tower.db) == ledger.Entry("paused"), "paused by hand")
    tower.ctl("resume", "--all")
    until(lambda: ledger.open_entry(tower.db) == ledger.Entry("empty"), "nothing to do")
    tower.kill_jobd()
    tower.start()
    until(lambda: "down" in of_the_lane(tower), "the time without a supervisor")
    tower.stop_jobd()
    found, passed = of_the_lane(tower), time.time() - began
    assert set(found) == {"empty", "running command", "saving", "running sleep", "preparing", "paused", "down"}
    assert found["saving"] >= 0.4
    first = tower.db.execute("select min(began_at) from span").fetchone()[0]
    last = tower.db.execute("select max(seen_at) from span").fetchone()[0]
    assert sum(found.values()) == pytest.approx(last - first, abs=0.01)
    assert last - first <= passed
    line = tower.ctl("idle").splitlines()[-1]
    assert line.startswith("busy ")
    assert "saving" in tower.ctl("idle")


def test_between_two_jobs_the_lane_switches_and_that_is_all(tower):
    for _ in range(4):
        tower.add("sleep", seconds=0.1)
    tower.serve()
    rows = tower.db.execute("select class, began_at, seen_at from span order by id").fetchall()
    told = [row["class"] for row in rows if row["class"] not in ("empty", "down")]
    assert told[:6] == ["preparing", "running", "switching", "preparing", "running", "switching"]
    for early, late in itertools.pairwise(rows):
        assert early["seen_at"] == late["began_at"]


def test_the_causes_are_those_the_queue_names():
    assert {"stalled", "killed", "out of memory", "bad args", "in circles", "failed"} == set(queue.CAUSES)
