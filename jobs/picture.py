"""The picture of a run, drawn beside the training: matplotlib in a process of its own, never two at once.

It is there to be looked at. One that can't be drawn is said, and ends no training.
"""

import subprocess
import sys
import time

from jobs.contract import Run

LAST_S = 60.0  # how long the last picture may take


class Picture:
    """HOME/runs/<id>/monitor.png, drawn again every so often while the run goes on."""

    def __init__(self, job: Run, every_s: float) -> None:
        self.job = job
        self.command = [
            sys.executable,
            "-P",
            "-m",
            "gpt.plot",
            str(job.workdir),
            "--reports",
            str(job.home / "reports"),
        ]
        self.every_s = every_s
        self._due = time.monotonic() + min(every_s, 5.0)  # the first one soon: a run is most looked at as it begins
        self._drawing: subprocess.Popen[bytes] | None = None

    def draw_if_due(self) -> None:
        """Start drawing when it is time and the one before is done. Returns at once."""
        if time.monotonic() >= self._due and (self._drawing is None or self._drawing.poll() is not None):
            self._due = time.monotonic() + self.every_s
            try:
                self._drawing = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
            except OSError as error:  # no room for another process
                self.job.note(f"the picture could not be drawn: {error}")

    def draw_last(self) -> None:
        """Draw now and wait for it: the run is over, the picture says all of it."""
        self.stop()
        try:
            subprocess.run(self.command, stdin=subprocess.DEVNULL, timeout=LAST_S, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.job.note(f"the last picture could not be drawn: {error}")

    def stop(self) -> None:
        """Leave no process behind; a picture that was half drawn is not seen."""
        if self._drawing is not None:
            self._drawing.kill()
            self._drawing.wait()
            self._drawing = None
