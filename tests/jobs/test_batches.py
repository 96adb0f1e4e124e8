"""How a training's contexts are grouped: what may be said, and that `auto` finds, remembers and keeps the step."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt import checkpoint, fit, metrics
from gpt.fit import Found, Room
from jobs import batches, kind
from jobs.batches import Fits, grouped
from jobs.contract import BadArgs, OutOfGpuMemory, Run, Unfinished
from tests.jobs.small_home import TRAIN, run_kind, run_of

AUTO = {name: value for name, value in TRAIN.items() if name not in batches.BATCH} | {"contexts_per_step": 4}


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is drawn by another process, at the end of every run: nothing here looks at it."""
    monkeypatch.setattr("jobs.picture.Picture.draw_last", lambda self: None)


def train(home: Path, job: int = 5, **changes: Any) -> Run:
    return run_kind(home, job, "train", **AUTO | changes)


def notes(run: Run) -> list[str]:
    return [report["text"] for report in run.sent if report["report"] == "note"]


def of(home: Path) -> Fits:
    """What is remembered of the small model."""
    [path] = (home / "cache" / "fits").glob("*.json")
    fits = Fits(home, json.loads(path.read_text())["of"], "cpu")
    assert fits.path == path
    return fits


def seen(home: Path, job: int) -> tuple[dict[int, list[int]], set[int]]:
    """(the contexts of each step in their order, how many there were in a micro-batch)"""
    steps: dict[int, list[int]] = {}
    sizes = set()
    with sqlite3.connect(home / f"runs/{job}/metrics.db") as db:
        for step, contexts in db.execute("select step, contexts from micro_batch order by step, place"):
            steps.setdefault(step, []).extend(map(int, contexts.split(",")))
            sizes.add(contexts.count(",") + 1)
    return steps, sizes


# ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (("auto", None, None), (None, 120)),
        (("auto", None, 96), (None, 96)),
        ((3, 40, None), (40, 120)),
        ((6, None, None), (20, 120)),
        ((4, None, 12), (3, 12)),
        ((4, 3, 12), (3, 12)),
    ],
)
def test_two_of_the_three_say_the_third_and_none_says_what_fits(said, means):
    assert grouped(*said) == means


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        (
            (7, None, 12),
            r"12 contexts a step .* micro_batch=7: take one of 1, 2, 3, 4, 6, 12, or another contexts_per_",
        ),
        ((4, 3, 13), r"micro_batch=4 times grad_accum=3 is not contexts_per_step=13: leave one of them out, or"),
        (("auto", 3, None), r"micro_batch=auto what fits decides grad_accum: say contexts_per_step"),
        ((0, None, None), r"micro_batch=0: take 1 or more"),
        (("auto", None, 0), r"contexts_per_step=0: take 1 or more"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_would_do(said, refused):
    with pytest.raises(BadArgs, match=refused):
        grouped(*said)


def test_auto_is_a_word_that_args_take_and_other_words_are_not():
    given = {"pack": "packs/main"}
    assert kind.parse("train", given).micro_batch == "auto"
    assert kind.parse("train", given | {"micro_batch": "auto"}).contexts_per_step == 120
    assert kind.parse("train", given | {"micro_batch": "4"}).grad_accum == 30
    with pytest.raises(BadArgs, match=r"micro_batch='most' does not fit: it takes a whole number or auto"):
        kind.parse("train", given | {"micro_batch": "most"})
    args = kind.parse("train", given)
    assert kind.parse("train", kind.as_given(args)) == args, "as the queue keeps them"
    smaller = kind.as_given(kind.parse("train", given | {"micro_batch": 4})) | {"micro_batch": 2, "grad_accum": 60}
    assert kind.parse("train", smaller).contexts_per_step == 120, "as a supervisor makes them smaller"


# ── what fits ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_auto_tries_once_and_the_next_start_of_that_model_takes_it_from_memory(home, monkeypatch):
    [said] = notes(train(home, judge_every=None))
    assert said.startswith("micro_batch 4 x grad_accum 1: predicted ")
    assert said.endswith(" when that was tried")
    assert [(each.micro_batch, each.took_mib is not None) for each in of(home).read()] == [(4, True)]
    assert not list((home / "runs/5").glob("probe-*")), "nothing of the probe is left"
    assert json.loads((home / "runs/5/run.json").read_text())["args"]["micro_batch"] == 4, "for the picture"
    monkeypatch.setattr(fit, "real_probe", lambda *_, **__: pytest.fail("tried again"))
    [said] = notes(train(home, 6, lr=1e-3, steps=4))
    assert said.endswith(" when that was tried before")


def test_another_micro_batch_on_resume_keeps_the_order_of_the_contexts_and_the_step(home, monkeypatch):
    train(home, 6, micro_batch=4)

    class LeavesSoon(Run):
        def progress(self, done: float, total: float, unit: str = "", **metrics: float | None) -> None:
            self.stop_requested = done >= 5

    run = LeavesSoon.__new__(LeavesSoon)
    run.__dict__.update(run_of(home, 5, "train").__dict__)
    with pytest.raises(Unfinished):
        run_kind(home, 5, "train", run, **AUTO)
    took = of(home).read()[0].took_mib
    assert took is not None
    monkeypatch.setattr(fit, "room_on", lambda *_: Room(took - 1, 0))  # somebody else took some of it
    said = notes(train(home))
    assert said[-1].startswith("micro_batch 2 x grad_accum 2")
    (steps, sizes), (straight, _) = seen(home, 5), seen(home, 6)
    assert sizes == {4, 2}
    assert steps == straight
    mine, theirs = (metrics.read_steps(home / f"runs/{job}/metrics.db") for job in (5, 6))
    assert [row.tokens_seen for row in mine] == [row.tokens_seen for row in theirs]
    assert checkpoint.saved(home / "runs/5/checkpoint")[0].name == "step-0000012"


def test_a_run_that_runs_out_in_the_middle_is_remembered_and_the_next_takes_fewer(home, monkeypatch):
    room = Room(1000, 0)
    monkeypatch.setattr(fit, "room_on", lambda *_: room)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.46 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(fit, "real_probe", lambda *_, **__: 900)
        patch.setattr("gpt.train.batch_loss", full)
        run = run_of(home, 5, "train")
        with pytest.raises(Unfinished):
            run_kind(home, 5, "train", run, **AUTO)
    assert notes(run)[-1].startswith("4 contexts at a time fitted when they were tried, and do not any more (CUDA ")
    assert notes(run)[-1].endswith("1.46 GiB): the next attempt takes fewer")
    assert of(home).read() == [Found(4, 0, more_than_mib=1050)]
    assert notes(train(home))[-1].startswith("micro_batch 2 x grad_accum 2")


def test_where_not_one_context_fits_the_job_ends_as_out_of_memory(home, monkeypatch):
    monkeypatch.setattr(fit, "room_on", lambda *_: Room(2, 1))
    with pytest.raises(OutOfGpuMemory, match=r"not even one context fits: it takes \d+ MiB of 2 free, 1 of them"):
        train(home)


def test_go_says_what_of_the_memory_is_not_for_the_job_and_an_older_supervisor_says_less(home):
    run = run_of(home, 5, "train")
    run.take({"device": "cuda:0"})
    assert (run.device, run.reserve_mib, run.vram_mib) == ("cuda:0", 1024, None)
    run.take({"device": "cuda:0", "reserve_mib": 4096, "vram_mib": 8000})
    assert (run.reserve_mib, run.vram_mib) == (4096, 8000)


def test_told_to_leave_while_it_tries_it_leaves(home):
    run = run_of(home, 5, "train")
    run.stop_requested = True
    with pytest.raises(Unfinished):
        run_kind(home, 5, "train", run, **AUTO)
    assert not (home / "cache").exists()


def test_what_is_remembered_is_of_one_card_and_one_model_and_a_broken_file_is_as_good_as_none(tmp_path):
    here, there = (Fits(tmp_path, {"n_layer": 2}, on) for on in ("this card", "that card"))
    other = Fits(tmp_path, {"n_layer": 3}, "this card")
    here.keep(Found(6, 100, took_mib=90))
    there.keep(Found(3, 50, took_mib=40))
    here.keep(Found(2, 30, took_mib=20))
    here.keep(Found(6, 100, more_than_mib=95))
    assert here.read() == [Found(2, 30, took_mib=20), Found(6, 100, more_than_mib=95)]
    assert there.read() == [Found(3, 50, took_mib=40)]
    assert other.read() == []
    for broken in ("", "[]", '{"found": 3}', '{"found": {"this card": [{"what": 1}]}}'):
        here.path.write_text(broken)
        assert here.read() == []
    here.keep(Found(1, 10, took_mib=9))
    assert here.read() == [Found(1, 10, took_mib=9)]


def test_what_changes_no_memory_does_not_change_what_is_remembered():
    def name(**changes: Any) -> str:
        args = kind.parse("train", {"pack": "packs/main", **changes})
        from jobs.kinds.train import model_config

        model = model_config(args, vocab_size=100, context_len=64)
        return Fits(Path(), batches.recipe(args, model, 64), "").path.name

    same = [{}, {"lr": 1e-3}, {"micro_batch": 5}, {"contexts_per_step": 7}, {"pack": "packs/b"}, {"steps": 3}]
    assert len({name(**changes) for changes in same}) == 1
    others = [{}, {"n_layer": 3}, {"optimizer": "muon"}, {"recompute": True}, {"ema_decay": 0.9}, {"dtype": "float32"}]
    assert len({name(**changes) for changes in others}) == len(others)
