"""Nobody is killed here and nothing fails: so whatever a user does, in any order, no job may be blamed or lost.

A real jobd with both lanes at work, a standby, preemption; programs, which begin anew, and kinds, which go on.
"""

import random
import time

import pytest
from tower import Tower, until

LANES = ("gpu", "gpu", "cpu")
DEEDS = ("add", "add", "add", "pause", "resume", "cancel", "priority", "retry", "pause all", "wait")
MOST_DEEDS = 120


def add(tower: Tower, chance: random.Random, ids: list[int]) -> int:
    """A short job of either lane: a program or a kind, some of them behind another one."""
    options: list[object] = ["--lane", chance.choice(LANES), "--priority", chance.randint(-1, 1)]
    if ids and chance.random() < 0.3:
        options += ["--after", chance.choice(ids)]
    seconds = chance.choice((0.0, 0.02, 0.1, 0.3)) * chance.random()
    if chance.random() < 0.5:
        return tower.sh(f"sleep {seconds:.3f}", *options)
    return tower.add("sleep", *options, seconds=seconds, tick_s=0.02)


def do(tower: Tower, chance: random.Random, ids: list[int]) -> None:
    """One deed. What comes too late for its job is refused: that is nobody's fault."""
    match deed := chance.choice(DEEDS):
        case "add":
            ids.append(add(tower, chance, ids))
        case "pause all":
            tower.ctl("pause", "--all")
            tower.ctl("resume", "--all")
        case "wait":
            time.sleep(chance.choice((0.0, 0.01, 0.1)))
        case "priority":
            tower.ctl("priority", chance.choice(ids), chance.randint(-2, 2), code=None)
        case _:
            tower.ctl(deed, chance.choice(ids), code=None)


def served_one_after_the_other(tower: Tower) -> bool:
    """Whether the GPU lane never had two at once, by what the queue says of it in its own order."""
    rows = tower.db.execute(
        "select what, job_id from event join job on job.id = job_id where lane = 'gpu' order by event.id"
    )
    has_it = None
    for what, job_id in rows:
        if what == "claimed":
            if has_it is not None:
                return False
            has_it = job_id
        elif what in ("queued", "paused", "succeeded", "failed", "cancelled") and job_id == has_it:
            has_it = None
    return True


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_user_does_nobody_is_blamed_and_the_lane_has_one_at_a_time(tower, seed):
    tower.set(standby=True, standby_min_free_mib=1, cpu_slots=2)
    tower.start()
    chance = random.Random(seed)
    ids = [add(tower, chance, []) for _ in range(5)]
    for _ in range(MOST_DEEDS):
        do(tower, chance, ids)
    for job_id in ids:
        tower.ctl("resume", job_id, code=None)
        tower.ctl("retry", job_id, code=None)
    until(lambda: all(tower.job(job_id).state == "succeeded" for job_id in ids), "all of them")
    jobs = [tower.job(job_id) for job_id in ids]
    assert [(job.failures, job.losses, job.cause, job.error) for job in jobs] == [(0, 0, "", None)] * len(jobs)
    assert served_one_after_the_other(tower)
    assert "holds the GPU lane" not in tower.said


def test_jobs_of_both_lanes_that_nobody_touches_are_claimed_once_each(tower):
    tower.set(standby=True, cpu_slots=2)
    tower.start()
    chance, ids = random.Random(7), []
    for _ in range(60):
        lane, seconds = chance.choice(LANES), chance.uniform(0, 0.08)
        ids.append(tower.sh(f"sleep {seconds:.3f}", "--lane", lane, "--priority", chance.randint(-1, 1)))
        time.sleep(chance.choice((0.0, 0.0, 0.03)))
    for job_id in ids:
        tower.until(job_id, "succeeded")
        assert tower.events(job_id) == ["added", "claimed", "succeeded"]
