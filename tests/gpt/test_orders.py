"""python -m gpt ORDER.json: a training told in a file, and what ranks tell each other of their micro-batches."""

import json
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.config import BadConfig, TrainConfig
from gpt.data import Facts, read_batch
from gpt.ranks import Ranks
from gpt.shards import open_pack
from gpt.train import Trainer, train
from tests.gpt.test_train import ledger, losses, state_of
from tests.gpt.tiny import config, make_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def ordered(folder: Path, it: dict[str, Any]) -> str:
    path = folder / "order.json"
    path.write_text(json.dumps({"workdir": str(folder / "run"), "config": it}))
    return str(path)


def test_a_training_comes_back_from_json_as_it_was(pack):
    it = config(pack, ema_decay=0.5, weight_decay=((0.0, 0.1), (2.0, 0.05)), init=pack / "no-model")
    assert TrainConfig.from_json(json.loads(json.dumps(it.to_json()))) == it


def test_without_torchrun_an_order_is_trained_by_one_process_to_the_same_bits(pack, tmp_path, capsys):
    it = config(pack, steps=6)
    assert main([ordered(tmp_path, it.to_json())]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [f"step {n} of 6" for n in range(1, 7)]
    list(train(it, tmp_path / "straight"))
    assert state_of(tmp_path / "run") == state_of(tmp_path / "straight")
    assert (losses(tmp_path / "run"), ledger(tmp_path / "run")) == (
        losses(tmp_path / "straight"), ledger(tmp_path / "straight"),
    )  # fmt: skip


def test_told_to_leave_before_its_first_step_it_is_unfinished_and_what_is_done_is_done(pack, tmp_path, monkeypatch):
    order = ordered(tmp_path, config(pack, steps=3).to_json())
    with monkeypatch.context() as patch:
        patch.setattr("threading.Event.is_set", lambda _: True)
        assert main([order]) == 75
    assert [main([order]), main([order])] == [0, 0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stepps": 7}, "a training has no stepps: take attention, betas, checkpoint_every"),
        ({"pack": "nowhere"}, "nowhere"),
        ({"lr": -1.0}, "take lr and grad_clip above 0"),
    ],
)
def test_an_order_that_can_not_be_is_refused_with_a_sentence(pack, tmp_path, capsys, changes, says):
    assert main([ordered(tmp_path, config(pack).to_json() | changes)]) == 64
    assert says in capsys.readouterr().err


def test_an_order_without_its_model_says_what_it_needs(pack, tmp_path, capsys):
    without = {name: value for name, value in config(pack).to_json().items() if name != "model"}
    assert main([ordered(tmp_path, without)]) == 64
    assert "a training needs model" in capsys.readouterr().err


def test_the_facts_of_a_micro_batch_come_through_as_numbers(pack):
    facts = read_batch(open_pack(pack), "train", [7, 2]).facts
    assert facts.num_labels > 0
    assert all(-(2**63) <= number < 2**63 for number in facts.to_row())
    assert asdict(Facts.from_row(facts.to_row())) == asdict(facts)


def test_ranks_share_a_step_each_micro_batch_once_and_only_in_equal_parts(pack, tmp_path):
    shares = [Ranks(rank, 3).share(range(9)) for rank in range(3)]
    assert [list(share) for share in shares] == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    with pytest.raises(BadConfig, match="grad_accum=2 does not divide among 3 processes: take a multiple"):
        Trainer(config(pack), tmp_path, None, open_pack(pack), tell=print, ranks=Ranks(0, 3))
