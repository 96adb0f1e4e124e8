"""The GPU, and whether torch can use it."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

from supervisor.card import gpu
from supervisor.checks.finding import Finding, asked, settings_of
from supervisor.home import Home
from supervisor.screen import view

TORCH_DEADLINE_S = 20.0  # its import takes 2 s, from a cold disk far more
DRIVER = Path("/proc/driver/nvidia/version")

GPU_CURES = {
    "mismatch": "An upgrade replaced the driver's library under the loaded module: reboot",
    "lost": "It fell off the bus, or its driver gave up: look at `journalctl -k -g Xid`, then reboot; if it comes "
    "back, look at its power cables and at the slot",
    "reset": "Its driver says that only a reset helps: stop what uses it, then `nvidia-smi --gpu-reset`, or reboot",
    "hung": "The driver does not answer: save what you can, and reboot",
}

ASK_CARD = "select value from meta where key = 'gpu'"
ASK_DEVICE = "select value from meta where key = 'device'"
ASK_TORCH = """
import json, warnings
import torch
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    sees = torch.cuda.is_available()  # counts devices: no context, so no VRAM is taken from a job that runs
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "sees": sees,
                  "why": " ".join(str(one.message) for one in said)}))
"""


def graphics(home: Home) -> Finding:
    found = gpu.probe()
    if found.state == "no-nvml":
        if cards := gpu.cards():
            todo = "Install the driver (docs/tower.md); until then jobs run on the CPU"
            return Finding("bad", "gpu", f"an NVIDIA card at {cards[0]}, but no driver ({found.why})", todo)
        return Finding("warn", "gpu", "no NVIDIA card", "Jobs run on the CPU")
    if found.state != "healthy":
        return Finding("bad", "gpu", f"{found.state}: {found.why}", GPU_CURES[found.state])
    words = ", ".join(filter(None, [found.name, f"{found.free_mib} of {found.memory_mib} MiB free", found.health]))
    if view.serving(home) and settings_of(home).device == "auto" and asked(home, ASK_DEVICE) == "cpu":
        todo = "Start jobd anew (sudo systemctl restart neverrest): it saw no healthy card when it started"
        return Finding("bad", "gpu", f"{words}, but jobs run on the CPU", todo)
    if xids := json.loads(asked(home, ASK_CARD) or "{}").get("xids"):
        todo = "`journalctl -k -g Xid` says when. One that comes back: look at its power cables, its heat and the slot"
        return Finding("warn", "gpu", f"{words}; Xid {', '.join(map(str, xids))} since jobd started", todo)
    if found.persistent is False:
        todo = "Each first start on the card loads its driver anew: sudo nvidia-smi -pm 1 (nvidia-persistenced at boot)"
        return Finding("warn", "gpu", f"{words}; persistence mode is off", todo)
    return Finding("ok", "gpu", words)


def torch(home: Home) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("warn", "torch", "not installed", "Training needs it: pip install 'neverrest[gpt]', or make gpu")
    if not DRIVER.exists():
        return Finding("ok", "torch", f"{importlib.metadata.version('torch')}; no NVIDIA driver, so it uses the CPU")
    answer = ask_torch()
    if isinstance(answer, str):
        return Finding("bad", "torch", answer, "Install it anew: make gpu")
    if answer["sees"]:
        return Finding("ok", "torch", f"{answer['version']} sees the GPU (CUDA {answer['cuda']})")
    if answer["cuda"] is None:
        return Finding(
            "bad", "torch", f"{answer['version']} was built without CUDA", "Take the build with it: make gpu"
        )
    todo = "If /dev/nvidia-uvm is missing: sudo nvidia-modprobe -c 0 -u. Else the driver is older than that CUDA"
    return Finding("bad", "torch", f"{answer['version']} (CUDA {answer['cuda']}) sees no GPU. {answer['why']}", todo)


def ask_torch(deadline_s: float = TORCH_DEADLINE_S) -> dict[str, str | None] | str:
    """What torch says of CUDA, in a process of its own; or, in words, why it says nothing."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", ASK_TORCH], capture_output=True, text=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not come up within {deadline_s:.0f} s"
    try:
        told: dict[str, str | None] = json.loads(answer.stdout)
        return told
    except ValueError:
        return f"it can't be imported: {(answer.stderr.strip() or 'no word').splitlines()[-1]}"
