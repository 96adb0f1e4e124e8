"""The largest micro_batch that fits the memory that is free: predicted, then proven by real steps before step 1.

The proof is the training loop itself on the worst contexts there can be, in a folder of its own: whatever a step takes,
the probe takes, and nothing of it is left when it is over. What it found holds for this model on this card until a
run finds otherwise; whoever calls keeps it.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from gpt import memory
from gpt.config import TrainConfig
from gpt.shards import Context, Pack
from gpt.train import Trainer, silent, stream_dtype

PROBE_STEPS = 2  # the first makes the optimizer's moments, the second has them beside its activations
HOST_SHARE = 2  # without a card: of what the machine has available, one in so many; the kernel kills who takes it all


class Stopped(Exception):
    """Told to leave while trying."""


class NothingFits(Exception):
    """Not even one context. The sentence says what would help."""


@dataclass(frozen=True)
class Found:
    """What was learned about one micro_batch. MiB, as torch's allocator counts: without CUDA's own context.

    took_mib: the most it held; None when it ran out. more_than_mib: it ran out with so much; None when it did not.
    """

    micro_batch: int
    predicted_mib: int
    took_mib: int | None = None
    more_than_mib: int | None = None
    torch: str = str(torch.__version__)

    def needs_mib(self) -> int:
        """So much it takes, by the best that is known."""
        if self.took_mib is not None:
            return self.took_mib
        return self.predicted_mib if self.more_than_mib is None else max(self.predicted_mib, self.more_than_mib + 1)


class Notes(Protocol):
    """Where findings are kept from one start to the next."""

    def read(self) -> Sequence[Found]: ...

    def keep(self, found: Found) -> None: ...


@dataclass(frozen=True)
class Room:
    """free_mib: of the device now. reserve_mib: of that, left to others."""

    free_mib: int
    reserve_mib: int

    @property
    def mib(self) -> int:
        return self.free_mib - self.reserve_mib

    def __str__(self) -> str:
        return f"{self.free_mib:,} free" + (f", {self.reserve_mib:,} of them not ours" if self.reserve_mib else "")


def fit(
    config: TrainConfig,
    context_len: int,
    room: Room,
    notes: Notes,
    probe: Callable[[TrainConfig], int],
    *,
    before: int | None = None,
    tell: Callable[[str], None] = print,
) -> TrainConfig:
    """config with the largest micro_batch that fits, its step the same contexts as before. Said in one sentence.

    before: the micro_batch the run had until now; it stays while it fits, for another one rounds sums another way.
    probe: the MiB that steps of a config take; raises OutOfMemoryError. Raises NothingFits.
    """
    known = {found.micro_batch: found for found in notes.read() if found.torch == torch.__version__}
    guesses = list(candidates(config, context_len, before))
    for guess in guesses:
        found = known.get(guess.micro_batch, guess)
        if found.needs_mib() > room.mib:
            continue
        fitted, when = regrouped(config, guess.micro_batch), "when that was tried before"
        if found.took_mib is None:
            found = known[guess.micro_batch] = _proven(guess, fitted, room, probe)
            notes.keep(found)
            when = "when that was tried"
        words = f"micro_batch {fitted.micro_batch} x grad_accum {fitted.grad_accum}: predicted {guess.predicted_mib:,}"
        if found.needs_mib() <= room.mib:
            tell(f"{words} MiB of {room}; the longest documents took {found.took_mib:,} {when}")
            return fitted
        tell(f"{words} MiB of {room}, but the longest documents took more: next a smaller one")
    least = min(known.get(guess.micro_batch, guess).needs_mib() for guess in guesses)
    raise NothingFits(
        f"not even one context fits: it takes {least:,} MiB of {room}. Free the device, or take recompute=true, "
        f"optimizer=adamw8bit, a smaller model or a shorter context_len"
    )


def candidates(config: TrainConfig, context_len: int, before: int | None) -> Iterator[Found]:
    """What to try, in this order: the micro_batch of before, then all that divide the step, the largest first."""
    rows = {row.micro_batch: row for row in memory.table_of(config, context_len, stream_dtype_bytes(config))}
    order = sorted(rows, reverse=True)
    for micro_batch in [before, *order] if before in rows else order:
        assert micro_batch is not None
        yield Found(micro_batch, round(rows[micro_batch].own_mib))


def stream_dtype_bytes(config: TrainConfig) -> int:
    return stream_dtype(config.dtype, torch.device(config.device)).itemsize


def regrouped(config: TrainConfig, micro_batch: int) -> TrainConfig:
    """The same step in micro-batches of another size."""
    assert config.contexts_per_step % micro_batch == 0, "the step would not stay the same"
    return replace(config, micro_batch=micro_batch, grad_accum=config.contexts_per_step // micro_batch)


def _proven(guess: Found, config: TrainConfig, room: Room, probe: Callable[[TrainConfig], int]) -> Found:
    try:
        return replace(guess, took_mib=probe(config))
    except torch.OutOfMemoryError:
        pass  # its traceback holds the tensors of the step: let go of it first
    let_go()
    return replace(guess, more_than_mib=room.mib)


# ── the probe ─────────────────────────────────────────────────────────────────────────────────────────────────────


class WorstPack(Pack):
    """Contexts that take the most memory: each a single document, and every token gives loss."""

    def __init__(self, context_len: int, vocab_size: int) -> None:
        self.folder, self.context_len, self.pad = Path("worst"), context_len, 0
        self.manifest = {"sha256": {}, "vocab_size": vocab_size}

    def num_contexts(self, split: str) -> int:
        return 1 if split == "train" else 0

    def row(self, split: str, indices: Sequence[int]) -> Context:
        tokens = np.zeros(len(indices) * self.context_len, np.int32)
        bounds = np.arange(0, len(tokens) + 1, self.context_len, dtype=np.int32)
        return Context(tokens, np.zeros_like(tokens), bounds, len(tokens))


def real_probe(
    config: TrainConfig, context_len: int, stop: Callable[[], bool] = lambda: False, beside: Path | None = None
) -> int:
    """The MiB that steps take at most. What they took is free again afterwards. Raises OutOfMemoryError, Stopped.

    beside: where the folder is that the steps write in; None: where the system has such.
    """
    measured = _peak_on_card if torch.device(config.device).type == "cuda" else _peak_on_host
    let_go()
    try:
        return -(-measured(partial(_steps, config, context_len, stop, beside), config.device) // memory.MIB)
    finally:
        let_go()


def _peak_on_card(work: Callable[[], None], device: str) -> int:
    """The most bytes that were taken from the card while it worked: what lies in holes counts, CUDA's own does not."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device)
    work()
    return torch.cuda.max_memory_reserved(device) - before


