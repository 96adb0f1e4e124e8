"""What asks whether programs can be held dies with whoever asked: as a copy of jobd it would hold the home's lock."""

import subprocess
import sys

from tower import until

from supervisor.children import tree

KILLED_WHILE_IT_ASKS = """
import os, signal
from supervisor.children import held
held._wait_until_held = lambda pid: os.kill(os.getpid(), signal.SIGKILL)
held.can_hold()
"""


def test_nobody_stays_stopped_for_ever_when_jobd_is_killed_while_it_asks():
    for n in range(5):
        mark = f"asks:{n}"
        asks = [sys.executable, "-P", "-c", KILLED_WHILE_IT_ASKS]
        assert subprocess.run(asks, env={"NEVERREST_JOB": mark}, check=False).returncode == -9
        until(lambda: not tree.marked(mark), "its copy is gone")  # noqa: B023
