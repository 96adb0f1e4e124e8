"""A train job of two processes: it starts the other one itself, leaves with it, and ends when that one dies."""

import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tower import until

from gpt import archive, checkpoint
from gpt.fit import candidates
from jobs import kind
from jobs.batches import BATCH
from jobs.contract import EXIT_OUT_OF_MEMORY, EXIT_UNFINISHED, BadArgs, Run, Ticket, Unfinished
from tests.jobs.small_home import TRAIN, make_home, run_kind, run_of
from tests.jobs.test_batches import seen
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


AUTO = {name: value for name, value in SETTINGS.items() if name not in BATCH}
ALL_DIE = """
import subprocess, sys
from pathlib import Path
from gpt import ranks
from tests.jobs.small_home import run_kind
ranks.start = lambda *_: subprocess.Popen([sys.executable, "-c", "raise SystemExit(71)"], stdin=subprocess.PIPE)
run_kind(Path(sys.argv[1]), 5, "train", **eval(sys.argv[2]))
"""


def test_two_processes_take_as_many_contexts_as_each_of_them_has_room_for(home, monkeypatch):
    """One run all along: begun by one process, gone on with by two, then by two that must take fewer."""
    monkeypatch.setattr("jobs.picture.Picture.draw_last", lambda self: None)  # it takes most of the time
    settings = {**AUTO, "contexts_per_step": 8, "steps": 9, "dropout": 0.0, "bias": False}
    run_kind(home, 4, "train", **settings | {"micro_batch": 1})
    sizes = []
    for leave_at, processes in ((3, 1), (6, 2), (0, 2)):
        run = Leaving(Ticket(5, 1, "train", {}, str(home), str(run_of(home, 5, "train").workdir)))
        run.leave_at = leave_at
        with pytest.raises(Unfinished) if leave_at else nullcontext():
            run_kind(home, 5, "train", run, **settings | {"processes": processes})
        said = next(report["text"] for report in run.sent if report["report"] == "note")
        assert said.startswith("micro_batch" if processes == 1 else "each of 2 processes: micro_batch ")
        free, others = (int(said.split(behind)[0].split()[-1].replace(",", "")) for behind in (" free,", " of them"))
        assert free - others == pytest.approx(free / 2 / processes, abs=1), "of the memory that they share"
        newest = checkpoint.load_newest(run.workdir / "checkpoint")
        assert newest is not None
        sizes.append(newest.state["config"]["micro_batch"])
        if processes == 2:
            monkeypatch.setattr("gpt.fit.candidates", fewer(candidates))
    assert sizes == [8, 4, 2]
    assert seen(home, 5)[0] == seen(home, 4)[0], "the same contexts in the same steps"
    straight = weights(home, 4)
    for name, weight in weights(home, 5).items():
        assert (weight - straight[name]).abs().max() < 1e-5, name


def fewer(real: Any) -> Any:
    """Candidates without those that were taken so far."""
    return lambda config, context_len, before: [c for c in real(config, context_len, None) if c.micro_batch < before]


def test_another_rank_whose_memory_ran_out_is_remembered_and_the_next_attempt_takes_fewer(home):
    asked = {**AUTO, "steps": 2, "contexts_per_step": 8, "processes": 2}
    ended = subprocess.run([sys.executable, "-c", ALL_DIE, home, repr(asked)], capture_output=True, check=False)
    assert ended.returncode == EXIT_UNFINISHED, ended.stderr
    [said] = [r["text"] for r in run_kind(home, 5, "train", **asked).sent if r["report"] == "note"]
    assert said.startswith("each of 2 processes: micro_batch 2 x grad_accum 2: "), "not 4 x 1"
    told = {**asked, "micro_batch": 4}
    ended = subprocess.run([sys.executable, "-c", ALL_DIE, home, repr(told)], capture_output=True, check=False)
    assert ended.returncode == EXIT_OUT_OF_MEMORY, "whoever started the job knows what is smaller"


def test_a_note_that_can_not_be_kept_is_no_reason_to_wait_for_ever():
    """Only a process that ends wakes those who wait for another rank's numbers."""
    watching = (
        "from gpt import ranks; import subprocess, sys, threading; ranks.watch(1, subprocess.Popen([sys.executable, "
    )
    watching += "'-c', 'raise SystemExit(71)']), threading.Event(), lambda why: open('/dev/full/note'))"
    ended = subprocess.run([sys.executable, "-c", watching], capture_output=True, check=False)
    assert ended.returncode == EXIT_OUT_OF_MEMORY, ended.stderr


@pytest.mark.parametrize(("processes", "micro_batches"), [(0, 2), (3, 2), (2, 3)])
def test_processes_that_can_not_share_a_step_are_refused(processes, micro_batches):
    with pytest.raises(
        BadArgs, match=rf"processes={processes} can't share the {micro_batches} micro-batches of a step"
    ):
        kind.parse("train", {**SETTINGS, "grad_accum": micro_batches, "processes": processes})
