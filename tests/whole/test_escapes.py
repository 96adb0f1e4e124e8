"""However a process gets away from its job, it is gone before the next job starts."""

import os
import signal
import sys
from pathlib import Path

import pytest
from tower import Tower, until

from supervisor.children import cgroup, tree

LEADER = '''
"""leader.py PIDS END WAY..: start a straggler in each way, then end."""
import multiprocessing, os, signal, subprocess, sys, time

def stay(way, pids):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{pids}/{way}.tmp", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{pids}/{way}.tmp", f"{pids}/{way}")
    time.sleep(600)
    os._exit(0)

def again(way, pids):
    return [sys.executable, "-S", __file__, pids, "stay", way]

def fork(way, pids):
    if os.fork() == 0:
        stay(way, pids)

def fork_setsid(way, pids):
    if os.fork() == 0:
        os.setsid()
        stay(way, pids)

def popen(way, pids):
    subprocess.Popen(again(way, pids))

def popen_new_session(way, pids):
    subprocess.Popen(again(way, pids), start_new_session=True)

def double_fork_empty_env(way, pids):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, again(way, pids), {})
        os._exit(0)

def spawn(way, pids):
    multiprocessing.get_context("spawn").Process(target=stay, args=(way, pids)).start()

def nohup(way, pids):
    subprocess.Popen(["nohup", *again(way, pids)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

def closed_fds(way, pids):
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 1024)
        stay(way, pids)

def closed_fds_empty_env(way, pids):
    """Closes every descriptor, clears its environment, leaves its session and its parent."""
    if os.fork() == 0:
        subprocess.Popen(again(way, pids), start_new_session=True, env={})
        os._exit(0)

if __name__ == "__main__":
    _, pids, end, *ways = sys.argv
    if end == "stay":
        stay(ways[0], pids)
    for way in ways:
        globals()[way](way, pids)
    while len([name for name in os.listdir(pids) if not name.endswith(".tmp")]) < len(ways):
        time.sleep(0.01)
    open(f"{pids}/all.tmp", "w").close()
    if end == "exits":
        os._exit(0)
    if end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
'''

HANDLES = ("mark", "lane lock", "limit", "subreaper", "cgroup")
SEEN = {  # each way, and the handles that still see it when the job's leader is gone
    "fork": {"mark", "lane lock", "limit", "subreaper", "cgroup"},
    "fork_setsid": {"mark", "lane lock", "limit", "subreaper", "cgroup"},
    "popen": {"mark", "limit", "subreaper", "cgroup"},
    "popen_new_session": {"mark", "limit", "subreaper", "cgroup"},
    "double_fork_empty_env": {"lane lock", "limit", "subreaper", "cgroup"},
    "spawn": {"mark", "limit", "subreaper", "cgroup"},
    "nohup": {"mark", "limit", "subreaper", "cgroup"},
    "closed_fds": {"mark", "limit", "subreaper", "cgroup"},
    "closed_fds_empty_env": {"limit", "subreaper", "cgroup"},
}
WAYS = tuple(SEEN)

LOOK = """
import os, sys
for way in os.listdir(sys.argv[1]):
    if not way.endswith(".tmp"):
        try:
            state = open(f"/proc/{open(f'{sys.argv[1]}/{way}').read()}/stat").read().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            print("ALIVE", way)
print("looked")
"""


def start_stragglers(tower: Tower, end: str, *ways: str) -> Path:
    """Queue a job that leaves stragglers behind, then ends as told. The folder where their pids lie."""
    script, pids = tower.path / "leader.py", tower.path / "pids"
    script.write_text(LEADER)
    pids.mkdir()
    tower.add("command", argv=(sys.executable, "-S", script, pids, end, *ways))
    return pids


def alive(tower: Tower, pids: Path) -> list[str]:
    """Run a job that looks for stragglers as soon as it starts. The ways by which some still live."""
    look = tower.add("command", "--priority", 5, argv=(sys.executable, "-S", "-c", LOOK, pids))
    if tower.jobd is None or tower.jobd.poll() is not None:
        tower.start()
    tower.until(look, "succeeded")
    said = tower.log(look).splitlines()
    assert "looked" in said
    return [line.split()[1] for line in said if line.startswith("ALIVE")]


def with_cgroups(tower: Tower, wanted: bool) -> None:
    if wanted and not cgroup.Cgroups().usable:
        pytest.skip("no cgroup v2 can be made here: run as root, or under systemd with Delegate=yes")
    tower.set(cgroups=wanted, grace_s=0.3)


cgroups_or_not = pytest.mark.parametrize("cgroups", [True, False], ids=["cgroups", "no cgroups"])


@cgroups_or_not
@pytest.mark.parametrize("end", ["exits", "killed"])
def test_no_straggler_outlives_its_job(tower, cgroups, end):
    with_cgroups(tower, cgroups)
    pids = start_stragglers(tower, end, *WAYS)
    tower.start()
    until((pids / "all.tmp").exists)
    assert alive(tower, pids) == []


@cgroups_or_not
def test_no_straggler_outlives_a_job_whose_supervisor_was_killed(tower, cgroups):
    with_cgroups(tower, cgroups)
    pids = start_stragglers(tower, "stays", *WAYS)
    tower.start()
    until((pids / "all.tmp").exists)
    tower.kill_jobd()
    assert alive(tower, pids) == []


