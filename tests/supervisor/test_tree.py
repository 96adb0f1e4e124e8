"""The four handles on a child's tree, each alone: what it finds, and what it lets alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tower import until

from jobs.contract import MARK
from supervisor.children import cgroup, tree
from supervisor.children.lock import take_lock


@pytest.fixture
def sleeper():
    """A function that starts `sleep` somehow; all it started are gone after the test."""
    started = []

    def start(**how) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["sleep", "600"], **how))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def pids(found) -> set[int]:
    return {process.pid for process in found}


def test_a_process_is_read_with_its_parent_and_a_zombie_is_none(sleeper):
    process = sleeper()
    found = tree.read(process.pid)
    assert (found.pid, found.parent) == (process.pid, os.getpid())
    process.kill()
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z")
    assert tree.read(process.pid) is None
    process.wait()
    assert tree.read(process.pid) is None


def test_a_name_with_brackets_and_spaces_is_read_right(tmp_path):
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([odd, "600"])
    try:
        assert tree.read(process.pid).parent == os.getpid()
    finally:
        process.kill()
        process.wait()


def test_a_signal_goes_to_the_process_that_was_meant_never_to_the_next_of_that_pid(sleeper):
    process = sleeper()
    found = tree.read(process.pid)
    tree.Process(found.pid, found.started - 1, found.parent).kill(signal.SIGKILL)  # an earlier one of this pid
    time.sleep(0.05)
    assert process.poll() is None
    found.kill(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    found.kill(signal.SIGKILL)  # it is gone: nothing happens


def test_a_stopped_process_hears_sigterm(sleeper):
    process = sleeper()
    process.send_signal(signal.SIGSTOP)
    tree.read(process.pid).kill(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_the_mark_finds_its_own_and_no_others(sleeper):
    ours = sleeper(env={MARK: "home1:7:2"})
    sleeper(env={MARK: "home12:7:2"})
    sleeper(env={"X": f"{MARK}=home1:7:2"})
    until(lambda: tree.mark_of(ours.pid))  # fork comes before exec
    assert pids(tree.marked("home1:")) == {ours.pid}
    assert pids(tree.marked("home1:7:2")) == {ours.pid}
    assert tree.mark_of(ours.pid) == "home1:7:2"
    assert tree.mark_of(os.getpid()) is None


def test_the_lock_finds_who_holds_it_and_who_inherited_it_and_not_who_merely_looks(tmp_path, sleeper):
    lock = tmp_path / "lanes" / "gpu0.lock"
    assert tree.holders(lock) == []
    held = take_lock(lock)
    heir = sleeper(pass_fds=[held])
    with open(lock) as looks:
        sleeper(pass_fds=[looks.fileno()])
        os.close(held)
        assert pids(tree.holders(lock)) == {heir.pid}
    heir.kill()
    heir.wait()
    assert tree.holders(lock) == []


def test_a_lock_is_not_taken_twice(tmp_path):
    from supervisor.children.lock import LaneHeld

    lock = tmp_path / "gpu0.lock"
    held = take_lock(lock)
    with pytest.raises(LaneHeld):
        take_lock(lock)
    os.close(held)
    os.close(take_lock(lock))


def test_a_subreaper_adopts_orphans_and_tells_them_from_its_own(tmp_path):
    """In a process of its own: pytest must not become one."""
    script = f"""
import os, subprocess, sys, time
from supervisor.children import cgroup, tree
tree.become_subreaper()
own = subprocess.Popen(["sleep", "600"])
assert tree.adopted(set()) != [] and tree.adopted({{own.pid}}) == []
orphan = int(subprocess.run(["sh", "-c", "setsid sleep 600 >{tmp_path}/out & echo $!"], stdout=-1).stdout)
found = tree.adopted({{own.pid}})
print([p.pid for p in found] == [orphan])
for process in [*found, tree.read(own.pid)]:
    process.kill(9)
    os.waitpid(process.pid, 0)
print(tree.adopted(set()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["True", "[]"], done.stderr


def cgroups() -> cgroup.Cgroups:
    found = cgroup.Cgroups()
    if not found.usable:
        pytest.skip("no cgroup v2 can be made here: run as root, or under systemd with Delegate=yes")
    return found


def test_a_cgroup_finds_its_members_and_those_below(sleeper):
    made = cgroups()
    group = made.make(f"neverrest-test-{os.getpid()}")
    below = group / "below"
    below.mkdir()
    first = sleeper(preexec_fn=lambda: cgroup.join(group) or os._exit(1))
    second = sleeper(preexec_fn=lambda: cgroup.join(below) or os._exit(1), start_new_session=True, env={})
    try:
        assert pids(cgroup.members(group)) == {first.pid, second.pid}
        assert made.left(f"neverrest-test-{os.getpid()}") == [group]
        cgroup.remove(group)
        assert group.exists()  # not while somebody lives in it
        (group / "cgroup.kill").write_text("1")
        until(lambda: not cgroup.members(group))
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
        cgroup.remove(group)
    assert not group.exists()
    assert cgroup.members(group) == []


def test_without_cgroups_none_is_made():
    off = cgroup.Cgroups(wanted=False)
    assert (off.usable, off.make("x"), off.left("x")) == (False, None, [])


def test_nothing_is_left_of_the_probe_nor_of_one_whose_supervisor_was_killed_in_it():
    killed = cgroups().make(f"neverrest-probe-{2**22 + 1}")  # above any pid
    running = cgroups().make("neverrest-probe-1")
    left = cgroups().left("neverrest-probe-")
    cgroup.remove(running)
    assert killed not in left
    assert running in left  # another home's jobd may be in its probe now
    assert cgroups().make(f"neverrest-probe-{os.getpid()}") not in left
    cgroup.remove(cgroups().base / f"neverrest-probe-{os.getpid()}")
