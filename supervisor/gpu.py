"""What GPU there is, behind one function. NVML's calls can hang on a dying card: they run in a disposable process.

`python -m supervisor.gpu` is that process: one JSON object on its output, then it ends.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.contract import MARK

DEADLINE_S = 10.0
REAP_S = 0.2
BUS = Path("/sys/bus/pci/devices")
NVIDIA = "0x10de"  # PCI vendor id
DISPLAY_CLASS = "0x03"  # PCI base class of VGA and 3D controllers


@dataclass(frozen=True)
class Gpu:
    """state: healthy, no-nvml (no library, or no driver), mismatch (driver and library), lost, or hung."""

    state: str
    name: str = ""
    memory_mib: int = 0
    free_mib: int = 0
    why: str = ""

    @property
    def device(self) -> str | None:
        """What `go` names: the card; the CPU where there is none; None where there is one that can't be used."""
        return {"healthy": "cuda:0", "no-nvml": "cpu"}.get(self.state)


class Look:
    """One question to NVML, under way in a process of its own. Unanswered in time is a finding: the state is `hung`."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self._deadline_s, self._until = deadline_s, time.monotonic() + deadline_s
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.gpu"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {MARK: "neverrest:gpu"},  # no orphan of any job: no sweep takes it for one
        )  # fmt: skip
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._said = b""

    def answer(self) -> Gpu | None:
        """What it found; None while it is still asking: nobody is kept waiting."""
        while piece := self._read():
            self._said += piece
        if piece is None and time.monotonic() < self._until:
            return None
        if piece is None:
            self._process.kill()
        self._output.close()
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            pass  # the kernel holds it; whoever waits for children next takes it
        if piece is None:
            return Gpu("hung", why=f"NVML did not answer within {self._deadline_s:.0f} s")
        try:
            return Gpu(**json.loads(self._said))
        except (ValueError, TypeError):
            return Gpu("lost", why="the process that asks NVML ended without an answer")

    def _read(self) -> bytes | None:
        """What has come in; nothing at its end; None when there is nothing yet."""
        try:
            return os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return None


def probe(deadline_s: float = DEADLINE_S) -> Gpu:
    """Ask, and wait for the answer."""
    look = Look(deadline_s)
    while (found := look.answer()) is None:
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


def ask() -> Gpu:
    """The first GPU, asked in this process."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError as error:
        absent = (
            pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
            pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
            pynvml.NVML_ERROR_NOT_FOUND,
            pynvml.NVML_ERROR_INVALID_ARGUMENT,  # no card with index 0
        )
        mismatch = error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        return Gpu("no-nvml" if error.value in absent else "mismatch" if mismatch else "lost", why=str(error))
    return Gpu("healthy", name, memory.total >> 20, memory.free >> 20)


if __name__ == "__main__":
    print(json.dumps(asdict(ask())))
