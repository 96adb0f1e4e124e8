"""The average of the weights: what it is, and that neither looking at it nor keeping it changes the training."""

from pathlib import Path

import pytest
import torch

from gpt import checkpoint
from gpt.data import read_batch
from gpt.ema import Ema
from gpt.model import GPT
from gpt.shards import open_pack
from gpt.train import batch_loss, train
from tests.gpt.tiny import config, make_pack, shape


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


def test_it_is_a_mean_at_first_and_then_forgets_by_its_decay():
    model = GPT(shape())
    ema, gain = Ema(model, decay=0.75), model.norm.weight
    expected = None
    for step, value in enumerate([8.0, 2.0, 5.0, 1.0, 1.0, 4.0], 1):
        with torch.no_grad():
            gain.fill_(value)
        ema.update(model, step)
        share = max(0.25, 1 / step)
        expected = value if expected is None else expected + share * (value - expected)
        if step == 3:
            assert expected == pytest.approx(5.0), "the plain mean of 8, 2 and 5"
    assert ema.average["norm.weight"].tolist() == pytest.approx([expected] * 16)


def test_shown_the_model_computes_with_the_averages_and_then_has_its_own_again():
    model, other = GPT(shape(), seed=1), GPT(shape(), seed=2)
    ema = Ema(other, decay=0.9)
    own = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with ema.shown(model):
        assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(parameter, own[name]) for name, parameter in model.named_parameters())
    assert all(torch.equal(ema.average[name], parameter) for name, parameter in other.named_parameters())


def test_training_is_the_same_with_it_to_the_last_bit(pack, tmp_path):
    for name, decay in (("without", None), ("with", 0.9)):
        list(train(config(pack, steps=10, ema_decay=decay), tmp_path / name))
    without, with_ema = (checkpoint.load_newest(tmp_path / name / "checkpoint") for name in ("without", "with"))
    assert without is not None
    assert with_ema is not None
    assert with_ema.groups.keys() == {*without.groups, "ema"}
    for group, tensors in without.groups.items():
        assert all(torch.equal(with_ema.groups[group][name], tensor) for name, tensor in tensors.items())


def test_the_val_loss_and_the_weights_to_keep_are_the_averages(pack, tmp_path):
    *_, last = train(config(pack, steps=10, eval_every=10, ema_decay=0.9, lr=1e-2), tmp_path)
    kept, opened = GPT(last.model.config).eval(), open_pack(pack)
    kept.load_state_dict(last.weights())
    assert not torch.equal(kept.wte.weight, last.model.wte.weight)
    batch = read_batch(opened, "val", [0, 1])  # the tiny run looks at two of three: the first two
    with torch.no_grad():
        assert last.val_loss == pytest.approx(batch_loss(kept, batch).item() / len(batch.labels_R))
        newest = batch_loss(last.model.eval(), batch).item() / len(batch.labels_R)
    assert abs(newest - last.val_loss) > 1e-4


def test_switched_on_in_the_middle_it_begins_with_the_weights_that_are_there(pack, tmp_path):
    list(train(config(pack, steps=5), tmp_path))
    before = checkpoint.load_newest(tmp_path / "checkpoint")
    [step] = train(config(pack, steps=6, ema_decay=0.5), tmp_path)
    assert before is not None
    half = before.groups["model"]["wte.weight"].lerp(step.model.wte.weight.detach(), 0.5)
    assert torch.equal(step.weights()["wte.weight"], half)
