"""`pytest -m gpu`: what a real card and its driver do. Skipped, with the reason, where there is none."""

import json
import signal
import sys

import pytest
from tower import until

from supervisor.card import gpu
from supervisor.children import tree

pytestmark = pytest.mark.gpu
TAKE = """
import sys, time, torch
held = torch.zeros(int(sys.argv[1]) << 18, device="cuda")  # MiB of float32
torch.cuda.synchronize()
print("took it", flush=True)
time.sleep(600)
"""
MIB = 2048


@pytest.fixture(scope="module")
def found():
    card = gpu.probe()
    if card.state != "healthy":
        pytest.skip(f"no card to try: {card.state} ({card.why})")
    return card


@pytest.fixture
def busy(found, tower):
    """A tower whose first job holds memory of the card."""
    pytest.importorskip("torch")
    tower.set(device="auto")
    job = tower.add("command", argv=(sys.executable, "-c", TAKE, MIB))
    tower.start()
    until(lambda: tower.home.log(job).exists() and "took it" in tower.log(job), "it holds memory")
    return tower, job


def test_the_card_tells_what_we_ask_of_it(found):
    assert found.name
    assert 0 < found.free_mib <= found.memory_mib
    assert found.temperature_c is None or 0 < found.temperature_c < 120
    told = {name: getattr(found, name) for name in ("power_w", "temperature_c", "persistent", "processes")}
    print(json.dumps({"name": found.name, **told}))


def test_a_jobs_peak_is_seen_and_its_memory_is_back_before_the_next_go(busy, found):
    tower, job = busy
    until(lambda: (tower.job(job).peak_vram_mib or 0) >= MIB, "its peak is known")
    tower.ctl("cancel", job)
    script = "import torch; free, total = torch.cuda.mem_get_info(); print(f'free {free >> 20}')"
    following = tower.add("command", argv=(sys.executable, "-c", script))
    tower.until(following, "succeeded")
    [free_mib] = [int(line.split()[1]) for line in tower.log(following).splitlines() if line.startswith("free ")]
    assert free_mib > found.free_mib - MIB / 2, "the next one finds what the first one found, less its own context"


def test_memory_comes_back_after_sigkill_too(busy):
    tower, job = busy
    for process in tree.marked(f"{tower.home_id}:{job}:"):
        process.kill(signal.SIGKILL)
    following = tower.sh("true")
    tower.until(following, "succeeded")
    assert "did not come back" not in tower.said


def test_what_does_not_fit_a_real_card_is_the_error_that_train_answers_with_71(found):
    torch = pytest.importorskip("torch")
    with pytest.raises(torch.OutOfMemoryError):  # what train turns into OutOfGpuMemory
        torch.zeros((found.memory_mib + 1024) << 18, device="cuda")
