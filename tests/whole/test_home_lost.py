"""What a person, a job or another program may do to a home while jobd serves it: nothing is lost, never two."""

import os
import shutil
import signal
import sys
import time

import pytest
from tower import Tower, until

from supervisor import meta
from supervisor.children import cgroup, tree

STUBBORN = "trap 'echo asked to leave' TERM; echo at work; while :; do sleep 0.05; done"
HYDRA = """
import os, time
end = time.monotonic() + 60
while time.monotonic() < end:  # each one has a follower, which does not wait, and is gone
    if os.fork():
        os._exit(0)
"""


def at_work(tower: Tower, job: int) -> None:
    until(lambda: tower.home.log(job).exists() and "at work" in tower.log(job), f"job {job} works")


# ── queue.db ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_queue_that_is_deleted_under_jobd_is_kept_whole_and_the_next_jobd_goes_on_from_it(tower):
    tower.start()
    first = tower.add("sleep", seconds=30, tick_s=0.05)
    waits = tower.sh("true")
    until(lambda: tower.job(first).done > 0, "it is at work")
    for path in tower.path.glob("queue.db*"):
        path.unlink()
    assert tower.jobd.wait(60) == 1
    assert "queue.db is gone while we served it: jobs save and leave, and so do we" in tower.said
    assert "there is no queue" in tower.ctl("list", code=1)
    assert "backups holds its copies. Start `jobd" in tower.ctl("init", code=1)
    tower.db.close()
    tower.start()
    until(tower.home.queue_db.exists, "the queue is there again")
    tower.db = tower.home.connect()
    tower.ctl("cancel", tower.until(first, "running").id)
    tower.until(waits, "succeeded")
    assert tower.job(first).failures == 0


def test_a_home_that_is_moved_while_it_is_served_is_left_and_served_where_it_went(tower):
    tower.start()
    job = tower.add("sleep", seconds=0.5, tick_s=0.05)
    until(lambda: tower.job(job).done > 0, "it is at work")
    elsewhere = tower.path.with_name("elsewhere")
    tower.path.rename(elsewhere)
    try:
        assert tower.jobd.wait(60) == 1
        assert not tower.path.exists(), "nothing is made again where it was"
    finally:
        elsewhere.rename(tower.path)
    tower.serve()
    assert (tower.job(job).state, tower.job(job).failures) == ("succeeded", 0)


def test_a_copy_of_a_home_that_is_served_goes_its_own_way(tower):
    tower.start()
    job = tower.sh(STUBBORN)
    at_work(tower, job)
    shutil.copytree(tower.path, tower.path.with_name("copy"), ignore=shutil.ignore_patterns("jobd.*"))
    twin = Tower(tower.path.with_name("copy"))
    twin.start()
    try:
        until(lambda: twin.job(job).attempt == 2 and twin.job(job).state == "running", "the copy works on its own")
        assert "copy of" in twin.said
        assert "which is still there" in twin.said
        assert tower.jobd.poll() is None, "the copy sent it away"
        assert tower.events(job) == ["added", "claimed"]
        assert "asked to leave" not in tower.log(job)
    finally:
        twin.home_id = meta.read(twin.db, "home_id") or ""
        twin.sweep()


# ── what else lies there ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_jobd_let_in_by_a_deleted_lock_takes_over_and_nothing_runs_twice(tower):
    tower.set(grace_s=60.0)
    first, job = tower.start(), tower.sh("echo at work; exec sleep 60")
    at_work(tower, job)
    (tower.path / "jobd.lock").unlink()
    tower.start()
    assert first.wait(60) == 0, "it was asked to leave by who came"
    until(lambda: tower.log(job).count("at work") == 2, "it goes on under the second")
    assert len(tree.marked(f"{tower.home_id}:{job}:")) == 1
    assert tower.jobd.poll() is None


def test_a_job_that_deletes_its_folder_the_locks_and_the_bell_harms_itself_alone(tower):
    (tower.path / "jobd.bell").write_text("not a pipe")
    tower.start()
    vandal = tower.sh(f'rm -r "$NEVERREST_WORKDIR" "{tower.path}/lanes" "{tower.path}/jobd.bell"; exit 3')
    heir = tower.sh("true")
    assert tower.until(heir, "succeeded").failures == 0
    assert tower.job(vandal).error == "exit code 3: it printed nothing"
    assert "jobd.bell was no named pipe" in tower.said


@pytest.mark.parametrize(("folder", "words"), [("runs", "could not be started"), ("lanes", "its lock can't be taken")])
def test_a_folder_of_all_jobs_that_cannot_be_used_is_no_jobs_fault(tower, folder, words):
    (tower.path / folder).write_text("not a folder")
    tower.start()
    job = tower.sh("true")
    until(lambda: words in tower.said)
    (tower.path / folder).unlink()
    assert tower.until(job, "succeeded").failures == 0


# ── jobd itself, and its children ─────────────────────────────────────────────────────────────────────────────────


def test_a_jobd_that_was_stopped_for_long_blames_nobody_for_the_silence(tower):
    tower.start()
    job = tower.add("sleep", "--stall", "1s", seconds=60, tick_s=0.05)
    until(lambda: tower.job(job).done > 0, "it is at work")
    os.kill(tower.jobd.pid, signal.SIGSTOP)
    time.sleep(2.2)  # longer than it may be silent: nothing else is to be waited for
    os.kill(tower.jobd.pid, signal.SIGCONT)
    before = tower.job(job).done
    until(lambda: tower.job(job).done > before + 0.5, "it is heard again")
    assert tower.events(job) == ["added", "claimed"]


def test_a_tree_whose_every_process_is_gone_before_it_can_be_named_ends_with_its_cgroup(tower):
    if not cgroup.Cgroups().usable:
        pytest.skip("no cgroup v2 can be made here: run as root, or under systemd with Delegate=yes")
    tower.set(grace_s=0.2, reclaim_s=60.0)
    tower.start()
    hydra = tower.add("command", argv=(sys.executable, "-S", "-c", HYDRA))
    after = tower.sh("true")
    tower.until(after, "succeeded", deadline_s=30.0)
    assert tower.job(hydra).state == "succeeded"
    assert tower.said == "", "no alarm: it was swept like any other"