def test_each_handle_sees_the_escapes_that_it_is_said_to_see(tower):
    """The table of docs/decisions/0012, looked up in the kernel while jobd stands still and the leader is gone."""
    with_cgroups(tower, True)
    pids = start_stragglers(tower, "stays", *WAYS)
    tower.start()
    until((pids / "all.tmp").exists)
    group = next(iter(cgroup.Cgroups().left(f"neverrest-{tower.home_id}-1-")))
    os.kill(tower.jobd.pid, signal.SIGSTOP)
    (leader,) = [p for p in tree.marked(f"{tower.home_id}:") if p.parent == tower.jobd.pid]
    leader.kill(signal.SIGKILL)
    until(lambda: tree.read(leader.pid) is None)
    seen = {
        "mark": tree.marked(f"{tower.home_id}:"), "lane lock": tree.holders(tower.home.lane_lock("gpu")),
        "limit": tree.limited(tower.home_id), "cgroup": cgroup.members(group),
        "subreaper": [process for process in tree.everyone() if process.parent == tower.jobd.pid],
    }  # fmt: skip
    by_pid = {handle: {process.pid for process in seen[handle]} for handle in HANDLES}
    found = {}
    for way in WAYS:
        pid = int((pids / way).read_text())
        found[way] = {handle for handle in HANDLES if pid in by_pid[handle]}
        print(f"{way:22}", *(f"{handle if handle in found[way] else '-':10}" for handle in HANDLES))
    os.kill(tower.jobd.pid, signal.SIGCONT)
    assert found == SEEN
    assert alive(tower, pids) == []


@cgroups_or_not
@pytest.mark.parametrize("way", ["popen_new_session", "closed_fds_empty_env"])
def test_a_stopped_straggler_is_swept_too(tower, cgroups, way):
    with_cgroups(tower, cgroups)
    pids = start_stragglers(tower, "stays", way)
    tower.start()
    until((pids / "all.tmp").exists)
    os.kill(int((pids / way).read_text()), signal.SIGSTOP)
    tower.ctl("cancel", 1)
    tower.until(1, "cancelled")
    assert alive(tower, pids) == []


@cgroups_or_not
def test_what_a_job_on_the_gpu_has_started_outlives_the_end_of_a_cpu_job(tower, cgroups):
    """Where nothing tells whose it is, it is the GPU lane's."""
    with_cgroups(tower, cgroups)
    pids = start_stragglers(tower, "stays", "closed_fds_empty_env")
    tower.start()
    until((pids / "all.tmp").exists)
    tower.until(tower.sh("true", "--lane", "cpu"), "succeeded")
    assert tree.read(int((pids / "closed_fds_empty_env").read_text())) is not None
    tower.ctl("cancel", 1)
    assert alive(tower, pids) == []


@cgroups_or_not
def test_what_a_job_on_the_gpu_has_started_outlives_a_standby_that_is_sent_away(tower, cgroups):
    with_cgroups(tower, cgroups)
    tower.set(cgroups=cgroups, grace_s=0.3, standby=True)
    pids = start_stragglers(tower, "stays", "closed_fds_empty_env")
    tower.start()
    until((pids / "all.tmp").exists)
    waits = tower.sh("true")
    until(lambda: tree.marked(f"{tower.home_id}:{waits}:"), "it stands by")
    tower.ctl("cancel", waits)
    until(lambda: not tree.marked(f"{tower.home_id}:{waits}:"), "it was sent away")
    tower.until(tower.sh("true", "--lane", "cpu"), "succeeded")  # its end is seen after that of the standby
    assert tree.read(int((pids / "closed_fds_empty_env").read_text())) is not None
    tower.ctl("cancel", 1)
    assert alive(tower, pids) == []


def test_no_cgroup_is_left_behind(tower):
    with_cgroups(tower, True)
    pids = start_stragglers(tower, "killed", *WAYS)
    tower.start()
    until((pids / "all.tmp").exists)
    assert alive(tower, pids) == []
    tower.ctl("cancel", 1)
    tower.stop_jobd()
    assert cgroup.Cgroups().left(f"neverrest-{tower.home_id}-") == []


def test_a_job_of_another_home_is_let_alone(tower, tmp_path):
    other = Tower(tmp_path / "other")
    try:
        stays = other.sh("exec sleep 600")
        other.start()
        other.until(stays, "running")
        pids = start_stragglers(tower, "killed", *WAYS)
        tower.start()
        until((pids / "all.tmp").exists)
        assert alive(tower, pids) == []
        tower.kill_jobd()
        tower.start()
        tower.until(tower.sh("true", "--priority", 9), "succeeded")
        assert other.job(stays).state == "running"
        assert other.job(stays).attempt == 1
    finally:
        other.sweep()


def test_one_that_only_looks_at_the_lane_lock_is_let_alone(tower):
    tower.serve()
    (tower.path / "lanes").mkdir(exist_ok=True)
    with open(tower.home.lane_lock("gpu"), "a"):
        assert tree.holders(tower.home.lane_lock("gpu")) == []
        job = tower.sh("true")
        tower.serve()
    assert tower.job(job).state == "succeeded"
