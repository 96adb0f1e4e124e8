"""Two processes train as one does: the same loss, the same contexts; one that is killed changes no bit. torchrun."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gpt import checkpoint
from gpt.config import TrainConfig
from gpt.ranks import several
from gpt.train import train
from tests.gpt.test_train import ledger, losses, state_of
from tests.gpt.tiny import config, make_pack, shape

ROOT = Path(__file__).parent.parent.parent
STEPS = 40
GROUPED = {"micro_batch": 1, "grad_accum": 4, "steps": STEPS}  # two each, so that the sums round another way than one's


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


@pytest.fixture(scope="module")
def undisturbed(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of two processes that nobody troubled: this one, and one that it started."""
    workdir, it = tmp_path_factory.mktemp("two"), grouped(pack)
    with several(it, workdir, 2) as ranks:
        list(train(it, workdir, ranks=ranks))
    return workdir


def grouped(pack: Path, **changes: object) -> TrainConfig:
    """Without biases: a key's bias moves nothing, so its gradient is rounding alone, which Adam makes large."""
    return config(pack, model=shape(dropout=0.1, bias=False), **GROUPED, **changes)


def torchrun(it: TrainConfig, workdir: Path) -> "subprocess.Popen[str]":
    """Two ranks, started again when one dies."""
    order = workdir / "order.json"
    order.write_text(json.dumps({"workdir": str(workdir), "config": it.to_json()}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3"]
    return subprocess.Popen(
        [*command, "--monitor-interval=0.1", "-m", "gpt", str(order)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_processes_end_where_one_does_and_their_ledger_is_that_of_one(pack, undisturbed, tmp_path):
    """Dropout included: what is dropped hangs on the place in the data, not on who works it."""
    list(train(grouped(pack), tmp_path))
    assert ledger(undisturbed) == ledger(tmp_path), "as those wrote it who worked it"
    one, two = (
        load_file(checkpoint.saved(at / "checkpoint")[0] / "model.safetensors") for at in (tmp_path, undisturbed)
    )
    for name, weight in one.items():
        assert (weight - two[name]).abs().max() < 1e-5, name
    for (step, loss, val_loss), other in zip(losses(tmp_path), losses(undisturbed), strict=True):
        assert float.fromhex(loss) == pytest.approx(float.fromhex(other[1]), abs=1e-5), step
        assert (val_loss is None) == (other[2] is None)


def test_a_rank_that_is_killed_is_started_again_and_no_bit_differs(pack, undisturbed, tmp_path):
    """Rank 0, the one that writes; what happens when another dies is in tests/jobs/test_train_in_ranks.py."""
    with torchrun(grouped(pack), tmp_path) as started:
        until("step 1 of", started)
        pid = pid_of(0, started.pid)
        until("step 12 of", started)  # the checkpoint of step 5 is there by now, that of step 10 perhaps
        os.kill(pid, signal.SIGKILL)
        out, _ = started.communicate()
    assert started.returncode == 0, out
    steps = [int(step) for step in re.findall(rf"^step (\d+) of {STEPS}", out, re.MULTILINE)]
    assert min(steps) in (6, 11), "it went on from a checkpoint"
    assert steps.count(STEPS) == 1, "rank 0 alone speaks"
    assert state_of(tmp_path) == state_of(undisturbed)
    assert losses(tmp_path) == losses(undisturbed)
    assert ledger(tmp_path) == ledger(undisturbed)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two ranks take two cards")
def test_two_cards_end_where_one_does(pack, tmp_path):
    it = grouped(pack, device="cuda", dtype="float32", attention="loop")
    one, two = tmp_path / "one", tmp_path / "two"
    list(train(it, one))
    two.mkdir()
    with torchrun(it, two) as started:
        out, _ = started.communicate()
    assert started.returncode == 0, out
    assert ledger(two) == ledger(one)
    for (step, loss, _), other in zip(losses(one), losses(two), strict=True):
        assert float.fromhex(loss) == pytest.approx(float.fromhex(other[1]), abs=1e-3), step


def until(start: str, process: "subprocess.Popen[str]") -> None:
    """Read on to a line that begins so."""
    assert process.stdout is not None
    assert any(line.startswith(start) for line in process.stdout), f"it ended before it said {start!r}"


def pid_of(rank: int, launcher: int) -> int:
    """The child of torchrun that has this rank."""
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
            return int(pid)
    raise AssertionError(f"torchrun has no rank {rank}")
