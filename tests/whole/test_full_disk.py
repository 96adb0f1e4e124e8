"""A disk that fills under a real jobd: jobs save and leave while there is room for it, and go on by themselves."""

import json
import os
import subprocess

import pytest
from tower import Tower, until

FLOOR_MIB = 24


@pytest.fixture
def small(tmp_path):
    """A tower on a disk of 64 MiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk; test_space.py tries the guard with a pretended one")
    tower = Tower(disk / "home")
    tower.set(disk_floor_mib=FLOOR_MIB)
    yield tower
    tower.sweep()
    subprocess.run(["umount", "--lazy", disk], check=True)  # this process may have a file of it open yet


def fill(tower, mib):
    ballast = tower.path.parent / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, mib << 20)
    return ballast


def test_jobs_save_and_leave_before_the_disk_is_full_and_go_on_when_there_is_room(small):
    ran = small.add("sleep", seconds=4)
    small.start()
    until(lambda: small.job(ran).done > 0, "it works")
    ballast = fill(small, 45)
    until(lambda: small.job(ran).state == "queued", "it was asked to leave")
    later = small.sh("true")
    waits = json.loads(small.ctl("show", later, "--json"))["waiting_for"]
    assert waits.startswith("room on the disk: ")
    assert f"disk_floor_mib is {FLOOR_MIB}: make room" in waits
    assert "ALARM: " in small.said
    assert f"DISK LOW {waits.removeprefix('room on the disk: ')}" in small.ctl("status")
    detail = small.db.execute("select detail from event where job_id = ? and what = 'queued'", (ran,)).fetchone()[0]
    assert detail == "the disk is nearly full"
    assert small.job(ran).failures == 0, "it is not to blame"
    done = small.job(ran).done
    assert small.job(later).attempt == 0
    ballast.unlink()
    assert small.until(ran, "succeeded").attempt == 2
    assert small.job(ran).done > done
    small.until(later, "succeeded")


def test_a_jobd_that_starts_on_a_full_disk_starts_nothing(small):
    job = small.sh("true")
    ballast = fill(small, 45)
    small.start()
    until(lambda: "ALARM: " in small.said, "it says so")
    until(lambda: "room on the disk" in (small.shown(job)["waiting_for"] or ""), "and list says so")
    assert small.job(job).attempt == 0
    ballast.unlink()
    small.until(job, "succeeded")


def test_who_would_watch_a_recipe_that_cannot_start_is_told_so_at_once(small):
    recipe = small.path / "r.toml"
    recipe.write_text('name = "r"\n[[job]]\nname = "a"\nkind = "sleep"\nargs = { seconds = 0.1 }\n')
    fill(small, 45)
    said = small.ctl("run", recipe, code=1)
    assert said.startswith("jobctl: nothing would start: ")
    assert said.endswith("On a small disk set disk_floor_mib lower in settings.toml\n")
    assert small.job(1).state == "queued", "it is in the queue all the same"
