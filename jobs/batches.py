"""How a step's contexts are grouped into micro-batches: as a training's args say, or as many at a time as fit.

What was found to fit is kept in the home, cache/fits/<model>.json, by card: the next start of that model on that card
tries nothing anew. It is a cache: a file that can't be read is as good as none.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.contract import EXIT_OUT_OF_MEMORY, EXIT_UNFINISHED, BadArgs, OutOfGpuMemory, Run, Unfinished

if TYPE_CHECKING:
    from gpt.checkpoint import Checkpoint
    from gpt.config import GPTConfig, TrainConfig
    from gpt.fit import Found
    from gpt.shards import Pack
    from jobs.kinds.train import Args

AUTO = "auto"
CONTEXTS_PER_STEP = 120  # where nobody says: half a million tokens of 4,096 each, GPT-2's batch
NO_LESS = 1.05  # what ran out of memory after it had been tried needs more than a little more
BATCH = ("micro_batch", "grad_accum", "contexts_per_step")


def grouped(micro_batch: int | str, grad_accum: int | None, contexts: int | None) -> tuple[int | None, int]:
    """(grad_accum, contexts of a step) from what is said of the three; grad_accum is None where what fits decides.

    Raises BadArgs where they contradict each other.
    """
    for name, value in zip(BATCH, (micro_batch, grad_accum, contexts), strict=True):
        if isinstance(value, int) and value < 1:
            raise BadArgs(f"train: {name}={value}: take 1 or more")
    if isinstance(micro_batch, str):
        if grad_accum is not None:
            raise BadArgs(
                f"train: with micro_batch=auto what fits decides grad_accum: say contexts_per_step, not "
                f"grad_accum={grad_accum}"
            )
        return None, contexts or CONTEXTS_PER_STEP
    if grad_accum is None:
        step = contexts or CONTEXTS_PER_STEP
        if step % micro_batch:
            fitting = ", ".join(str(size) for size in range(1, step + 1) if step % size == 0)
            raise BadArgs(
                f"train: {step} contexts a step are not so many times micro_batch={micro_batch}: take one of "
                f"{fitting}, or another contexts_per_step"
            )
        return step // micro_batch, step
    if contexts not in (None, micro_batch * grad_accum):
        raise BadArgs(
            f"train: micro_batch={micro_batch} times grad_accum={grad_accum} is not contexts_per_step={contexts}: "
            f"leave one of them out, or say that it is none"
        )
    return grad_accum, micro_batch * grad_accum


# ── what fits ─────────────────────────────────────────────────────────────────────────────────────────────────────


RanOut = Callable[[str], int]  # told why memory ran out, says with which code to end


@contextmanager
def fitted(
    args: "Args", job: Run, config: "TrainConfig", prepared: "tuple[Checkpoint | None, Pack]"
) -> "Iterator[tuple[TrainConfig, RanOut]]":
    """config as the args group it, or as what fits the device does. Who runs out of memory inside is remembered.

    config: one process's share of the run, and so is what comes of it. Beside it: what a process that is not this one
    is reported to when its memory ran out.
    Raises OutOfGpuMemory when not even one context fits; Unfinished when told to leave before that is known, or when
    the memory ran out in the middle: the next attempt takes fewer at a time.
    """
    if args.micro_batch != AUTO:
        yield config, lambda why: EXIT_OUT_OF_MEMORY
        return
    import torch

    from gpt import fit

    checkpoint, pack = prepared
    room = fit.room_on(torch.device(job.device), job.reserve_mib, job.vram_mib or None, args.processes)
    notes = Fits(job.home, recipe(args, config.model, pack.context_len), card(job.device))
    before = None if checkpoint is None else checkpoint.state["config"]["micro_batch"]
    probe = functools.partial(
        fit.real_probe, context_len=pack.context_len, stop=lambda: job.stop_requested, beside=job.workdir
    )

    def tell(text: str) -> None:
        job.note(text if args.processes == 1 else f"each of {args.processes} processes: {text}")

    try:
        chosen = fit.fit(config, pack.context_len, room, notes, probe, before=before, tell=tell)
    except fit.NothingFits as error:
        raise OutOfGpuMemory(f"train: {error}") from error
    except fit.Stopped:
        raise Unfinished from None

    def ran_out(why: str) -> int:
        notes.keep(fit.Found(chosen.micro_batch, 0, more_than_mib=round(room.mib * NO_LESS)))
        job.note(
            f"{chosen.micro_batch} contexts at a time fitted when they were tried, and do not any more "
            f"({why}): the next attempt takes fewer"
        )
        return EXIT_UNFINISHED

    try:
        yield chosen, ran_out
    except torch.OutOfMemoryError as error:
        ran_out(str(error).splitlines()[0])
        raise Unfinished from None


def card(device: str) -> str:
    """The name that findings are kept under."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def recipe(args: "Args", model: "GPTConfig", context_len: int) -> dict[str, Any]:
    """All that decides how much memory a micro-batch takes. context_len: of the pack's contexts."""
    import jobs.kind

    others = {*jobs.kind.load("train").NOT_VRAM_ARGS, *BATCH, "pack", "preset"}
    decides = {name: value for name, value in jobs.kind.as_given(args).items() if name not in others}
    return {**decides, **model.to_json(), "tokens": context_len}


class Fits:
    """What is known of one model on one card; what other cards gave stays beside it."""

    def __init__(self, home: Path, of: dict[str, Any], on: str) -> None:
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
        self.path, self.of, self.on = home / "cache" / "fits" / f"{digest}.json", of, on

    def by_card(self) -> dict[str, list[dict[str, Any]]]:
        try:
            found = json.loads(self.path.read_text())["found"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return found if isinstance(found, dict) else {}

    def read(self) -> "list[Found]":
        from gpt.fit import Found

        try:
            return [Found(**each) for each in self.by_card().get(self.on, [])]
        except TypeError:
            return []  # of another version

    def keep(self, found: "Found") -> None:
        """In place of what was known of this micro_batch. Raises OSError (a full disk)."""
        from datagen.files import write_json

        known = {each.micro_batch: each for each in self.read()} | {found.micro_batch: found}
        by_card = self.by_card() | {self.on: [asdict(known[size]) for size in sorted(known)]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"of": self.of, "found": by_card})
