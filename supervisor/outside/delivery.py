"""A message under way: deliver.py in a process of its own, started, listened to, and ended when its time is over."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from jobs.contract import MARK

DEADLINE_S = 75.0  # for all ways: each has a shorter one of its own
REAP_S = 0.2


class Delivery:
    """A message under way, in a process of its own. ids: by each way, the notices in it."""

    def __init__(self, told: dict[str, Any], ids: dict[str, list[int]]) -> None:
        self.ids, self._said = ids, b""
        self._ended: dict[str, str | None] | None = None
        self._until = time.monotonic() + DEADLINE_S
        given = os.memfd_create("notice")  # a pipe would hold up the loop when the message is long
        try:
            os.write(given, json.dumps(told).encode())
            os.lseek(given, 0, os.SEEK_SET)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor.outside.deliver"],
                stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | {MARK: "neverrest:notice"},  # no orphan of any job: no sweep takes it for one
            )  # fmt: skip
        finally:
            os.close(given)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)

    def ended(self) -> dict[str, str | None] | None:
        """By each way: None when it got out, else why not. None while it is under way. May be asked again."""
        if self._ended is not None:
            return self._ended
        while piece := self._read():
            self._said += piece
        if piece is None and time.monotonic() < self._until:
            return None
        self.stop()
        self._ended = dict.fromkeys(self.ids, "no answer in time")
        for line in self._said.splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue  # it was killed in the middle of a word
            self._ended[said["way"]] = said["error"]
        return self._ended

    def stop(self) -> None:
        """Its time is over, or its work is done."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            pass  # the kernel holds it; whoever waits for children next takes it

    def _read(self) -> bytes | None:
        """What has come in; nothing at its end; None when there is nothing yet."""
        try:
            return os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return None
