"""What supervisor and child promise each other. Standard library only: both sides read it first.

The child is `python -m jobs`. One JSON line on its stdin is the ticket: what to run, as which attempt. It warms up
without the GPU, reports `ready`, and waits. A second line, `go`, names the device, and what of its memory is not for
this job. From then on it works, and reports upward, a JSON line each, on a pipe of its own: `progress`, `submit` (a
follow-up job), `note`. What it prints goes to the job's log: libraries print.

SIGTERM, and stdin closed (the supervisor is gone), both mean: save and leave. The exit code is the verdict.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXIT_DONE = 0
EXIT_BAD_ARGS = 64  # never retry: sysexits.h EX_USAGE
EXIT_OUT_OF_MEMORY = 71  # of GPU memory: EX_OSERR
EXIT_UNFINISHED = 75  # saved; run me again, blameless: EX_TEMPFAIL

MARK = "NEVERREST_JOB"  # in every child's environment: <home id>:<job>:<attempt>, inherited by its whole tree
REPORT_FD = "NEVERREST_REPORT_FD"  # any program, in any language, may write report lines to this descriptor
PROGRESS_EVERY_S = 0.2
RESERVE_MIB = 1024  # of the GPU's memory that is left to others, where nobody says
TICKET = "ticket.json"  # in the workdir: a ticket that is too long for the pipe
MOST_IN_PIPE = 2048  # bytes; a pipe holds at least 4096, so that nobody waits for a child that does not read


class BadArgs(Exception):
    """The args can never work. Told to a person: what we got, what we take, what to do. Exit 64."""


class Unfinished(Exception):
    """Saved, not finished: run me again. Blameless. Exit 75."""


class OutOfGpuMemory(Exception):
    """The GPU had too little memory for this. Blamed, but the next attempt may be made smaller. Exit 71."""


class InputPath(str):
    """A file or folder of the user's. Args hold it absolute: `jobctl add` resolves it against its working directory."""


class HomePath(str):
    """A path inside the home, relative to it. Absolute paths and `..` are refused before the job is queued."""


@dataclass(frozen=True)
class Ticket:
    """What to run, as which attempt, and where."""

    id: int
    attempt: int
    kind: str
    args: dict[str, Any]
    home: str
    workdir: str
    lane_lock: str | None = None  # the file to flock at `go`, before the GPU is touched; the tree inherits it

    def to_line(self) -> bytes:
        """The line for the child's stdin. A long ticket lies in the workdir, and the line says where.

        Raises OSError where it can't be written there.
        """
        line = json.dumps(asdict(self)).encode() + b"\n"
        if len(line) <= MOST_IN_PIPE:
            return line
        path = os.path.join(self.workdir, TICKET)
        with open(os.open(f"{path}.new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(line)
        os.replace(f"{path}.new", path)
        return json.dumps({"at": path}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Ticket":
        told = json.loads(line)
        return cls(**(json.loads(Path(told["at"]).read_bytes()) if set(told) == {"at"} else told))


def inside(home: Path, path: str) -> Path:
    """HOME/path, or BadArgs when it would lead out of the home."""
    if not path or os.path.isabs(path) or ".." in Path(path).parts:
        raise BadArgs(f"{path!r} is not a path inside the home: take one like 'packs/demo', without a leading / or ..")
    return home / path


class Run:
    """One attempt, as a kind sees it: where to work, whom to tell, when to leave.

    reports: descriptor of the report pipe, or None (a test, or a run by hand).
    """

    def __init__(self, ticket: Ticket, reports: int | None = None, device: str = "cpu") -> None:
        self.id = ticket.id
        self.attempt = ticket.attempt
        self.home = Path(ticket.home)
        self.workdir = Path(ticket.workdir)
        self.device = device
        self.reserve_mib = RESERVE_MIB  # of the GPU's memory, left to others
        self.vram_mib: int | None = None  # the most its user lets it hold; none: what is free beside the reserve
        self.stop_requested = False  # set by SIGTERM, or by stdin closing; a kind looks at it often
        self._reports = reports
        self._next_progress = 0.0
        self._unsent: dict[str, Any] | None = None  # progress that waits for its turn
        self.sent: list[dict[str, Any]] = []  # what was reported while there was no pipe
        self.submitted: list[dict[str, Any]] = []  # by this attempt: a supervisor that died may not have read them

    def take(self, go: Mapping[str, Any]) -> None:
        """What `go` says. An older supervisor says less."""
        self.device = go["device"]
        self.reserve_mib = go.get("reserve_mib", self.reserve_mib)
        self.vram_mib = go.get("vram_mib")

    def path(self, path: str) -> Path:
        """A path inside the home. Raises BadArgs when it would lead out of it."""
        return inside(self.home, path)

    def stop_if_asked(self) -> None:
        """Raise Unfinished when told to leave. Call it where nothing is half done."""
        if self.stop_requested:
            raise Unfinished

    def progress(self, done: float, total: float, unit: str = "", **metrics: float | None) -> None:
        """Work done so far that was never done before. Cheap to call: at most five reports a second leave."""
        now = time.monotonic()
        self._unsent = {"done": done, "total": total, "unit": unit, "metrics": metrics}
        if now >= self._next_progress or done >= total:
            self._next_progress = now + PROGRESS_EVERY_S
            self.flush()

    def flush(self) -> None:
        """Send the newest progress, if it has waited. Called when the child leaves: its last word must not be lost."""
        if self._unsent is not None:
            unsent, self._unsent = self._unsent, None
            self._send("progress", **unsent)

    def submit(
        self,
        kind: str,
        args: Mapping[str, Any],
        *,
        key: str,
        name: str | None = None,
        priority_above: int = 0,
        after: tuple[str, ...] = (),
    ) -> None:
        """Queue a follow-up job, once: the same key again changes nothing, so a resumed job may say it again.

        priority_above: added to this job's own priority. after: keys of jobs that must succeed first.
        """
        job: dict[str, Any] = {"kind": kind, "args": dict(args), "key": key, "name": name}
        job |= {"priority_above": priority_above, "after": list(after)}
        self.submitted.append(job)
        self._send("submit", **job)

    def note(self, text: str) -> None:
        """One sentence for the person who reads `jobctl show`."""
        self._send("note", text=text)

    def _send(self, what: str, **fields: Any) -> None:
        if self._reports is None:
            self.sent.append({"report": what, **fields})
            return
        line = json.dumps({"report": what, **fields}).encode() + b"\n"
        try:
            while line:  # a pipe takes large lines in pieces
                line = line[os.write(self._reports, line) :]
        except BrokenPipeError:
            self.stop_requested = True  # the supervisor is gone; what is being saved is saved all the same
