"""The loop: what it sees, in which order, and that stopping, evaluating and grouping change nothing."""

import dataclasses
import hashlib
import json
import math
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
import torch

from gpt import checkpoint, metrics
from gpt.config import BadConfig, Diverged
from gpt.data import context_at, read_batch
from gpt.shards import DamagedPack, open_pack
from gpt.spikes import WINDOW, Spikes
from gpt.train import Trainer, prepare, train
from tests.gpt.tiny import config, make_pack, shape


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


def state_of(workdir: Path) -> str:
    """The sha256 of all weights, optimizer state and RNG in the newest checkpoint."""
    newest = checkpoint.saved(workdir / "checkpoint")[0]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(newest.glob("*.safetensors")))).hexdigest()


def losses(workdir: Path) -> list[tuple[int, str, str | None]]:
    rows = metrics.read_steps(workdir / "metrics.db")
    return [(r.step, r.loss.hex(), None if r.val_loss is None else r.val_loss.hex()) for r in rows]


def ledger(workdir: Path) -> list[tuple[int, int, str, str]]:
    with sqlite3.connect(workdir / "metrics.db") as db:
        return list(db.execute("select step, place, contexts, sha256 from micro_batch order by step, place"))


def contexts_seen(workdir: Path) -> list[int]:
    return [int(context) for row in ledger(workdir) for context in row[2].split(",")]


# ── what it learns ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_learns_its_pack_by_heart(pack, tmp_path):
    steps = list(train(config(pack, model=shape(n_embd=32), steps=150, lr=2e-2, eval_every=150), tmp_path))
    assert steps[0].loss == pytest.approx(math.log(61), rel=0.05), "it should start from guessing"
    assert steps[-1].loss < 0.5
    assert steps[-1].val_loss > 3, "the val contexts are other random tokens: nothing can be known of them"


@pytest.mark.parametrize("grouping", [(1, 12), (2, 6), (3, 4), (4, 3), (6, 2)])
def test_how_contexts_are_grouped_into_micro_batches_does_not_matter(pack, tmp_path, grouping):
    def gradients(micro_batch: int, grad_accum: int) -> tuple[float, list[torch.Tensor]]:
        it = config(pack, model=shape(), micro_batch=micro_batch, grad_accum=grad_accum, grad_clip=1e9)
        trainer = Trainer(it, tmp_path / f"{micro_batch}", None, open_pack(pack), tell=print)
        batches = trainer._read_step()
        loss = trainer._accumulate(batches, sum(len(b.labels_R) for b in batches), lambda: False)
        trainer.close()
        assert loss is not None
        return loss.item(), [p.grad for p in trainer.model.parameters() if p.grad is not None]

    loss, grads = gradients(*grouping)
    whole_loss, whole_grads = gradients(12, 1)
    assert loss == pytest.approx(whole_loss, rel=1e-6)
    for grad, whole in zip(grads, whole_grads, strict=True):
        torch.testing.assert_close(grad, whole, atol=1e-6, rtol=1e-4)


def test_labels_differ_between_contexts_so_a_mean_of_means_would_be_another_number(pack):
    opened = open_pack(pack)
    batches = [read_batch(opened, "train", [i]) for i in range(12)]
    assert len({len(batch.labels_R) for batch in batches}) > 1


def test_only_matrices_decay_and_in_phases(pack, tmp_path):
    seen = {}
    settings = {"steps": 12, "weight_decay": ((0.0, 0.1), (2.0, 0.05)), "grad_accum": 3}  # two steps are an epoch
    for step in train(config(pack, **settings), tmp_path):
        seen[step.number] = step.epoch
    values = [row.weight_decay for row in metrics.read_steps(tmp_path / "metrics.db")]
    assert [seen[1], seen[5]] == [0.0, 2.0]
    assert values == [0.1] * 4 + [0.05] * 8


