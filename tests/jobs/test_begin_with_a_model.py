"""A second training that begins with a kept model's weights: `train` with init, on other records of the same facts."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from datagen import files
from gpt import archive
from gpt.begin import first_model
from gpt.metrics import read_steps
from gpt.shards import open_pack
from jobs import kind
from jobs.contract import BadArgs, Unfinished
from jobs.kinds.train import model_config, train_config
from tests.jobs.small_home import TRAIN, make_home, run_kind

FIRST = "first"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a pack and a model that was trained on it, kept as `first`."""
    home = make_home(tmp_path_factory.mktemp("made"))
    run_kind(home, 5, "train", **{**TRAIN, "steps": 60, "lr": 1e-2})
    run_kind(home, 6, "export", name=FIRST, run=5)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("jobs.picture.Picture.draw_last", lambda self: None)  # most of these runs' time
    return Path(shutil.copytree(made, tmp_path / "home"))


def train(home: Path, job: int, **changes: Any) -> None:
    run_kind(home, job, "train", **{**TRAIN, "init": FIRST, "steps": 6, **changes})


def losses(home: Path, job: int) -> list[float]:
    return [row.loss for row in read_steps(home / "runs" / str(job) / "metrics.db")]


def weights(home: Path, job: int) -> bytes:
    newest = [model for model in archive.list_models(home) if model.manifest["run"] == job][-1]
    return (newest.folder / archive.WEIGHTS).read_bytes()


def test_it_goes_on_where_the_model_stood_with_an_optimizer_of_its_own(home: Path) -> None:
    train(home, 7)
    before, after = losses(home, 5), losses(home, 7)
    assert after[0] < before[0] - 1, "fresh weights know nothing; these know what the first run taught them"
    [model] = [e for e in archive.list_models(home) if e.manifest["run"] == 7]
    assert (model.manifest["parent"], model.manifest["step"]) == (FIRST, 6)


def test_the_weights_are_the_models_own_and_so_is_the_longest_document(home: Path) -> None:
    args, pack = kind.parse("train", {**TRAIN, "init": FIRST}), open_pack(home / "packs/main")
    shape = model_config(args, vocab_size=800, context_len=160)
    settings = train_config(args, pack.folder, shape)
    model, longest = first_model(settings, pack)
    assert longest == 0, "a config without init: weights drawn by the seed"
    begun, longest = first_model(dataclasses.replace(settings, init=home / "models" / FIRST), pack)
    kept = archive.read_model(home / "models" / FIRST)[1]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in begun.state_dict().items())
    assert not torch.equal(model.head_weight, begun.head_weight)
    assert longest == archive.entry(home / "models" / FIRST).manifest["longest"] > 0


def test_resumed_it_needs_the_model_no_more_and_ends_with_the_same_bits(home: Path) -> None:
    train(home, 7)
    with pytest.raises(Unfinished):
        train(home, 8, name="other", judge_every=5)
    shutil.rmtree(home / "models" / FIRST)
    train(home, 8, name="other")
    assert weights(home, 8) == weights(home, 7)


def test_a_run_does_not_go_on_as_one_that_began_with_another_model(home: Path) -> None:
    train(home, 7)
    with pytest.raises(BadArgs, match="made with another init"):
        train(home, 7, init=None, steps=8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_layer": 2}, "first has n_layer=1, this run n_layer=2: a run begins with weights of its own shape"),
        ({"n_head": 4, "qk_norm": True}, "first has n_head=2, qk_norm=False, this run n_head=4, qk_norm=True"),
        ({"num_positions": 200}, "first has num_positions=160, this run num_positions=200"),
        ({"init": "../secret"}, "can't name a model"),
    ],
)
def test_a_model_of_another_shape_is_refused_before_it_is_queued(home: Path, changes: Any, says: str) -> None:
    with pytest.raises(BadArgs, match=says):
        kind.check("train", kind.parse("train", {**TRAIN, "init": FIRST, **changes}), home)


def test_dropout_may_differ_and_positions_that_are_turned_have_no_table(home: Path) -> None:
    kind.check("train", kind.parse("train", {**TRAIN, "init": FIRST, "dropout": 0.3}), home)
    run_kind(home, 9, "train", **{**TRAIN, "pos": "rope", "name": "turned", "steps": 1})
    [model] = [e.name for e in archive.list_models(home) if e.manifest["run"] == 9]
    longer = {"init": model, "pos": "rope", "num_positions": 999}
    kind.check("train", kind.parse("train", {**TRAIN, **longer}), home)


def test_one_that_is_not_there_yet_is_queued_and_refused_only_when_it_starts(home: Path) -> None:
    with pytest.raises(BadArgs, match="init: there is no model tomorrow: `jobctl models list` names them"):
        train(home, 7, init="tomorrow")


def test_one_that_is_being_written_right_now_may_be_there_when_it_starts(home: Path) -> None:
    (home / "models" / FIRST / files.MANIFEST).unlink()
    for begun in (archive.CONFIG, archive.WEIGHTS):
        kind.check("train", kind.parse("train", {**TRAIN, "init": FIRST}), home)
        kind.check("gguf", kind.parse("gguf", {"model": FIRST}), home)
        (home / "models" / FIRST / begun).unlink()


@pytest.mark.parametrize(("job", "named"), [("train", "init"), ("gguf", "model")])
def test_a_model_whose_config_can_not_be_read_is_refused_before_it_is_queued(home: Path, job: str, named: str) -> None:
    config, given = home / "models" / FIRST / archive.CONFIG, (TRAIN if job == "train" else {})
    for text, says in (("{", "Expecting property name"), ('{"depth": 1}', "which this version does not know")):
        config.write_text(text)
        with pytest.raises(BadArgs, match=f"{job}: .*{says}"):
            kind.check(job, kind.parse(job, {**given, named: FIRST}), home)


def test_a_damaged_model_is_refused_by_name(home: Path) -> None:
    (home / "models" / FIRST / archive.WEIGHTS).write_bytes(b"\0" * 100)
    with pytest.raises(BadArgs, match=r"first/model\.safetensors is damaged"):
        train(home, 7)


def test_a_pack_of_another_tokenizers_tokens_is_refused(home: Path) -> None:
    run_kind(home, 10, "tokenizer", vocab_size=800, terms=["siege"], out="tokenizers/other")
    run_kind(home, 11, "pack", tokenizer="tokenizers/other", out="packs/other", context_len=160, val_articles=0.2)
    assert files.read_manifest(home / "packs/other")["vocab_size"] == 800, "else another sentence comes first"
    with pytest.raises(BadArgs, match="reads another tokenizer's tokens than the pack other holds"):
        train(home, 7, pack="packs/other")
