"""The picture of a run: what it reads, and that it is whole whenever somebody looks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt import metrics, plot

PNG = b"\x89PNG\r\n\x1a\n"
RUN = {"name": "demo", "job": 12, "pack": "packs/main", "steps": 40, "args": {"n_layer": 2, "micro_batch": 8}}


def row(step: int, **changes: Any) -> metrics.Row:
    values = {"step": step, "loss": 8 / step, "val_loss": 3.0 if step % 5 == 0 else None, "lr": 1e-3 / step}
    values |= {"tokens_per_s": 100.0 + step, "tokens_seen": 70 * step, "weight_decay": 0.1, "grad_norm": 1.0}
    return metrics.Row(**{**values, "at": 1000.0 + step, **changes})


def make_run(home: Path, num_steps: int) -> Path:
    workdir = home / "runs" / "12"
    workdir.mkdir(parents=True)
    (workdir / "run.json").write_text(json.dumps(RUN))
    db = metrics.open_metrics(workdir / "metrics.db", last_step=0)
    for step in range(1, num_steps + 1):
        metrics.write_step(db, row(step), [])
    db.close()
    return workdir


def report(home: Path, name: str, step: int, rate: float | None, **changes: Any) -> Path:
    group = {"pass_rate": rate, "low": 0.1, "high": 0.9, "n": 30}
    folder = home / "reports" / name
    folder.mkdir(parents=True)
    about = {"model": name, "step": step, "run": 12, "groups": {"seen_facts": group}, **changes}
    (folder / "report.json").write_text(json.dumps(about))
    return folder / "report.json"


def slow_smooth(values: list[float], decay: float) -> list[float]:
    """The definition: weights decay^age, divided by their sum."""
    out = []
    for end in range(1, len(values) + 1):
        weights = [decay ** (end - 1 - i) for i in range(end)]
        out.append(sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights))
    return out


@given(st.lists(st.floats(0, 100), max_size=30), st.floats(0.1, 0.99))
def test_smoothing_is_a_weighted_mean_of_all_there_was(values, decay):
    assert plot.smooth(values, decay) == pytest.approx(slow_smooth(values, decay), abs=1e-6)


def test_smoothing_starts_at_the_first_value_and_keeps_a_constant():
    assert plot.smoothed([5.0, 5.0, 5.0]) == pytest.approx([5.0, 5.0, 5.0])


@pytest.mark.parametrize("num_steps", [0, 1, 2, 30])
def test_a_picture_is_drawn_in_a_process_of_its_own_from_the_first_step_on(tmp_path, num_steps):
    workdir = make_run(tmp_path, num_steps)
    report(tmp_path, "demo_step000020_tok1", 20, 0.5)
    command = [sys.executable, "-m", "gpt.plot", str(workdir), "--reports", str(tmp_path / "reports")]
    subprocess.run(command, check=True)
    picture = (workdir / "monitor.png").read_bytes()
    assert picture.startswith(PNG)
    assert picture.endswith(b"IEND\xaeB`\x82")
    assert [path.name for path in workdir.glob(".*")] == []


def test_what_was_measured_is_in_the_picture(tmp_path):
    steps = [row(step) for step in range(1, 31)]
    pictures = {plot.draw(steps, RUN, {}, 0.0), plot.draw(steps[:-1], RUN, {}, 0.0)}
    louder = [*steps[:-1], row(30, loss=9.0)]
    pictures.add(plot.draw(louder, RUN, {}, 0.0))
    pictures.add(plot.draw(steps, {**RUN, "git_commit": "abc"}, {}, 0.0))
    pictures.add(plot.draw(steps, RUN, {"seen_facts": [plot.Judged(20, 0.5, 0.4, 0.6, 30)]}, 0.0))
    assert len(pictures) == 5
    assert plot.draw(steps, RUN, {}, 0.0) in pictures, "the same run gives the same bytes"


def test_only_this_runs_verdicts_are_shown_in_order_of_step(tmp_path):
    report(tmp_path, "demo_step000020_tok1", 20, 0.5)
    report(tmp_path, "demo_step000010_tok1", 10, 0.25)
    report(tmp_path, "demo_step000030_tok1", 30, 0.9, run=13)
    report(tmp_path, "other_step000030_tok1", 30, 0.9)
    report(tmp_path, "demo_step000040_tok1", 40, None)  # nothing was scored
    report(tmp_path, "demo_step000050_tok1", 50, 0.9).write_text('{"model": "demo_st')
    found = plot.read_judged(tmp_path / "reports", 12, "demo")
    assert found == {"seen_facts": [plot.Judged(10, 0.25, 0.1, 0.9, 30), plot.Judged(20, 0.5, 0.1, 0.9, 30)]}
    assert plot.read_judged(tmp_path / "nowhere", 12, "demo") == {}


def test_a_run_without_a_file_yet_has_no_steps(tmp_path):
    assert metrics.read_steps(tmp_path / "metrics.db") == []
    (tmp_path / "metrics.db").touch()
    assert metrics.read_steps(tmp_path / "metrics.db") == []


def test_steps_are_read_while_they_are_written(tmp_path):
    db = metrics.open_metrics(tmp_path / "metrics.db", last_step=0)
    for step in (1, 2, 3):
        metrics.write_step(db, row(step), [metrics.MicroBatch((4, 5), "ab")])
        assert metrics.read_steps(tmp_path / "metrics.db") == [row(i) for i in range(1, step + 1)]
    db.close()


def test_steps_after_the_one_resumed_from_are_forgotten(tmp_path):
    db = metrics.open_metrics(tmp_path / "metrics.db", last_step=0)
    for step in (1, 2, 3):
        metrics.write_step(db, row(step), [metrics.MicroBatch((step,), "ab")])
    db.close()
    again = metrics.open_metrics(tmp_path / "metrics.db", last_step=1)
    metrics.write_step(again, row(2, loss=7.0), [metrics.MicroBatch((9,), "cd")])
    assert list(again.execute("select contexts from micro_batch")) == [("1",), ("9",)]
    again.close()
    assert [(r.step, r.loss) for r in metrics.read_steps(tmp_path / "metrics.db")] == [(1, 8.0), (2, 7.0)]