# ── what it sees ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_epoch_sees_every_context_once_in_an_order_of_its_own(pack, tmp_path):
    list(train(config(pack, steps=9), tmp_path))  # 36 contexts: three epochs of 12
    seen = contexts_seen(tmp_path)
    epochs = [seen[i : i + 12] for i in (0, 12, 24)]
    assert all(Counter(epoch) == Counter(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_depends_on_the_seed():
    orders = [[context_at(seed, place, 50) for place in range(100)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_a_batch_holds_the_documents_and_labels_of_its_contexts_without_padding(pack):
    opened = open_pack(pack)
    batch = read_batch(opened, "train", [2, 7])
    at = 0
    for index in (2, 7):
        context = opened.context("train", index)
        num = context.num_tokens
        assert batch.tokens_T[at : at + num].tolist() == context.tokens_T[:num].tolist()
        here = (batch.rows_R >= at) & (batch.rows_R < at + num)
        assert (batch.rows_R[here] - at).tolist() == [t for t in range(num) if context.labels_T[t] >= 0]
        assert batch.labels_R[here].tolist() == [int(label) for label in context.labels_T if label >= 0]
        assert batch.docs.positions[at : at + num].tolist() == context.positions_T[:num].tolist()
        at += num
    assert batch.num_tokens == at == len(batch.tokens_T)


def test_some_contexts_have_padding_so_the_test_above_proves_something(pack):
    opened = open_pack(pack)
    assert any(opened.context("train", i).num_tokens < opened.context_len for i in (2, 7, *range(12)))


def test_what_is_dropped_hangs_on_the_place_in_the_data_alone(pack, tmp_path):
    """A rank, a resumed run and one that skips draw what the straight one draws; no two micro-batches draw the same."""
    trainer = Trainer(config(pack, model=shape(dropout=0.5)), tmp_path, None, open_pack(pack), tell=print)
    batch, losses = trainer._read_step()[0], {}
    trainer.model.train()
    for step in (0, 1):
        trainer.contexts_seen = step * trainer.config.contexts_per_step
        for number in (0, 1, 0, 1):
            torch.manual_seed(len(losses))  # whatever was drawn before
            trainer._seed_dropout(number)
            losses.setdefault((step, number), set()).add(trainer._loss(batch).item())
    trainer.close()
    assert [len(found) for found in losses.values()] == [1, 1, 1, 1]
    assert len(set.union(*losses.values())) == 4


# ── stopping and going on ─────────────────────────────────────────────────────────────────────────────────────────


def straight(pack: Path, tmp_path: Path, **changes: object) -> Path:
    list(train(config(pack, **changes), tmp_path / "straight"))
    return tmp_path / "straight"


@pytest.mark.parametrize("asked", [1, 2, 35, 36, 70])
def test_told_to_stop_within_a_step_it_saves_the_last_one_and_ends_with_the_same_bits(pack, tmp_path, asked):
    """`asked`: which question of `stop` is answered yes. Two are asked in each step: even ones fall inside it."""
    expected, workdir, questions = straight(pack, tmp_path), tmp_path / "stopped", iter(range(1, 1000))
    done = [step.number for step in train(config(pack), workdir, stop=lambda: next(questions) == asked)]
    assert len(done) == (asked - 1) // 2
    done += [step.number for step in train(config(pack), workdir)]
    assert done == list(range(1, 41))
    assert state_of(workdir) == state_of(expected)
    assert losses(workdir) == losses(expected)
    assert ledger(workdir) == ledger(expected)


def test_a_finished_run_started_again_does_nothing(pack, tmp_path):
    workdir = straight(pack, tmp_path)
    before = state_of(workdir), losses(workdir)
    assert list(train(config(pack), workdir)) == []
    assert (state_of(workdir), losses(workdir)) == before


def test_rows_past_the_checkpoint_are_replaced_not_doubled(pack, tmp_path):
    expected, workdir = straight(pack, tmp_path), tmp_path / "lost"
    for step in train(config(pack), workdir):
        if step.number == 18:  # the newest checkpoint is of step 15: three steps are lost
            break
    assert len(losses(workdir)) == 18
    list(train(config(pack), workdir))
    assert losses(workdir) == losses(expected)
    assert ledger(workdir) == ledger(expected)


def test_the_checkpoint_it_came_from_is_let_go_of_though_its_caller_is_not_done_with_it(pack, tmp_path):
    """It is mapped: held on to, its disk space would stay taken as long as the run lasts, forgotten or not."""
    list(train(config(pack, steps=5), tmp_path))
    prepared = prepare(pack, tmp_path)
    assert any("step-0000005" in line for line in Path("/proc/self/maps").read_text().splitlines())
    for step in train(config(pack), tmp_path, prepared=prepared):
        if step.number == 7:
            break
    assert prepared[0] is not None, "as the job's child keeps it"
    assert not [line for line in Path("/proc/self/maps").read_text().splitlines() if "step-0000005" in line]


def test_evaluating_and_saving_more_often_changes_no_bit(pack, tmp_path):
    expected, workdir = straight(pack, tmp_path), tmp_path / "often"
    list(train(config(pack, eval_every=1, checkpoint_every=1), workdir))
    assert state_of(workdir) == state_of(expected)


def test_resumed_with_another_micro_batch_it_sees_the_same_contexts_in_the_same_order(pack, tmp_path):
    expected, workdir = straight(pack, tmp_path), tmp_path / "other"
    for step in train(config(pack, micro_batch=2, grad_accum=2), workdir):
        if step.number == 12:
            step.save()
            break
    list(train(config(pack, micro_batch=1, grad_accum=4), workdir))
    assert contexts_seen(workdir) == contexts_seen(expected)


def test_recompute_changes_no_bit_dropout_included(pack, tmp_path):
    for name, recompute in (("plain", False), ("again", True)):
        list(train(config(pack, steps=6, recompute=recompute), tmp_path / name))
    assert state_of(tmp_path / "again") == state_of(tmp_path / "plain")
    assert losses(tmp_path / "again") == losses(tmp_path / "plain")


def test_another_seed_gives_another_run(pack, tmp_path):
    list(train(config(pack, seed=12), tmp_path / "other"))
    assert state_of(tmp_path / "other") != state_of(straight(pack, tmp_path))


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("changes", [{"seed": 12}, {"model": shape(n_layer=1)}])
def test_a_run_does_not_go_on_as_another(pack, tmp_path, changes):
    workdir = straight(pack, tmp_path, steps=5)
    with pytest.raises(BadConfig, match=f"with another {next(iter(changes))}: put it back, or queue a new job"):
        list(train(config(pack, **changes), workdir))


def test_a_run_does_not_go_on_with_another_pack(pack, tmp_path):
    workdir = straight(pack, tmp_path, steps=5)
    other = make_pack(tmp_path / "other", seed=1)
    with pytest.raises(BadConfig, match="with another pack"):
        list(train(config(other), workdir))


def test_fewer_steps_than_were_done_are_refused(pack, tmp_path):
    workdir = straight(pack, tmp_path, steps=10)
    with pytest.raises(BadConfig, match="stands at step 10, past steps=5"):
        list(train(config(pack, steps=5), workdir))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": shape(context_len=47)}, "contexts are 48 tokens, the model takes 47: set context_len=48"),
        ({"model": shape(vocab_size=60)}, "tokenizer has 61 pieces, the model 60: set vocab_size=61"),
        ({"attention": "varlen"}, "attention='varlen' on cpu"),
    ],
)
def test_a_model_that_does_not_fit_its_pack_is_refused_with_what_does(pack, tmp_path, changes, says):
    with pytest.raises(BadConfig, match=says):
        list(train(config(pack, **changes), tmp_path))


# ── losses that spoil a run ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def long_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many contexts that no test sees one twice: what is spoilt comes once."""
    return make_pack(tmp_path_factory.mktemp("pack") / "long", num_contexts=200)


def spoil(monkeypatch: pytest.MonkeyPatch, contexts: set[int], by: float = math.nan) -> None:
    """From now on these train contexts give this loss."""
    from gpt import train as module

    real = module.batch_loss

    def batch_loss(model, batch):
        return real(model, batch) * (by if contexts & set(batch.seen.contexts) else 1.0)

    monkeypatch.setattr(module, "batch_loss", batch_loss)


def context_of_step(pack: Path, number: int) -> int:
    """A train context that the tiny run sees first in this step."""
    it = config(pack)
    return context_at(it.seed, (number - 1) * it.contexts_per_step, open_pack(pack).num_contexts("train"))


def skips(workdir: Path) -> list[tuple[int, int, int]]:
    with sqlite3.connect(workdir / "metrics.db") as db:
        return list(db.execute("select step, first_place, num_contexts from skip order by id"))


def test_data_that_gives_no_number_is_passed_over_and_said(long_pack, tmp_path, monkeypatch):
    spoil(monkeypatch, {context_of_step(long_pack, 3)})
    said: list[str] = []
    steps = list(train(config(long_pack, steps=4), tmp_path, tell=said.append))
    assert [step.number for step in steps] == [1, 2, 3, 4]
    assert all(math.isfinite(step.loss) for step in steps)
    size = config(long_pack).contexts_per_step
    assert skips(tmp_path)[0] == (3, 2 * size, size)
    assert f"step 3: the loss became nan, its gradient nan; its {size} contexts are passed over" in said


def test_a_skipped_step_leaves_weights_and_optimizer_as_if_its_data_had_not_been_there(
    long_pack, tmp_path, monkeypatch
):
    """Two steps, one skipped, one more: the same weights as with the data of the skipped one cut out."""
    spoil(monkeypatch, {context_of_step(long_pack, 3)})
    list(train(config(long_pack, steps=3), tmp_path / "skips"))
    monkeypatch.undo()
    trainer = Trainer(config(long_pack, steps=3), tmp_path / "cut", None, open_pack(long_pack), tell=print)
    for number in (1, 2, 3):
        trainer.contexts_seen += trainer.config.contexts_per_step if number == 3 else 0
        trainer.advance(lambda: False)
    trainer.save()
    trainer.close()
    assert state_of(tmp_path / "skips") == state_of(tmp_path / "cut")


def test_too_many_in_a_row_go_back_to_the_checkpoint_and_on_with_other_data(long_pack, tmp_path, monkeypatch):
    it = config(long_pack, steps=9, checkpoint_every=5, max_skips=1)
    said: list[str] = []
    run = train(it, tmp_path, tell=said.append)
    assert [next(run).number for _ in range(7)] == list(range(1, 8))
    spoil(monkeypatch, {context_of_step(long_pack, 8), context_of_step(long_pack, 9)})
    assert [step.number for step in run] == [6, 7, 8, 9]
    assert [step for step, _, _ in skips(tmp_path)][:2] == [8, 8]
    assert "2 steps were skipped so far: back to step 5, on with other data" in said
    assert [row.step for row in metrics.read_steps(tmp_path / "metrics.db")] == list(range(1, 10))


def test_a_run_that_is_stopped_and_resumed_skips_and_goes_back_at_the_same_places(long_pack, tmp_path, monkeypatch):
    spoil(monkeypatch, {context_of_step(long_pack, 4), context_of_step(long_pack, 7), context_of_step(long_pack, 8)})
    it = config(long_pack, steps=12, checkpoint_every=5, max_skips=1)
    list(train(it, tmp_path / "straight"))
    for leave_after in (2, 5, 6, 7, 9, 100):
        for count, _ in enumerate(train(it, tmp_path / "resumed", stop=lambda: False), 1):  # killed: nothing saved
            if count == leave_after:
                break
    assert len(skips(tmp_path / "straight")) >= 3
    assert state_of(tmp_path / "resumed") == state_of(tmp_path / "straight")
    assert losses(tmp_path / "resumed") == losses(tmp_path / "straight")


def test_told_to_stop_right_after_a_skipped_step_the_ledger_keeps_that_it_was_skipped(long_pack, tmp_path, monkeypatch):
    """Saved then, the run stands past that data: it is not read again, so nobody would write the skip anew."""
    spoil(monkeypatch, {context_of_step(long_pack, 3)})
    it = config(long_pack, steps=6)
    list(train(it, tmp_path / "straight"))
    questions = iter(range(1, 1000))  # two of each step, the skipped one among them: the seventh comes after it
    assert len(list(train(it, tmp_path / "stopped", stop=lambda: next(questions) == 7))) == 2
    list(train(it, tmp_path / "stopped"))
    assert skips(tmp_path / "stopped") == skips(tmp_path / "straight") != []
    assert ledger(tmp_path / "stopped") == ledger(tmp_path / "straight")


def test_a_loss_that_stays_no_number_ends_the_run_and_keeps_the_checkpoint_before(long_pack, tmp_path, monkeypatch):
    run = train(config(long_pack), tmp_path)
    assert [next(run).number for _ in range(7)] == list(range(1, 8))
    spoil(monkeypatch, set(range(1000)))
    with pytest.raises(
        Diverged, match=r"at step 6 the loss became nan.* after 2 returns to a checkpoint: take a lower lr"
    ):
        next(run)
    assert [path.name for path in checkpoint.saved(tmp_path / "checkpoint")] == ["step-0000005"]
    assert len(losses(tmp_path)) == 5


def test_a_jump_is_skipped_only_where_asked_and_once_it_is_known_what_is_usual():
    usual = [1.0 + n % 7 / 10 for n in range(WINDOW)]
    for limit, taken in ((None, True), (4.0, False)):
        spikes = Spikes(limit, 5, 2)
        assert [spikes.refuse(loss, 1.0) for loss in usual] == [None] * WINDOW
        assert (spikes.refuse(2.5, 1.0) is None) == taken
        assert spikes.refuse(1.9, 1.0) is None, "high, but not far above"
    assert Spikes(4.0, 5, 2).refuse(1e9, 1.0) is None, "the first one has nothing beside it"


def test_what_is_known_of_spikes_is_read_back_as_it_was():
    spikes = Spikes(3.0, 1, 1)
    for loss in (1.0, 2.0, math.inf, 0.1 + 0.2):
        spikes.refuse(loss, 1.0)
    other = Spikes(3.0, 1, 1)
    other.restore(json.loads(json.dumps(spikes.to_json())))
    assert other == spikes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "steps=0: take 1 or more"),
        ({"lr": 0.0}, "take lr and grad_clip above 0"),
        ({"min_lr": 1.0}, "min_lr from 0 to lr"),
        ({"max_skips": -1}, "max_skips=-1"),
        ({"max_deviations": 0.0}, "take above 0 or none"),
        ({"decay": "exp"}, "take one of cosine, linear, wsd"),
        ({"weight_decay": ((1.0, 0.1),)}, "phases begin at epoch 0 and ascend"),
    ],
)
def test_settings_that_can_not_work_are_refused(pack, changes, says):
    with pytest.raises(BadConfig, match=says):
        config(pack, **changes)


def test_a_pack_that_is_not_there_or_cut_off_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="run a pack job first"):
        list(train(config(tmp_path / "none"), tmp_path / "w"))
    broken = make_pack(tmp_path / "broken")
    shard = broken / "train-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(DamagedPack, match="pack again"):
        list(train(config(broken), tmp_path / "w"))


def test_the_checkpoint_says_what_made_it(pack, tmp_path):
    workdir = straight(pack, tmp_path, steps=5)
    state = json.loads((checkpoint.saved(workdir / "checkpoint")[0] / "state.json").read_text())
    assert state["config"]["lr"] == 3e-3
    assert state["fixed"]["model"] == dataclasses.asdict(shape(dropout=0.1))
    assert state["contexts_seen"] == 20
    lengths = [int(n) for i in contexts_seen(workdir) for n in read_batch(open_pack(pack), "train", [i]).docs.lengths]
    assert state["longest"] == max(lengths)
    assert str(pack.parent) not in json.dumps(state), "no path of this machine"