def _peak_on_host(work: Callable[[], None], _: str) -> int:
    """The most bytes of tensors that were there at once while it worked, by torch's own account."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    assert seen.profiler is not None
    changes = [event.nbytes() for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(accumulate(changes), default=0)


def _steps(config: TrainConfig, context_len: int, stop: Callable[[], bool], beside: Path | None) -> None:
    """Steps of the real loop; of each no more micro-batches than show how they stand on each other's gradients."""
    short = replace(
        config, steps=PROBE_STEPS + 1, grad_accum=min(config.grad_accum, 2), init=None, eval_every=10**9,
        checkpoint_every=10**9, checkpoint_every_s=1e9, compile="off",  # it would compile anew for each size
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="probe-", dir=beside) as folder:
        trainer = Trainer(short, Path(folder), None, WorstPack(context_len, config.model.vocab_size), tell=silent)
        try:
            for _ in range(PROBE_STEPS):
                if trainer.advance(stop) is None:
                    raise Stopped
        finally:
            trainer.close()


def let_go() -> None:
    """What nobody holds goes back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ── the device ────────────────────────────────────────────────────────────────────────────────────────────────────


def room_on(device: torch.device, reserve_mib: int, most_mib: int | None = None, processes: int = 1) -> Room:
    """What each of a run's processes may take there. On a card it is held to that: it runs out of memory before the
    desktop does.

    most_mib: that its user lets it have of a card, CUDA's own counted; None: all but the reserve. processes: they have
    a card each, and without cards the machine's memory together.
    """
    if device.type != "cuda":
        import psutil

        available = psutil.virtual_memory().available // memory.MIB
        return Room(available, available - available // (HOST_SHARE * processes))
    free, total = torch.cuda.mem_get_info(device)
    ours = torch.cuda.memory_reserved(device)
    room = room_of((free + ours) // memory.MIB, reserve_mib, most_mib)
    torch.cuda.set_per_process_memory_fraction(max(0.0, min(1.0, room.mib * memory.MIB / total)), device)
    return room


def room_of(free_mib: int, reserve_mib: int, most_mib: int | None) -> Room:
    """What is free without the reserve, or less where its user said so."""
    if most_mib is None:
        return Room(free_mib, reserve_mib)
    return Room(free_mib, max(reserve_mib, free_mib - (most_mib - memory.CONTEXT_MIB)))
