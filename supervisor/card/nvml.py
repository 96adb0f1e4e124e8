"""The process that asks NVML, for as long as it answers. NVML's calls can hang on a dying card: only this one hangs.

`python -m supervisor.card.nvml INDEX`: each line on its stdin is a question; each gets one line of JSON, a gpu.Gpu. The
first loss of the card ends it: the next process finds out anew what there is. It knows no jobs and no queue.
"""

import functools
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pynvml

from supervisor.card.gpu import Gpu
from supervisor.children import tree

SLOW_EVERY_S = 5.0  # temperature and the ring of samples: they cost more, and change less
PROCESSES_EVERY_S = 10.0  # 4.5 ms under the driver's global lock (docs/decisions/0009) ...
PROCESSES_AT_MIB = 16  # ... so else only when the used memory moved by so much
MOST_XIDS = 16  # in one answer
MOST_PROCESSES = 64  # named in an answer: the biggest
UTILISATION_SAMPLES = 1  # NVML_GPU_UTILIZATION_SAMPLES
ABSENT = (
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,  # no card with this index
)
STATES = {
    **dict.fromkeys(ABSENT, "no-nvml"),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "mismatch",
    pynvml.NVML_ERROR_RESET_REQUIRED: "reset",
}
THROTTLES = {  # why the clocks are held down. Idle, and clocks somebody set, are no reason to worry.
    0x04: "power cap", 0x08: "hardware slowdown", 0x20: "too hot", 0x40: "too hot (hardware)", 0x80: "power brake",
}  # fmt: skip


class Card:
    """One card, and what was last read of it that need not be read every time."""

    def __init__(self, index: int) -> None:
        """Raises NVMLError when there is none, or it can't be used."""
        pynvml.nvmlInit()
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        self.name = str(pynvml.nvmlDeviceGetName(self.handle))
        self.persistent = _known(lambda: bool(pynvml.nvmlDeviceGetPersistenceMode(self.handle)))
        self.events = _known(self._listen)
        self.ring = Ring(self.handle)
        self.slow_at = self.processes_at = 0.0
        self.listed_mib = -PROCESSES_AT_MIB
        self.processes: dict[int, int | None] = {}
        self.temperature_c: int | None = None
        self.xids: list[int] = []

    def look(self, *, closely: bool = False) -> Gpu:
        """How it is now. closely: the processes are read, whatever it costs. Raises NVMLError when it is lost."""
        now, self.xids = time.monotonic(), self._xids()  # first: a card's last words say why it is lost
        total_mib, used_mib = self._memory()
        moved = abs(used_mib - self.listed_mib) >= PROCESSES_AT_MIB
        if closely or moved or now >= self.processes_at:
            self.processes_at, self.listed_mib = now + PROCESSES_EVERY_S, used_mib
            self.processes = self._processes()
        if now >= self.slow_at:
            self.slow_at = now + SLOW_EVERY_S
            self.temperature_c = _known(lambda: int(pynvml.nvmlDeviceGetTemperature(self.handle, 0)))
            self.ring.read(now)
        busy_s, known_s = self.ring.take()
        power_mw = _known(lambda: int(pynvml.nvmlDeviceGetPowerUsage(self.handle)))
        return Gpu(
            "healthy", self.name, total_mib, total_mib - used_mib, processes=self.processes,
            busy_s=busy_s, known_s=known_s, power_w=None if power_mw is None else round(power_mw / 1000),
            temperature_c=self.temperature_c, throttle=self._throttle(), xids=self.xids, persistent=self.persistent,
        )  # fmt: skip

    def _memory(self) -> tuple[int, int]:
        """Total and used, in MiB. The driver's own part is used: nobody can have it."""
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self.handle, version=pynvml.nvmlMemory_v2)
            return memory.total >> 20, (memory.total - memory.free) >> 20
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
            memory = pynvml.nvmlDeviceGetMemoryInfo(self.handle)
            return memory.total >> 20, (memory.total - memory.free) >> 20

    def _processes(self) -> dict[int, int | None]:
        """Who holds memory of it: {pid: MiB}, the biggest first; None where the driver does not say how much."""
        found: dict[int, int | None] = {}
        for ask in (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in _known(functools.partial(ask, self.handle)) or ():
                mib = None if process.usedGpuMemory is None else process.usedGpuMemory >> 20
                found[process.pid] = max(mib or 0, found.get(process.pid) or 0) or mib  # some are in both lists
        biggest = sorted(found, key=lambda pid: found[pid] or 0, reverse=True)[:MOST_PROCESSES]
        return {pid: found[pid] for pid in biggest}

    def _throttle(self) -> list[str]:
        held = _known(lambda: int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(self.handle)))
        if held is None:  # its older name
            held = _known(lambda: int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(self.handle)))
        return [word for bit, word in THROTTLES.items() if (held or 0) & bit]

    def _listen(self) -> Any:
        events = pynvml.nvmlEventSetCreate()
        pynvml.nvmlDeviceRegisterEvents(self.handle, pynvml.nvmlEventTypeXidCriticalError, events)
        return events

    def _xids(self) -> list[int]:
        """The Xid errors since the last look. Asked without waiting: they wait for us."""
        found: list[int] = []
        try:
            while self.events is not None and len(found) < MOST_XIDS:
                found.append(int(pynvml.nvmlEventSetWait_v2(self.events, 0).eventData))
        except pynvml.NVMLError:
            pass  # no more of them; or the card is gone, and the next call says so
        return found


