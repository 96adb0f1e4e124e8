"""A train job of two processes: it starts the other one itself, leaves with it, and ends when that one dies."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tower import until

from gpt import archive, checkpoint
from jobs import kind
from jobs.contract import BadArgs, Run, Ticket, Unfinished
from tests.jobs.small_home import TRAIN, make_home, run_kind
from tests.jobs.test_child import Talk

STEPS = 90
SETTINGS = {**TRAIN, "micro_batch": 1, "grad_accum": 2, "steps": STEPS}


class Leaving(Run):
    """A run that is told to leave when it has got so far."""

    leave_at = 0

    def progress(self, done: float, total: float, unit: str = "", **metrics: float | None) -> None:
        super().progress(done, total, unit, **metrics)
        self.stop_requested = done == self.leave_at


def others_of(pid: int) -> list[int]:
    """The ranks that a training has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "\0gpt\0" in command_of(child)]


def command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # a picture that is drawn by now


def weights(home: Path, run: int) -> dict[str, Any]:
    """Of the model that a job ended with."""
    [model] = [entry for entry in archive.list_models(home) if entry.manifest["run"] == run]
    return load_file(model.folder / archive.WEIGHTS)


def test_it_ends_when_its_other_rank_dies_leaves_with_it_when_told_and_ends_as_one_process_does(tmp_path):
    home = make_home(tmp_path)
    run_kind(home, 5, "train", **SETTINGS | {"name": "straight"})
    child = Talk(home, "train", **SETTINGS, processes=2)
    try:
        child.hears("ready")
        child.go()
        [other] = until(lambda: others_of(child.process.pid), "the other rank")
        child.hears("progress")
        os.kill(other, signal.SIGTERM)  # as from a whole group that is told to leave: it is rank 0 that leaves
        child.heard.clear()
        child.hears("progress")
        os.kill(other, signal.SIGKILL)
        assert child.end() == 1
        assert b"rank 1 died (signal 9): the others end too" in child.process.stdout.read()
    finally:
        child.close()
    again = Leaving(Ticket(7, 2, "train", {}, str(home), str(child.workdir)))
    newest = checkpoint.saved(child.workdir / "checkpoint")
    again.leave_at = (checkpoint.step_of(newest[0]) if newest else 0) + 5
    with pytest.raises(Unfinished):
        run_kind(home, 7, "train", again, **SETTINGS, processes=2)
    assert others_of(os.getpid()) == []
    assert checkpoint.step_of(checkpoint.saved(child.workdir / "checkpoint")[0]) == again.leave_at
    alone = Run(Ticket(7, 3, "train", {}, str(home), str(child.workdir)))
    run_kind(home, 7, "train", alone, **SETTINGS)
    notes = [report["text"] for report in alone.sent if report["report"] == "note"]
    assert "resumed with processes 1 (saved with 2): sums may round another way from here" in notes
    straight = weights(home, 5)
    for name, weight in weights(home, 7).items():
        assert (weight - straight[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize(("processes", "micro_batches"), [(0, 2), (3, 2), (2, 3)])
def test_processes_that_can_not_share_a_step_are_refused(processes, micro_batches):
    with pytest.raises(
        BadArgs, match=rf"processes={processes} can't share the {micro_batches} micro-batches of a step"
    ):
        kind.parse("train", {**SETTINGS, "grad_accum": micro_batches, "processes": processes})
