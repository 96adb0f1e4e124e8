"""A queue.db that is damaged, as its user meets it: what jobctl says, what jobd does, what goes on."""

import gc
import json
import os
import sqlite3
import time
from pathlib import Path

from tower import Tower, until

from supervisor.house import damage


def backups(tower: Tower) -> list[Path]:
    return sorted((tower.path / "backups").glob("queue-*.db"))


def spoil(tower: Tower) -> bytes:
    """Damage the queue's file while nobody has it open. What it holds now."""
    tower.db.close()
    gc.collect()  # connections of jobctl's commands, which ran in this process
    assert [path.name for path in tower.path.glob("queue.db*")] == ["queue.db"]
    content = bytearray(tower.home.queue_db.read_bytes())
    content[: 2 * 4096] = os.urandom(2 * 4096)
    tower.home.queue_db.write_bytes(content)
    return bytes(content)


def goes_on(tower: Tower, sleeper: int, slept: float) -> None:
    """A sleeper that ran when the backup was made works in a new attempt, from what it had saved."""
    until(lambda: tower.job(sleeper).attempt > damage.LOST_ATTEMPTS + 1, "a new attempt")
    tower.until(sleeper, "running")
    until(lambda: float((tower.home.workdir(sleeper) / "slept.json").read_text()) > slept, "from what it had saved")


def test_jobd_makes_a_backup_by_itself_and_jobctl_whenever_it_is_asked(tower):
    job = tower.sh("true")
    tower.start()
    tower.until(job, "succeeded")
    until(lambda: backups(tower), "jobd's own backup")
    path = Path(tower.ctl("backup").strip())
    assert path in backups(tower)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(tower.ctl("--json", "backup"))["path"] in map(str, backups(tower))
    assert tower.stop_jobd() == 0
    assert "ALARM" not in tower.said


def test_work_goes_on_from_the_newest_backup_and_nothing_damaged_is_written_over(tower):
    sleeper = tower.add("sleep", seconds=1000, tick_s=0.02)
    tower.start()
    until(lambda: tower.job(sleeper).best_done > 0)
    tower.ctl("backup")
    lost = tower.sh("true", "--priority", 5, "--lane", "cpu")
    tower.until(lost, "succeeded")
    tower.stop_jobd()
    slept = float((tower.home.workdir(sleeper) / "slept.json").read_text())
    damaged = spoil(tower)
    assert "start jobd, which puts it aside whole" in tower.ctl("list", code=1)
    assert "start jobd, which puts it aside whole" in tower.ctl("add", "sleep", code=1)
    assert tower.home.queue_db.read_bytes() == damaged

    tower.start()
    until(lambda: "ALARM: queue.db was damaged" in tower.said, "jobd says so")
    assert f"left their folder in runs/ (job {lost})" in tower.said
    tower.db = tower.home.connect()
    goes_on(tower, sleeper, slept)
    assert tower.add("sleep") > lost, "a number is never given twice"
    (aside,) = tower.path.glob("queue.db.damaged-*Z")
    assert aside.read_bytes() == damaged
    assert tower.stop_jobd() == 0


def test_a_queue_that_is_damaged_under_a_running_jobd_costs_no_job_its_work(tower):
    """jobd says so and leaves, its child saves; started again, as systemd does, it goes on by itself."""
    sleeper = tower.add("sleep", seconds=1000, tick_s=0.02)
    tower.start()
    until(lambda: tower.job(sleeper).best_done > 0)
    tower.ctl("backup")
    tower.sh("true", "--after", sleeper)
    damaged_under_jobd(tower)
    assert tower.jobd.wait(60) == 1
    assert "jobs save and leave; started again, jobd goes on from the newest backup" in tower.said
    tower.db.close()
    slept = float((tower.home.workdir(sleeper) / "slept.json").read_text())
    tower.start()
    until(lambda: "ALARM: queue.db was damaged" in tower.said, "jobd says so")
    tower.db = tower.home.connect()
    goes_on(tower, sleeper, slept)
    assert tower.stop_jobd() == 0


def damaged_under_jobd(tower: Tower) -> None:
    """All of the file but its head turns to noise; then a change has jobd look at it again."""
    tower.db.execute("pragma wal_checkpoint(restart)")
    size = tower.home.queue_db.stat().st_size
    with open(tower.home.queue_db, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    for _ in range(100):
        if tower.jobd.poll() is not None:
            return
        try:
            tower.db.execute("update meta set value = value")
        except sqlite3.DatabaseError:
            pass
        tower.home.ring()
        time.sleep(0.05)
