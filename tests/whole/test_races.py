"""Two who want to end the same job at the same moment: one wins, the other is told."""

import subprocess
import sys
from collections import Counter

import pytest
from tower import Tower, until

from supervisor import queue
from supervisor.job import NewJob

ROUNDS = 60

FINALISER = """
import sys, time
from pathlib import Path
from supervisor import db, queue
from supervisor.errors import Refused, StaleAttempt

queue_db = db.connect(Path(sys.argv[1]))
how = sys.argv[2]
print("ready", flush=True)
for line in sys.stdin:
    job = int(line)
    try:
        match how:
            case "succeed": queue.succeed(queue_db, job, 1, now=time.time())
            case "fail": queue.fail(queue_db, job, 1, "a mistake", now=time.time())
            case "release": queue.release(queue_db, job, 1, "yield", now=time.time())
            case "retry": queue.retry(queue_db, job, 1, "a mistake", now=time.time())
            case "cancel": queue.cancel(queue_db, job, now=time.time())
        print("won", flush=True)
    except (StaleAttempt, Refused):
        print("stale", flush=True)
"""


def finaliser(tower: Tower, how: str) -> "subprocess.Popen[str]":
    """A process that ends jobs in one way, as fast as it is told their ids."""
    made = subprocess.Popen(
        [sys.executable, "-P", "-c", FINALISER, str(tower.home.queue_db), how],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert made.stdout.readline() == "ready\n"
    return made


def race(tower: Tower, *hows: str) -> Counter[tuple[str, ...]]:
    """Let processes end one job after the other at the same time. How often each outcome came."""
    racers = [finaliser(tower, how) for how in hows]
    outcomes: Counter[tuple[str, ...]] = Counter()
    for n in range(ROUNDS):
        job_id = queue.add(tower.db, NewJob("sleep", {}, "gpu"), now=0.0)
        assert queue.claim(tower.db, "gpu", now=1.0).id == job_id
        for racer in racers if n % 2 else reversed(racers):  # whoever hears first is ahead by a few microseconds
            racer.stdin.write(f"{job_id}\n")
        outcomes[tuple(racer.stdout.readline().strip() for racer in racers)] += 1
        if tower.job(job_id).state == "queued":
            queue.cancel(tower.db, job_id, now=2.0)  # out of the next round's way
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    return outcomes


@pytest.mark.parametrize(
    ("one", "other"),
    [("succeed", "succeed"), ("succeed", "fail"), ("succeed", "release"), ("retry", "release"), ("fail", "retry")],
)
def test_of_two_who_end_a_job_at_once_one_wins_and_the_other_is_told(tower, one, other):
    outcomes = race(tower, one, other)
    assert set(outcomes) <= {("won", "stale"), ("stale", "won")}
    assert len(outcomes) == 2, "the same one was always first: that was no race"
    ends = tower.db.execute(
        "select job_id, count(*) as n from event where what in ('succeeded', 'failed', 'queued') group by job_id"
    ).fetchall()
    assert [row["n"] for row in ends] == [1] * ROUNDS


def test_a_cancel_that_comes_as_the_job_succeeds_changes_no_end_that_is_written(tower):
    race(tower, "succeed", "cancel")
    rows = tower.db.execute("select id, state, wish from job").fetchall()
    assert {(row["state"], row["wish"]) for row in rows} == {("succeeded", None)}


def test_of_two_supervisors_started_at_once_one_serves_and_the_other_says_so(tower):
    job = tower.add("sleep", seconds=0.3)
    first, second = tower.start(), tower.start()
    until(lambda: first.poll() is not None or second.poll() is not None, "one of them leaves")
    left, tower.jobd = (first, second) if first.poll() is not None else (second, first)
    assert left.returncode == 1
    assert "another jobd" in tower.said
    tower.until(job, "succeeded")
    assert tower.job(job).attempt == 1
