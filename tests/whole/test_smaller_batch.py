"""A training that runs out of GPU memory in the middle of its run: smaller, and on from the same step."""

import contextlib
import sqlite3

import pytest
from tower import bring_kind

from gpt.data import context_at
from gpt.shards import open_pack
from tests.jobs.small_home import TRAIN, make_home

# The CPU has no end of GPU memory: this kind is `train`, with the error that torch raises on a card that is full.
KIND = """
from jobs.kinds.train import *
from jobs.kinds import train
FULL_FROM_STEP, MOST_CONTEXTS = 6, 1

def run(args, job, prepared=None):
    import torch
    import gpt.train
    advance, loss, at = gpt.train.Trainer.advance, gpt.train.batch_loss, [0]

    def stepping(trainer, stop):
        at[0] = trainer.step + 1
        return advance(trainer, stop)

    def on_a_full_card(model, batch):
        if at[0] >= FULL_FROM_STEP and len(batch.seen.contexts) > MOST_CONTEXTS:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.46 GiB")
        return loss(model, batch)

    gpt.train.Trainer.advance, gpt.train.batch_loss = stepping, on_a_full_card
    train.run(args, job, prepared)
"""


@pytest.fixture
def crowded(monkeypatch, tmp_path):
    """The kind `crowded`, known to this process and to every child of its jobd."""
    bring_kind(monkeypatch, tmp_path, "crowded", KIND)


def contexts_of(tower, job_id):
    """The contexts that were trained on, in the order in which they were seen."""
    with contextlib.closing(sqlite3.connect(tower.home.workdir(job_id) / "metrics.db")) as db:
        rows = db.execute("select contexts from micro_batch order by step, place").fetchall()
    return [int(context) for [contexts] in rows for context in contexts.split(",")]


def test_a_training_that_meets_a_full_card_goes_on_from_its_step_in_smaller_batches(crowded, tower):
    make_home(tower.path)
    settings = {**TRAIN, "steps": 9, "micro_batch": 4, "grad_accum": 2, "checkpoint_every": 5}
    met = tower.add("crowded", **settings)
    tower.start()
    job = tower.until(met, "succeeded", deadline_s=120.0)  # three times torch's import
    assert (job.attempt, job.failures, job.args["micro_batch"]) == (3, 0, 4)
    assert "next with micro_batch=1, grad_accum=8" in str(tower.shown(met)["events"])
    with contextlib.closing(sqlite3.connect(tower.home.workdir(met) / "metrics.db")) as db:
        batches = dict(db.execute("select step, count(*) from micro_batch group by step"))
    assert {step: batches[step] for step in (1, 5, 6, 9)} == {1: 2, 5: 2, 6: 8, 9: 8}, "from the checkpoint at step 5"
    total = open_pack(tower.path / "packs/main").num_contexts("train")
    assert contexts_of(tower, met) == [context_at(0, place, total) for place in range(9 * 8)], (
        "none twice, none left out"
    )
