"""What GPU there is, behind one function. NVML's calls can hang on a dying card: they run in a disposable process.

`python -m supervisor.gpu` is that process: one JSON object on its output, then it ends.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

DEADLINE_S = 10.0


@dataclass(frozen=True)
class Gpu:
    """state: healthy, no-nvml (no library, or no driver), mismatch (driver and library), lost, or hung."""

    state: str
    name: str = ""
    memory_mib: int = 0
    free_mib: int = 0
    why: str = ""

    @property
    def device(self) -> str:
        """What `go` names: the card, or the CPU when there is none to use."""
        return "cuda:0" if self.state == "healthy" else "cpu"


def probe(deadline_s: float = DEADLINE_S) -> Gpu:
    """Ask NVML in a process of its own. A probe that does not answer in time is a finding: the state is `hung`."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "supervisor.gpu"], capture_output=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Gpu("hung", why=f"NVML did not answer within {deadline_s:.0f} s")
    try:
        return Gpu(**json.loads(answer.stdout))
    except (ValueError, TypeError):
        return Gpu("lost", why=f"the probe ended with {answer.returncode} and no answer")


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
