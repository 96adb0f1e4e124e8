"""A training killed with SIGKILL, wherever it stood, ends with the bits of one never touched. Real processes."""

import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gpt import checkpoint
from gpt.metrics import read_steps
from tests.gpt.tiny import make_pack

ROOT = Path(__file__).parent.parent.parent
STEPS = 40
# The child says each step, and each file of a checkpoint before it is on the disk, so that we can kill it right there.
CHILD = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from datagen import files
from gpt import checkpoint
from gpt.train import train
from tests.gpt.tiny import config

def telling(real, word):
    def call(*args):
        print(word, flush=True)
        return real(*args)
    return call

checkpoint.save_file = telling(checkpoint.save_file, "writing")
checkpoint.files.write_manifest = telling(files.write_manifest, "manifest")
settings = json.loads(sys.argv[4])
for step in train(config(Path(sys.argv[2]), **settings), Path(sys.argv[3])):
    print("step", step.number, flush=True)
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


@dataclass
class Child:
    """A training process, and the words it said."""

    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, pack: Path, workdir: Path, **settings: object) -> "Child":
        arguments = [str(ROOT), str(pack), str(workdir), json.dumps({"steps": STEPS, **settings})]
        command = [sys.executable, "-c", CHILD, *arguments]
        return cls(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def until(self, word: str) -> bool:
        """Read on to a line; False when it ended before."""
        assert self.process.stdout is not None
        return any(line.strip() == word for line in self.process.stdout)

    def kill(self) -> bool:
        """SIGKILL, and wait. True when it was still there to be killed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return self.process.returncode == -signal.SIGKILL

    def finish(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0


def end_of(workdir: Path) -> tuple[dict[str, str], list[tuple[int, str]], list[tuple[object, ...]]]:
    """(sha256 of weights, optimizer, RNG; losses to the last bit; the ledger of micro-batches)"""
    newest = checkpoint.saved(workdir / "checkpoint")[0]
    assert newest.name == f"step-{STEPS:07d}"
    groups = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.glob("*.safetensors")}
    assert groups.keys() == {"model.safetensors", "optimizer.safetensors", "rng.safetensors"}
    losses = [(row.step, row.loss.hex()) for row in read_steps(workdir / "metrics.db")]
    with sqlite3.connect(workdir / "metrics.db") as db:
        return groups, losses, list(db.execute("select * from micro_batch order by step, place"))


@pytest.fixture(scope="module")
def straight(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("straight")
    Child.start(pack, workdir).finish()
    return workdir


def test_two_straight_runs_are_equal_so_the_comparison_means_something(pack, straight, tmp_path):
    Child.start(pack, tmp_path).finish()
    assert end_of(tmp_path) == end_of(straight)
    Child.start(pack, tmp_path / "other", seed=12).finish()
    assert end_of(tmp_path / "other")[0] != end_of(straight)[0]


def test_40_steps_equal_17_and_sigkill_and_the_rest_to_the_last_bit(pack, straight, tmp_path):
    child = Child.start(pack, tmp_path)
    assert child.until("step 17")
    assert child.kill()
    newest = checkpoint.saved(tmp_path / "checkpoint")[0].name
    assert newest in ("step-0000015", "step-0000010"), "the one of step 15 is written while step 17 is made"
    Child.start(pack, tmp_path).finish()
    assert end_of(tmp_path) == end_of(straight)


def test_it_is_so_with_every_core_too(pack, tmp_path):
    Child.start(pack, tmp_path / "straight", threads=None).finish()
    child = Child.start(pack, tmp_path / "killed", threads=None)
    assert child.until("step 17")
    child.kill()
    Child.start(pack, tmp_path / "killed", threads=None).finish()
    assert end_of(tmp_path / "killed") == end_of(tmp_path / "straight")


def test_the_ledger_shows_no_context_twice_and_none_skipped(straight):
    _, _, ledger = end_of(straight)
    seen = [int(context) for row in ledger for context in str(row[2]).split(",")]
    assert len(seen) == STEPS * 4
    for epoch in range(len(seen) // 12):
        assert Counter(seen[epoch * 12 : epoch * 12 + 12]) == Counter(range(12))


@pytest.mark.parametrize("word", ["writing", "manifest"])
def test_killed_inside_the_write_of_a_checkpoint_it_takes_the_one_before(pack, straight, tmp_path, word):
    for _ in range(3):  # each attempt dies in the next checkpoint it tries to write
        child = Child.start(pack, tmp_path)
        assert child.until("step 5")
        assert child.until(word)
        assert child.kill()
        assert checkpoint.saved(tmp_path / "checkpoint") == []
    Child.start(pack, tmp_path).finish()
    assert end_of(tmp_path) == end_of(straight)


def test_killed_at_random_moments_again_and_again_it_ends_with_the_same_bits(pack, straight, tmp_path):
    """A checkpoint after every step: about half of the time goes into writing one."""
    dice, killed = random.Random(5), 0
    while True:
        child = Child.start(pack, tmp_path, checkpoint_every=1)
        if not child.until("writing"):
            child.finish()  # there was nothing left to do
            break
        time.sleep(dice.uniform(0, 0.12))
        if not child.kill():
            break
        killed += 1
    assert killed >= 4
    Child.start(pack, tmp_path, checkpoint_every=1).finish()
    assert end_of(tmp_path) == end_of(straight)
