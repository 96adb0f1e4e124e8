"""What two ranks decide they decide alike: what to skip, where to go back to, when to leave. Ranks as threads of one
process here, so that what each of them sees can be looked at; real processes are in tests/whole/test_ranks.py.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from gpt import checkpoint
from gpt.config import TrainConfig
from gpt.ranks import Ranks
from gpt.train import train
from tests.gpt.test_train import context_of_step, contexts_seen, ledger, losses, skips, spoil
from tests.gpt.tiny import config, make_pack, shape


class Table:
    """Where two threads put what they say, and each takes what both have said."""

    def __init__(self) -> None:
        self.said: list[Any] = [None, None]
        self.both = threading.Barrier(2, timeout=30)

    def all(self, rank: int, word: Any) -> list[Any]:
        self.said[rank] = word
        self.both.wait()
        found = list(self.said)
        self.both.wait()
        return found


@dataclass(frozen=True)
class Thread(Ranks):
    """Ranks without processes."""

    table: Table = field(default_factory=Table)

    def gather(self, rows: list[list[int]]) -> list[list[int]]:
        return [row for rows in zip(*self.table.all(self.rank, rows), strict=True) for row in rows]

    def agree(self, yes: bool) -> bool:
        return any(self.table.all(self.rank, yes))

    def told(self, number: int) -> int:
        return int(self.table.all(self.rank, number)[0])

    def add_up(self, tensors: Any) -> None:
        mine: list[Tensor] = list(tensors)
        for tensor, *parts in zip(mine, *self.table.all(self.rank, [x.clone() for x in mine]), strict=True):
            tensor.copy_(parts[0] + parts[1])


def together(it: TrainConfig, workdir: Path, stops: tuple[Callable[[], bool], ...] = ()) -> list[list[int]]:
    """Both ranks to their end; the steps that each of them went through."""
    table = Table()

    def run(rank: int) -> list[int]:
        stop = stops[rank] if stops else lambda: False
        return [step.number for step in train(it, workdir, stop=stop, ranks=Thread(rank, 2, table))]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, (0, 1)))


def assert_ends_alike(one: Path, two: Path) -> None:
    weights = [load_file(checkpoint.saved(at / "checkpoint")[0] / "model.safetensors") for at in (one, two)]
    for name, weight in weights[0].items():
        assert (weight - weights[1][name]).abs().max() < 1e-5, name
    assert [row[0] for row in losses(two)] == [row[0] for row in losses(one)]
    assert (ledger(two), skips(two)) == (ledger(one), skips(one))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "long", num_contexts=200)


def plain(pack: Path, **changes: Any) -> TrainConfig:
    """Without dropout: threads share one source of random numbers, processes do not. Without biases: a key's bias moves
    nothing, so its gradient is the rounding alone, which Adam makes as large as any other."""
    return config(pack, **{"model": shape(bias=False), "micro_batch": 1, "grad_accum": 4, **changes})


def test_data_of_one_rank_that_gives_no_number_is_passed_over_by_both(pack, tmp_path, monkeypatch):
    it = plain(pack, steps=6)
    spoil(monkeypatch, {context_of_step(pack, 3)})
    list(train(it, tmp_path / "one"))
    assert together(it, tmp_path / "two") == [[1, 2, 3, 4, 5, 6]] * 2
    assert len(skips(tmp_path / "two")) == 1
    assert_ends_alike(tmp_path / "one", tmp_path / "two")


def test_both_go_back_to_the_same_checkpoint(pack, tmp_path, monkeypatch):
    it = plain(pack, steps=9, checkpoint_every=5, max_skips=1)
    spoil(monkeypatch, {context_of_step(pack, 8), context_of_step(pack, 9)})
    list(train(it, tmp_path / "one"))
    assert together(it, tmp_path / "two") == [[1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9]] * 2
    assert_ends_alike(tmp_path / "one", tmp_path / "two")


def test_when_one_is_told_to_leave_both_leave_and_their_last_step_is_saved(pack, tmp_path):
    it, asked = plain(pack, steps=9), iter(range(100))
    assert together(it, tmp_path, (lambda: False, lambda: next(asked) == 7)) == [[1, 2, 3]] * 2
    assert checkpoint.saved(tmp_path / "checkpoint")[0].name == "step-0000003"
    assert together(it, tmp_path) == [[4, 5, 6, 7, 8, 9]] * 2
    assert len(set(contexts_seen(tmp_path))) == 9 * 4


def test_a_damaged_checkpoint_is_set_aside_by_one_and_both_take_the_one_before(pack, tmp_path):
    it = plain(pack, steps=10)
    together(plain(pack, steps=10), tmp_path)
    newest = checkpoint.saved(tmp_path / "checkpoint")[0]
    (newest / "model.safetensors").write_bytes(b"")
    assert together(it, tmp_path) == [[6, 7, 8, 9, 10]] * 2
    assert (tmp_path / "checkpoint" / f"damaged-{newest.name}").is_dir()
