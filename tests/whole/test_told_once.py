"""Who is told to leave is told once: a second SIGTERM ends what a program has started in order to save."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TRAINER = """
trap 'sleep 1; echo saved >> log; exit 75' TERM
echo began >> log
while :; do sleep 0.02; done
"""
ENV = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}


class House:
    """A home and its jobd."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.jobd: subprocess.Popen[bytes] | None = None
        self.jobctl("init")

    def jobctl(self, *words: str) -> str:
        command = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(self.home), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=self.home).stdout.strip()

    def serve(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(self.home)]
        self.jobd = subprocess.Popen(command, env=ENV, stderr=subprocess.DEVNULL)
        return self.jobd

    def job(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.jobctl("--json", "show", "1"))
        return found

    def said(self, word: str) -> int:
        log = self.home / "log"
        return log.read_text().split().count(word) if log.exists() else 0

    def leader(self) -> int:
        """The pid of the running job, from its log's newest mark."""
        marks = [line for line in (self.home / "runs/1/log").read_text().splitlines() if line.startswith("── attempt")]
        return int(marks[-1].split("pid ")[1].split()[0])


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    assert house.jobd is not None
    house.jobd.send_signal(signal.SIGCONT)
    house.jobd.terminate()
    house.jobd.wait(30)


def wait(for_what: str, look: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not look():
        assert time.monotonic() < until, f"waited 30 s for {for_what}"
        time.sleep(0.02)


def test_a_new_supervisor_lets_a_program_finish_the_save_it_has_begun(house: House) -> None:
    jobd = house.serve()
    house.jobctl("add", "command", "--", "/bin/sh", "-c", TRAINER)
    wait("the trainer", lambda: house.said("began") == 1)
    killed_at = time.monotonic()
    jobd.kill()
    jobd.wait()
    time.sleep(0.3)  # it is saving by now: its death was told by the kernel
    house.serve()
    wait("the save", lambda: house.said("saved"))
    assert time.monotonic() - killed_at >= 1, "what it started in order to save was ended"
    wait("the next attempt", lambda: house.said("began") == 2)
    assert house.said("saved") == 1
    assert house.job()["failures"] == 0


def test_a_program_that_is_told_together_with_its_supervisor_is_not_to_blame(house: House) -> None:
    """As `systemctl kill` and a log-out do it: the program is dead before jobd looks."""
    jobd = house.serve()
    house.jobctl("add", "command", "--", "/bin/sh", "-c", "echo began >> log; exec sleep 1000")
    wait("the program", lambda: house.said("began") == 1)
    jobd.send_signal(signal.SIGSTOP)
    jobd.terminate()
    os.kill(house.leader(), signal.SIGTERM)
    wait("its end", lambda: _is_zombie(house.leader()))
    jobd.send_signal(signal.SIGCONT)
    assert jobd.wait(30) == 0
    found = house.job()
    assert (found["state"], found["failures"], found["error"]) == ("queued", 0, None)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
