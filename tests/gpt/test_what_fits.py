"""The largest micro_batch that fits: how it is chosen, that the probe takes what a run takes, and leaves nothing."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch

from gpt import fit, memory
from gpt.config import GPTConfig, TrainConfig
from gpt.fit import Found, NothingFits, Room
from gpt.train import train
from tests.gpt.test_train import losses, state_of
from tests.gpt.tiny import config, make_pack, shape

BIG = TrainConfig(
    Path("none"), GPTConfig(num_positions=8192), steps=10, micro_batch=1, grad_accum=120, dtype="bfloat16"
)
CARD = Room(free_mib=16_376 - memory.CONTEXT_MIB, reserve_mib=1024)


class Kept(list[Found]):
    """Findings, kept as a file keeps them: one of each micro_batch."""

    def read(self) -> list[Found]:
        return list(self)

    def keep(self, found: Found) -> None:
        self[:] = [each for each in self if each.micro_batch != found.micro_batch] + [found]


class Card:
    """Takes so many MiB a context and a thousand for the rest; a step that needs more than it has runs out."""

    def __init__(self, each_mib: int, has_mib: int = 10**9) -> None:
        self.each_mib, self.has_mib, self.tried = each_mib, has_mib, list[int]()

    def __call__(self, config: TrainConfig) -> int:
        self.tried.append(config.micro_batch)
        took = 1000 + self.each_mib * config.micro_batch
        if took > self.has_mib:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return took


def fitted(card: Card, kept: Kept, room: Room = CARD, before: int | None = None) -> tuple[tuple[int, int], list[str]]:
    said: list[str] = []
    found = fit.fit(BIG, 4096, room, kept, card, before=before, tell=said.append)
    return (found.micro_batch, found.grad_accum), said


def test_the_largest_that_is_predicted_to_fit_is_tried_and_said_once():
    card, kept = Card(2000), Kept()
    assert fitted(card, kept) == ((6, 20), [
        "micro_batch 6 x grad_accum 20: predicted 14,301 MiB of 15,776 free, 1,024 of them not ours; the longest "
        "documents took 13,000 when that was tried"
    ])  # fmt: skip
    assert (card.tried, [(each.micro_batch, each.took_mib) for each in kept]) == ([6], [(6, 13_000)])


@pytest.mark.parametrize("card", [Card(2400, has_mib=14_000), Card(2400)], ids=["runs out", "takes more than is ours"])
def test_what_was_predicted_too_low_goes_down_to_the_next_that_keeps_the_step(card):
    room = CARD if card.has_mib < 10**9 else Room(15_776, 1_400)
    said = fitted(card, kept := Kept(), room)
    assert (said[0], card.tried, len(said[1])) == ((5, 24), [6, 5], 2)
    assert "micro_batch 6 x grad_accum 20: predicted 14,301 MiB" in said[1][0]
    assert said[1][0].endswith("but the longest documents took more: next a smaller one")
    assert kept[0].needs_mib() > room.mib - 1
    card.tried.clear()
    again = fitted(card, kept, room)
    assert again[0] == (5, 24)
    assert again[1][0].endswith("the longest documents took 13,000 when that was tried before")
    assert card.tried == [], "the second start tries nothing"


def test_with_more_room_than_it_ran_out_of_it_is_tried_again():
    card, kept = Card(2400, has_mib=14_000), Kept()
    fitted(card, kept)
    assert fitted(Card(2400), kept, Room(17_000, 1024))[0] == (6, 20)


def test_what_another_torch_took_is_not_believed():
    kept = Kept([Found(6, 14_000, took_mib=99_999, torch="1.0"), Found(5, 12_000, took_mib=1, torch="1.0")])
    assert fitted(card := Card(2000), kept)[0] == (6, 20)
    assert card.tried == [6]


def test_a_run_keeps_its_micro_batch_while_that_fits_and_takes_another_when_not():
    kept = Kept()
    assert fitted(Card(2600), kept, before=3)[0] == (3, 40)
    assert fitted(Card(2600), kept, Room(9_000, 1024), before=3)[0] == (2, 60), "somebody plays"
    assert fitted(Card(2000), kept, before=7)[0] == (6, 20), "the step is another now"


def test_a_card_too_small_for_one_context_says_what_would_help():
    with pytest.raises(
        NothingFits, match=r"takes 5,4\d\d MiB of 6,000 free, 1,024 .* recompute=true, optimizer=adamw8"
    ):
        fitted(card := Card(1), Kept(), Room(6_000, 1024))
    with pytest.raises(NothingFits, match=r"it takes 10,001 MiB"):
        fitted(Card(20_000, has_mib=10_000), Kept(), Room(10_000, 0))
    assert card.tried == []


# ── the real probe ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"recompute": True},
        {"dtype": "bfloat16", "ema_decay": 0.9},
        {"optimizer": "muon"},
        {"optimizer": "adamw8bit"},
    ],
    ids=str,
)
def test_the_loop_on_the_worst_documents_takes_what_is_predicted_for_them(more):
    model = GPTConfig(n_layer=3, n_head=2, n_embd=128, vocab_size=2000, context_len=256)
    settings = TrainConfig(Path("none"), model, steps=9, micro_batch=3, grad_accum=4, threads=1, **more)
    rows = memory.table_of(settings, 256, fit.stream_dtype_bytes(settings), labelled_share=1.0)
    [predicted] = [row.own_mib for row in rows if row.micro_batch == 3]
    assert fit.real_probe(settings, 256) == pytest.approx(predicted, rel=0.1)


def test_a_larger_micro_batch_is_seen_to_take_more_and_longer_documents_too():
    settings = TrainConfig(
        Path("none"), GPTConfig(**shape().to_json() | {"n_embd": 64, "vocab_size": 900, "context_len": 512}), steps=9,
        micro_batch=1, grad_accum=8, threads=1,
    )  # fmt: skip
    took = [fit.real_probe(each, length) for each, length in (
        (settings, 256), (settings, 512), (fit.regrouped(settings, 4), 256), (fit.regrouped(settings, 4), 512),
    )]  # fmt: skip
    assert took == sorted(set(took))


@pytest.mark.parametrize("more", [{}, {"optimizer": "muon", "ema_decay": 0.9}], ids=str)
def test_a_run_after_a_probe_has_the_bits_of_one_without(tmp_path, more):
    settings = config(make_pack(tmp_path / "pack"), steps=6, **more)
    list(train(settings, tmp_path / "without"))
    assert fit.real_probe(settings, 48) > 0
    list(train(settings, tmp_path / "with"))
    assert state_of(tmp_path / "with") == state_of(tmp_path / "without")
    assert losses(tmp_path / "with") == losses(tmp_path / "without")


def test_who_is_told_to_leave_stops_trying(tmp_path):
    with pytest.raises(fit.Stopped):
        fit.real_probe(config(tmp_path), 48, lambda: True)


def test_of_a_machine_without_a_card_half_is_left_alone():
    room = fit.room_on(torch.device("cpu"), 1024)
    assert 0 < room.mib <= room.free_mib / 2


def test_a_run_has_what_is_free_beside_the_reserve_or_what_its_user_said():
    assert fit.room_of(15_776, 1024, None).mib == 14_752
    assert fit.room_of(15_776, 1024, 8_000).mib == 8_000 - memory.CONTEXT_MIB
    assert fit.room_of(4_000, 1024, 8_000).mib == 2_976, "there is no more"


def test_a_card_holds_the_run_to_its_room(monkeypatch):
    held: dict[str, float] = {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (14_776 * memory.MIB, 16_376 * memory.MIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1_000 * memory.MIB)  # our own cache, to be reused
    inspect.signature(torch.cuda.set_per_process_memory_fraction).bind(0.5, torch.device("cuda:0"))
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: held.update({str(device): share})
    )
    assert fit.room_on(torch.device("cuda:0"), 1024) == Room(15_776, 1024)
    assert held == {"cuda:0": 14_752 / 16_376}
    fit.room_on(torch.device("cuda:0"), 20_000)
    assert held == {"cuda:0": 0.0}, "nothing is ours"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures what a CUDA card gives")
def test_on_a_card_the_probe_takes_what_is_predicted_and_no_more_than_its_room():
    settings = dataclasses.replace(BIG, device="cuda")
    rows = {row.micro_batch: row.own_mib for row in memory.table_of(settings, 4096, 2, labelled_share=1.0)}
    room = fit.room_on(torch.device("cuda"), 1024)
    assert fit.real_probe(fit.regrouped(settings, 3), 4096) == pytest.approx(rows[3], rel=0.15)
    torch.cuda.set_per_process_memory_fraction(6000 / room.free_mib)
    with pytest.raises(torch.OutOfMemoryError):
        fit.real_probe(fit.regrouped(settings, 3), 4096)
    torch.cuda.set_per_process_memory_fraction(1.0)
