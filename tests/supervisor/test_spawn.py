"""A process of ours, from fork to exec."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from supervisor.children import cgroup, spawn


def begin(*argv: str, cwd: str | Path = "/", env: dict[str, str] | None = None, **how) -> spawn.Leader:
    how = {"output": 2, "given": (), "group": None, "has_stdin": False, "before_exec": lambda: None} | how
    return spawn.spawn(argv, cwd=cwd, env=env or {"PATH": os.defpath}, **how)


def ended(leader: spawn.Leader) -> int:
    leader.wait()
    return leader.returncode


@pytest.fixture
def said(tmp_path):
    """A file for what a child prints, and a way to read it."""
    descriptor = os.open(tmp_path / "said", os.O_CREAT | os.O_RDWR)
    yield descriptor, lambda: (tmp_path / "said").read_text()
    os.close(descriptor)


@pytest.fixture
def group():
    cgroups = cgroup.Cgroups()
    if not cgroups.usable:
        pytest.skip("no cgroup v2 that we may write to")
    made = cgroups.make(f"neverrest-spawn-{os.getpid()}")
    yield made
    cgroup.remove(made)


BORN_THERE = """
import os, sys
from pathlib import Path
from supervisor.children import cgroup, spawn
group = Path(sys.argv[1])
try:
    pid = cgroup._clone_into(group)
except OSError as error:
    sys.exit(f"no CLONE_INTO_CGROUP here: {error}")
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
cgroup.join = lambda _: os._exit(1)
leader = spawn.spawn(
    ("cat", "/proc/self/cgroup"), cwd="/", env={"PATH": os.defpath}, output=1, given=(), group=group, has_stdin=False,
    before_exec=lambda: None,
)
leader.wait()
assert leader.returncode == 0
"""


def test_a_child_is_born_in_its_cgroup_not_moved_there(group):
    """A move would hold up every fork and exit on this machine. In a process of one thread, as jobd is."""
    done = subprocess.run([sys.executable, "-c", BORN_THERE, group], capture_output=True, text=True, check=False)
    if "no CLONE_INTO_CGROUP here" in done.stderr:
        pytest.skip(f"a kernel, or a sandbox, that does not: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"/{group.name}")


def test_with_other_threads_nobody_is_born_there(group, said, monkeypatch):
    """The bare call copies one thread: what the others have locked stays locked in the child."""
    monkeypatch.setattr(cgroup, "_clone_into", lambda _: os._exit(1))
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    try:
        assert ended(begin("cat", "/proc/self/cgroup", output=said[0], group=group)) == 0
    finally:
        leave.set()
        other.join()
    assert said[1]().splitlines()[-1].endswith(f"/{group.name}")


def test_where_the_kernel_does_not_know_how_it_is_moved_there(group, said, monkeypatch):
    def unknown(_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(cgroup, "_clone_into", unknown)
    assert ended(begin("cat", "/proc/self/cgroup", output=said[0], group=group)) == 0
    assert said[1]().splitlines()[-1].endswith(f"/{group.name}")


def test_a_cgroup_that_is_gone_does_not_keep_a_job_from_running(tmp_path):
    assert ended(begin("true", group=tmp_path / "gone")) == 0


def test_it_inherits_what_it_is_given_and_nothing_else(said):
    ours = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(ours, True)  # as one that whoever started jobd left open
    read, given = os.pipe()
    names = 'for n in /proc/self/fd/*; do if [ -e "$n" ]; then echo "${n##*/}"; fi; done'
    try:
        assert ended(begin("sh", "-c", names, output=said[0], given=(given,))) == 0
        assert {int(name) for name in said[1]().split()} == {0, 1, 2, given}
    finally:
        for descriptor in (ours, read, given):
            os.close(descriptor)


def test_it_leads_a_session_and_python_s_ignored_signals_are_not_its_own(said):
    leader = begin("sh", "-c", 'echo $$; grep SigIgn /proc/self/status; cut -d" " -f6 /proc/$$/stat', output=said[0])
    assert ended(leader) == 0
    pid, ignored, session = said[1]().splitlines()
    assert pid == session == str(leader.pid)
    assert int(ignored.split()[1], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


def test_it_reads_what_we_write(said):
    leader = begin("cat", output=said[0], has_stdin=True)
    leader.stdin.write(b"a ticket\n")
    leader.stdin.close()
    assert (ended(leader), said[1]()) == (0, "a ticket\n")
    assert ended(begin("cat", output=said[0])) == 0  # without: nothing, and no end to wait for


def our_children() -> set[str]:
    """Their pids, of those not reaped yet too; another test of this process may have left one."""
    return set(Path("/proc/thread-self/children").read_text().split())


@pytest.mark.parametrize(
    ("argv", "cwd", "env", "number", "names"),
    [
        (["no-such-program"], "/", None, 2, "no-such-program"),
        (["/etc/passwd"], "/", None, 13, "/etc/passwd"),
        (["true"], "/no/such/folder", None, 2, "/no/such/folder"),
        (["true"], "/", {"PATH": os.defpath, "A": "zero \0 byte"}, 22, "true"),
    ],
)
def test_what_is_wrong_is_told_by_name_and_nothing_is_left(argv, cwd, env, number, names):
    before, children = set(os.listdir("/proc/self/fd")), our_children()
    with pytest.raises(OSError, match=names) as caught:
        begin(*argv, cwd=cwd, env=env, has_stdin=True)
    assert caught.value.errno == number
    assert not set(os.listdir("/proc/self/fd")) - before
    assert not our_children() - children
