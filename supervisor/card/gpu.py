"""What GPU there is and how it is. NVML's calls can hang on a dying card: a process of its own makes them (nvml.py).

`Probe` holds that process: one question at a time, each with a deadline. An answer that does not come is a finding.
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.contract import MARK

DEADLINE_S = 10.0
REAP_S = 0.2
BUS = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"  # PCI vendor id
DISPLAY_CLASS = "0x03"  # PCI base class of VGA and 3D controllers
HOUR_S = 3600


@dataclass(frozen=True)
class Gpu:
    """A card at one moment. None: this card or its driver does not tell.

    state: healthy, no-nvml (no library, or no driver), mismatch (driver and library), lost, reset (is required),
    or hung (no answer). why: NVML's words when it is not healthy.
    """

    state: str
    name: str = ""
    memory_mib: int = 0
    free_mib: int = 0
    why: str = ""
    processes: dict[int, int | None] = field(default_factory=dict)  # who holds how much of its memory: {pid: MiB}
    busy_s: float = 0.0  # since the look before: how long kernels ran ...
    known_s: float = 0.0  # ... of the time that the driver sampled
    power_w: int | None = None
    temperature_c: int | None = None
    throttle: list[str] = field(default_factory=list)  # what holds its clocks down
    xids: list[int] = field(default_factory=list)  # the driver's error codes since the look before
    persistent: bool | None = None  # persistence mode

    @classmethod
    def from_json(cls, text: str | bytes) -> "Gpu":
        """Raises ValueError or TypeError for what is none."""
        told = json.loads(text)
        told["processes"] = {int(pid): mib for pid, mib in told.get("processes", {}).items()}
        return cls(**told)

    @property
    def used_mib(self) -> int:
        return self.memory_mib - self.free_mib

    @property
    def device(self) -> str | None:
        """What `go` names: the card; the CPU where there is none; None where there is one that can't be used."""
        return {"healthy": "cuda:0", "no-nvml": "cpu"}.get(self.state)

    @property
    def health(self) -> str:
        """'61 °C, 285 W, held down by power cap', as far as it is known."""
        words = [] if self.temperature_c is None else [f"{self.temperature_c} °C"]
        words += [] if self.power_w is None else [f"{self.power_w} W"]
        words += [f"held down by {' and '.join(self.throttle)}"] if self.throttle else []
        return ", ".join(words)


