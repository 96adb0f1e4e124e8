"""The optimizer: which parameter is whose, what decays, and that each option resumes to the last bit."""

import hashlib
from pathlib import Path

import pytest
import torch

from gpt import checkpoint, metrics
from gpt.config import PRESETS, BadConfig
from gpt.model import GPT
from gpt.optim import Optimizer, of_blocks
from gpt.train import train
from tests.gpt.tiny import config, make_pack, shape

# Each a switch; the last ones are all of a preset's at once
OPTIONS = [
    {"pos": "rope"}, {"norm": "rms"}, {"qk_norm": True}, {"mlp": "relu2"}, {"mlp": "swiglu"}, {"n_kv_head": 1},
    {"tied": True}, {"bias": False}, {"optimizer": "muon"}, {"decay": "wsd"}, {"ema_decay": 0.9},
    PRESETS["modern"], PRESETS["modern"] | {"ema_decay": 0.9}, {"optimizer": "adamw8bit", "n_embd": 64},
]  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


def settings(option: dict[str, object]) -> dict[str, object]:
    """A run's settings from an option's, which may be of the model or of the training."""
    of_training = {name: value for name, value in option.items() if name in ("optimizer", "decay", "ema_decay")}
    of_model = {name: value for name, value in option.items() if name not in of_training}
    return {"model": shape(dropout=0.1, **of_model), "steps": 9, "warmup_steps": 2, **of_training}


def end_of(workdir: Path) -> tuple[dict[str, str], list[str]]:
    newest = checkpoint.saved(workdir / "checkpoint")[0]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in newest.glob("*.safetensors")}
    return files, [row.loss.hex() for row in metrics.read_steps(workdir / "metrics.db")]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_five_steps_and_a_resume_give_the_bits_of_a_straight_run(pack, tmp_path, option):
    it = config(pack, **settings(option))
    list(train(it, tmp_path / "straight"))
    for step in train(it, tmp_path / "resumed"):
        if step.number == 7:  # the newest checkpoint is of step 5
            break
    assert checkpoint.saved(tmp_path / "resumed" / "checkpoint")[0].name == "step-0000005"
    list(train(it, tmp_path / "resumed"))
    assert end_of(tmp_path / "resumed") == end_of(tmp_path / "straight")


def test_each_option_makes_another_run_so_the_test_above_tries_what_it_says(pack, tmp_path):
    ends = set()
    for number, option in enumerate([{}, *OPTIONS]):
        *_, last = train(config(pack, **settings(option) | {"steps": 6, "eval_every": 6}), tmp_path / str(number))
        ends.add((last.loss, last.val_loss))
    assert len(ends) == 1 + len(OPTIONS)


def stepped(kind: str) -> tuple[GPT, Optimizer, dict[str, torch.Tensor]]:
    """A model after one step of no gradient but with decay, and its weights before."""
    model = GPT(shape())
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = Optimizer(model, kind, betas=(0.9, 0.95), eps=1e-8)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.set_rates(lr=0.5, decay=0.1)
    optimizer.step()
    return model, optimizer, before


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_matrix_decays_and_no_gain_or_bias_does(kind):
    model, _, before = stepped(kind)
    for name, parameter in model.named_parameters():
        kept = 0.95 if parameter.ndim == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, msg=name)


def test_muon_has_the_blocks_matrices_and_adamw_the_rest_each_parameter_once():
    model, optimizer, _ = stepped("muon")
    turned = {key.split("|")[0] for key in optimizer.tensors() if key.endswith("|momentum_buffer")}
    moved = {key.split("|")[0] for key in optimizer.tensors() if key.endswith("|exp_avg")}
    assert turned == {optimizer.names[p] for p in of_blocks(model)}
    assert {name.split(".", 2)[2] for name in turned} == {
        "attn.qkv.weight", "attn.out.weight", "mlp.up.weight", "mlp.down.weight",
    }  # fmt: skip
    assert turned | moved == set(dict(model.named_parameters()))
    assert not turned & moved


def test_a_step_of_muon_turns_a_matrix_by_the_same_amount_in_each_direction():
    model = GPT(shape(n_embd=64))
    weight = model.blocks[0].attn.out.weight
    before, optimizer = weight.detach().clone(), Optimizer(model, "muon", betas=(0.9, 0.95), eps=1e-8)
    stretched = torch.diag(torch.logspace(0, -1, 64))  # one direction is ten times another
    for parameter in model.parameters():
        parameter.grad = stretched.clone() if parameter is weight else torch.zeros_like(parameter)
    optimizer.set_rates(lr=1.0, decay=0.0)
    optimizer.step()
    turned = torch.linalg.svdvals(before - weight.detach())
    assert turned.max() / turned.min() < 3


def test_what_the_optimizer_keeps_is_read_back_for_the_same_next_step():
    model, optimizer, _ = stepped("muon")
    other = Optimizer(model, "muon", betas=(0.9, 0.95), eps=1e-8)
    other.load(optimizer.tensors())
    assert other.tensors().keys() == optimizer.tensors().keys()
    assert all(torch.equal(other.tensors()[key], value) for key, value in optimizer.tensors().items())


def test_moments_of_a_byte_each_lie_in_the_checkpoint_as_they_are(pack, tmp_path):
    list(train(config(pack, **settings({"optimizer": "adamw8bit", "n_embd": 64}) | {"steps": 2}), tmp_path))
    [folder] = checkpoint.saved(tmp_path / "checkpoint")
    held = checkpoint.load(folder).groups["optimizer"]
    for moment in ("exp_avg", "exp_avg_sq"):
        codes, scale = (held[f"blocks.0.mlp.up.weight|{moment}.{part}"] for part in ("codes", "scale"))
        assert (codes.dtype, codes.numel(), scale.numel()) == (torch.uint8, 4 * 64 * 64, 4 * 64 * 64 // 256)
        assert codes.unique().numel() > 50, "they say something"
        assert held[f"blocks.0.mlp.up.bias|{moment}"].dtype == torch.float32, "short vectors stay as they are"


def test_eight_bit_moments_are_refused_where_their_package_is_missing(pack, monkeypatch):
    monkeypatch.setattr("gpt.config.find_spec", lambda name: None)
    with pytest.raises(
        BadConfig, match=r"made with the package torchao, which is not here: install it with .pip install"
    ):
        config(pack, optimizer="adamw8bit")


def test_another_optimizer_on_the_way_is_refused(pack, tmp_path):
    list(train(config(pack, steps=5), tmp_path))
    with pytest.raises(BadConfig, match="was made with another optimizer: put it back, or queue a new job"):
        list(train(config(pack, steps=6, optimizer="muon"), tmp_path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": "sgd"}, "optimizer='sgd': take one of adamw, muon, adamw8bit"),
        ({"ema_decay": 1.0}, "ema_decay=1.0: take 0 to below 1, or none"),
        ({"pin_every": 0}, "pin_every=0: take 1 or more, or none"),
    ],
)
def test_an_option_that_can_not_be_is_refused_with_what_can(pack, changes, says):
    with pytest.raises(BadConfig, match=says):
        config(pack, **changes)
