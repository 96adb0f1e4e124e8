"""What a standby has imported before its turn: after `go` nothing is waited for that could have been had before."""

import json
import subprocess
import sys
from pathlib import Path

from tests.jobs.small_home import TRAIN, make_home

MOST_MODULES = 20  # imported between `go` and the first step; without the standby's it is more than 2,000
SCRIPT = """
import importlib, json, sys
from pathlib import Path
from jobs import kind
from tests.jobs.small_home import run_of

home, given = Path(sys.argv[1]), json.loads(sys.argv[2])
train, run = kind.load("train"), run_of(Path(sys.argv[1]), 9, "train")
args = kind.parse("train", given)
for name in train.WARM:
    importlib.import_module(name)
prepared = train.prepare(args, run)
warm, after_go = set(sys.modules), []
real = train.report
train.report = lambda *a: (after_go.append(len(set(sys.modules) - warm)), real(*a))
train.run(args, run, prepared)
import torch
print(json.dumps([len(warm), after_go[0], torch.cuda.is_initialized()]))
"""


def test_a_training_that_stood_by_imports_nothing_heavy_between_go_and_its_first_step(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    words = [sys.executable, "-c", SCRIPT, str(home), json.dumps({**TRAIN, "steps": 1})]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    warm, after_go, has_cuda = json.loads(done.stdout.splitlines()[-1])
    assert warm > 1000
    assert after_go <= MOST_MODULES
    assert not has_cuda  # and no CUDA context came with it