class Ring:
    """How long kernels ran, by the driver's own ring of samples: denser than anybody could ask."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.newest_us = 0  # the driver's clock, whichever it is
        self.read_at: float | None = None
        self.busy_s = self.known_s = 0.0

    def read(self, now: float) -> None:
        """Take in what came since the last time. What nobody sampled is not known, and not idle."""
        try:
            _, samples = pynvml.nvmlDeviceGetSamples(self.handle, UTILISATION_SAMPLES, self.newest_us)
        except (pynvml.NVMLError_NotFound, pynvml.NVMLError_NoData):
            self._read_dry(now)
        except pynvml.NVMLError as error:
            _raise_if_gone(error)
        else:
            if not self.newest_us:  # what was before us is not ours to tell
                samples = samples[-1:]
            times = [sample.timeStamp for sample in samples]
            busy_s, known_s = busy_of(times, [sample.sampleValue.uiVal for sample in samples], self.newest_us)
            self.busy_s, self.known_s = self.busy_s + busy_s, self.known_s + known_s
            self.newest_us = max([*times, self.newest_us])
        self.read_at = now

    def _read_dry(self, now: float) -> None:
        """An idle card stops sampling: that is idle time, if the driver says 0 % as well."""
        rates = _known(lambda: pynvml.nvmlDeviceGetUtilizationRates(self.handle))
        if self.read_at is not None and rates is not None and rates.gpu == 0:
            self.known_s += now - self.read_at

    def take(self) -> tuple[float, float]:
        """(busy, known) seconds since it was last asked."""
        taken = (self.busy_s, self.known_s)
        self.busy_s = self.known_s = 0.0
        return taken


def busy_of(times_us: list[int], percents: list[int], since_us: int) -> tuple[float, float]:
    """(busy, known) seconds of samples, each of which stands for the time since the one before.

    since_us: the newest sample of the last time; 0 when there was none. A gap of three times the median is not known.
    """
    order = sorted(zip(times_us, percents, strict=True))
    before = [since_us, *(at for at, _ in order)] if since_us else [at for at, _ in order]
    ended = order if since_us else order[1:]
    steps = [(at - earlier, percent) for earlier, (at, percent) in zip(before, ended, strict=False)]
    if not steps:
        return 0.0, 0.0
    longest = 3 * statistics.median(step for step, _ in steps)
    kept = [(step, percent) for step, percent in steps if 0 < step <= longest]
    return sum(step * min(percent, 100) / 100 for step, percent in kept) / 1e6, sum(step for step, _ in kept) / 1e6


def _known(ask: Callable[[], Any]) -> Any:
    """The answer; None for what this card or driver can't tell. Raises NVMLError when the card itself is gone."""
    try:
        return ask()
    except pynvml.NVMLError as error:
        _raise_if_gone(error)
        return None


def _raise_if_gone(error: pynvml.NVMLError) -> None:
    if error.value in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_UNKNOWN):
        raise error


def state_of(error: pynvml.NVMLError, xids: list[int]) -> Gpu:
    """What an error says of the card. xids: what its driver said before it."""
    return Gpu(STATES.get(error.value, "lost"), why=str(error), xids=xids)


def main() -> None:
    """Answer until nobody asks any more, or the card is gone."""
    tree.die_with_parent(signal.SIGKILL)  # in a call that hangs nobody reads the end of stdin
    card: Card | None = None
    for question in iter(sys.stdin.readline, ""):
        try:
            card = card or Card(int(sys.argv[1]))
            found = card.look(closely=question.strip() == "closely")
        except pynvml.NVMLError as error:
            found = state_of(error, card.xids if card else [])
        os.write(1, json.dumps(asdict(found)).encode() + b"\n")
        if found.state != "healthy":
            return


if __name__ == "__main__":
    main()
