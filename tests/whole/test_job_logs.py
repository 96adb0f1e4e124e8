"""Logs of real jobs under a real jobd: they keep their cap, and who follows one misses no line of it."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from tower import Tower, until

from supervisor.house import logs

MIB = 1 << 20
TALKS = """
import os, sys, time
for n in range(int(sys.argv[1])):
    os.write(1, b"".join(b"line %08d %s\\n" % (k, b"x" * 85) for k in range(n * 2000, n * 2000 + 2000)))
    time.sleep(0.1)
    while not os.path.exists(f"{sys.argv[2]}/heard-{n * 2000 + 1999:08d}"):  # a busy machine: its follower comes first
        time.sleep(0.01)
"""


@pytest.fixture
def small_logs(tower):
    if not logs.can_be_capped(tower.path):
        pytest.skip("the file system of the temporary folder knows no holes in files")
    tower.set(log_mib=1)
    return tower


class Follower:
    """`jobctl logs -f` in a process of its own, read as fast as it talks."""

    def __init__(self, tower: Tower, *words: object) -> None:
        self.said: list[str] = []
        self.folder = tower.path
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", tower.path, "logs", "-f", *map(str, words)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.startswith("line ") and int(line.split()[1]) % 2000 == 1999:
                (self.folder / f"heard-{line.split()[1]}").touch()

    def end(self) -> list[str]:
        assert self.process.wait(60) == 0
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.said


def test_a_job_that_talks_without_end_keeps_its_newest_mib_and_its_follower_hears_every_line(small_logs):
    tower = small_logs
    job = tower.add("command", argv=(sys.executable, "-c", TALKS, 30, tower.path))
    tower.start()
    until(lambda: tower.home.log(job).exists(), "its log")
    follower = Follower(tower, job, "-n", 100_000)
    tower.until(job, "succeeded")
    heard = [line for line in follower.end() if line.startswith("line ")]
    assert [int(line.split()[1]) for line in heard] == list(range(60_000))
    until(lambda: tower.home.log(job).stat().st_blocks * 512 <= 1.2 * MIB, "what is too old was given back")
    assert tower.home.log(job).stat().st_size > 5 * MIB, "nobody's place in it moved"
    shown = tower.ctl("logs", job, "--attempt", 1, "-n", 100_000).splitlines()
    assert shown[-1].startswith("line 00059999 ")
    assert MIB <= sum(len(line) + 1 for line in shown) + 100 <= 1.2 * MIB
    assert "holds nothing of an attempt 2" in tower.ctl("logs", job, "--attempt", 2, code=1)


def test_a_follower_stays_over_a_killed_jobd_and_the_attempts_after_it(tower):
    go = tower.path / "go"
    job = tower.sh(f"echo began; while [ ! -e {go} ]; do sleep 0.02; done; echo ended")
    tower.start()
    until(lambda: tower.home.log(job).exists() and "began" in tower.log(job), "it began")
    follower = Follower(tower, job)
    until(lambda: "began\n" in follower.said, "heard")
    tower.kill_jobd()
    tower.start()
    until(lambda: tower.job(job).attempt == 2 and tower.log(job).count("began") == 2, "it began again")
    go.touch()
    said = follower.end()
    assert said.count("began\n") == 2
    assert said[-1] == "ended\n"
    assert [line.split(" · ")[0] for line in said if line.startswith("──")] == ["── attempt 1", "── attempt 2"]


def test_nothing_a_job_prints_reaches_the_terminal_of_a_follower_as_a_control(tower):
    job = tower.add("command", argv=(sys.executable, "-c", r"""
import os, time
for piece in (b"\x1b", b"[2J\xc2", b"\x9b31m", b"50%\r", b"\n", b"\xe2\x80", b"\xaeevil\x07\n"):
    os.write(1, piece)
    time.sleep(0.05)
"""))  # fmt: skip
    tower.start()
    until(lambda: tower.home.log(job).exists(), "its log")
    said = "".join(Follower(tower, job).end())
    assert all(c.isprintable() or c in "\n\t" for c in said)
    assert "50%\n" in said
    assert "evil" in said


def test_wait_listens_for_events_and_hears_of_the_end(tower):
    job = tower.add("sleep", "--in", "1h")
    waits = subprocess.Popen([sys.executable, "-P", "-m", "supervisor.jobctl", "-C", tower.path, "wait", str(job)])
    try:
        until(lambda: "inotify" in "".join(_descriptors(waits.pid)), "it listens")
        tower.ctl("cancel", job)
        assert waits.wait(60) == 1
    finally:
        if waits.poll() is None:
            waits.send_signal(signal.SIGKILL)
            waits.wait()


def _descriptors(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass  # closed since we listed them
    return found