class Probe:
    """The process that asks NVML about one card. It is started by the first question, and ends with its answer to the
    last one: when it is closed, when the card is not healthy, or when it did not answer in time."""

    def __init__(self, index: int = 0, deadline_s: float = DEADLINE_S) -> None:
        self.index, self.deadline_s = index, deadline_s
        self.asked_at: float | None = None  # monotonic: of the question under way
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    @property
    def output(self) -> int | None:
        """The descriptor to wait at for an answer; None while nobody is asked."""
        if self._process is None or self._process.stdout is None or self._process.stdout.closed:
            return None
        return self._process.stdout.fileno()

    @property
    def answers_until(self) -> float:
        """Monotonic: when the question under way has had its time."""
        return (self.asked_at or 0.0) + self.deadline_s

    def ask(self, *, closely: bool = False) -> bool:
        """Put a question, unless one is under way. closely: who holds memory is read anew. False when the process
        that hung before is still not gone: the kernel holds it, and another one would only join it."""
        if self.asked_at is not None:
            return True
        if self._process is not None and self.output is None and self._process.poll() is None:
            return False
        if self.output is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self.asked_at = time.monotonic()
        try:
            os.write(self._process.stdin.fileno(), b"closely\n" if closely else b"look\n")
        except BrokenPipeError:
            pass  # the end of its output says so
        return True

    def _start(self) -> None:
        self._said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.card.nvml", str(self.index)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {MARK: "neverrest:gpu"},  # no orphan of any job: no sweep takes it for one
        )  # fmt: skip
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def answer(self) -> Gpu | None:
        """What it found; None while there is no answer yet: nobody is kept waiting."""
        if self.asked_at is None:
            return None
        while piece := self._read():
            self._said += piece
        line, newline, rest = self._said.partition(b"\n")
        if not newline and piece is None and time.monotonic() < self.answers_until:
            return None
        found = self._found(line, whole=bool(newline), ended=piece is not None)
        self.asked_at, self._said = None, rest
        if found.state != "healthy":
            self.close()
        return found

    def has_ended(self) -> bool:
        """Whether its process ended while it was asked nothing, killed perhaps. The next question starts another."""
        if self.asked_at is not None or self.output is None:
            return False
        while piece := self._read():
            self._said += piece
        if piece is None:
            return False
        self.close()
        return True

    def _found(self, line: bytes, *, whole: bool, ended: bool) -> Gpu:
        assert self._process is not None
        if not whole and not ended:
            asker = f"process {self._process.pid}, which asked it, was killed"
            return Gpu("hung", why=f"NVML did not answer within {self.deadline_s:g} s; {asker}")
        try:
            return Gpu.from_json(line)
        except (ValueError, TypeError):
            return Gpu("lost", why="the process that asks NVML ended without an answer")

    def _read(self) -> bytes | None:
        """What has come in; nothing at its end; None when there is nothing yet."""
        if self.output is None:
            return b""
        try:
            return os.read(self.output, 1 << 16)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """End the process. The kernel may keep one that hangs: then whoever waits for children next reaps it."""
        if self._process is None or self.output is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            pass


def probe(deadline_s: float = DEADLINE_S, index: int = 0) -> Gpu:
    """Ask once, and wait for the answer."""
    one = Probe(index, deadline_s)
    found = wait(one)
    one.close()
    return found


def wait(one: Probe) -> Gpu:
    """Ask, and wait for the answer."""
    one.ask()
    while (found := one.answer()) is None:
        time.sleep(0.01)
    return found


def cards() -> list[str]:
    """The PCI addresses of NVIDIA's display controllers, whether a driver has them or not."""
    found = []
    for device in sorted(BUS.glob("*")):
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        if vendor == NVIDIA and kind.startswith(DISPLAY_CLASS):
            found.append(device.name)
    return found


# ── what the queue knows of the card ──────────────────────────────────────────────────────────────────────────────


def last_seen(db: sqlite3.Connection) -> dict[str, Any]:
    """The card as jobd wrote it down a few seconds ago: a Gpu's fields, and `at`. Empty: there is none."""
    row = db.execute("select value from meta where key = 'gpu'").fetchone()
    found: dict[str, Any] = json.loads(row["value"] or "{}") if row else {}
    return found


# ── how long kernels ran, by the driver's samples: the ledger's cross-check ───────────────────────────────────────


def note_use(db: sqlite3.Connection, busy_s: float, known_s: float, *, now: float) -> None:
    """Keep, by the hour, how long kernels ran of the time that was sampled."""
    db.execute(
        "insert into gpu_use (hour, busy_s, known_s) values (?, ?, ?) on conflict (hour)"
        " do update set busy_s = busy_s + excluded.busy_s, known_s = known_s + excluded.known_s",
        (int(now // HOUR_S), busy_s, known_s),
    )


def busy_share(db: sqlite3.Connection, *, since: float, until: float) -> tuple[float, float]:
    """(busy, known) seconds by the driver's samples, of the hours between two moments. Unknown time is not idle time.

    (0.0, 0.0) where there is no GPU, or its driver does not sample.
    """
    row = db.execute(
        "select coalesce(sum(busy_s), 0.0) as busy, coalesce(sum(known_s), 0.0) as known from gpu_use"
        " where hour between ? and ?",
        (int(since // HOUR_S), int(until // HOUR_S)),
    ).fetchone()
    return row["busy"], row["known"]
