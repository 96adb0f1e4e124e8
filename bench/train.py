"""How fast training is, beside its bound and beside others: python -m bench.train [--device cuda] [--nanogpt PATH]

The real loop on packed contexts of random documents; a line for each way, in one run:

    eager, compiled, deterministic   the same training, by the switches of those names
    padded                           the same documents, one in a row, padded to the longest of the step
    nanogpt                          those padded rows by nanoGPT, compiled as it is by default on a card

What counts is answer tokens: those that gave loss. MFU is of the peak of the card (bf16, fp32 sums), with the work
that the real documents need: the true sum of their squared lengths, the head on labelled rows. Where no peak is known,
on a CPU above all, bare products of the model's own shapes run after each step for about as long, and are the bound.
Without sizes: the demo's on a CPU, 183M parameters with contexts of 4,096 on a card.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from bench.packs import make_pack
from bench.peer import Peer, padded_rows
from gpt import compiled
from gpt.attention import Documents
from gpt.config import GPTConfig, TrainConfig
from gpt.data import Batch
from gpt.metrics import MicroBatch
from gpt.model import flops_per_token
from gpt.shards import open_pack
from gpt.train import Trainer, learning_rate

SIZES: dict[str, dict[str, Any]] = {
    "cpu": {
        "n_layer": 3, "n_head": 4, "n_embd": 256, "vocab_size": 4096, "context_len": 512, "micro_batch": 8, "steps": 20,
        "document_len": 46, "spread": 0.25, "label_share": 0.15, "memory": [],
    },
    "cuda": {
        "n_layer": 18, "n_head": 12, "n_embd": 768, "vocab_size": 32_000, "context_len": 4096, "micro_batch": 3,
        "steps": 20, "document_len": 205, "spread": 0.72, "label_share": 0.4, "memory": [3, 6, 12],
    },
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "eager": {"compile": "off"},
    "compiled": {"compile": "on"},
    "deterministic": {"deterministic": True},
    "padded": {},
    "nanogpt": {},
}
PEAK_TFLOPS = {  # bf16, sums in fp32, dense: the makers' figures; the 40 series by llm.c's mfu.h
    "4070 Ti SUPER": 88.2,
    "4090": 165.2,
    "3090": 71.2,
    "A100": 312.0,
    "H100": 989.0,
    "H200": 989.0,
}
WARM = 3  # steps that are not counted: compiling, filling caches


@dataclass(frozen=True)
class Speed:
    """One way of training. mfu: a share of the card's peak, or of the bare products where that is not known."""

    way: str
    answer_tokens_per_s: float
    tokens_per_s: float
    mfu: float
    data_wait: float  # share of a step's time
    first_step_s: float
    peak_mib: float | None  # of the card's memory


def main(argv: list[str] | None = None) -> int:
    parser = parser_of_sizes(__doc__ or "", argv)
    parser.add_argument("--ways", help="with commas between; all that this machine has, where nothing is said")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of github.com/karpathy/nanoGPT")
    parser.add_argument("--memory", type=int, nargs="*", help="micro_batches whose peak memory is measured, on a card")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here, too")
    told = parser.parse_args(argv)
    facts = machine(told)
    print(" · ".join(f"{name} {value}" for name, value in facts.items()))
    speeds = []
    for way in (told.ways or default_ways(told)).split(","):
        with tempfile.TemporaryDirectory() as folder:
            speeds.append(measure(told, way, Path(folder)))
        print(line(speeds[-1]), flush=True)
    memory = {size: peak_of(told, size) for size in told.memory if told.device.startswith("cuda")}
    for size, mib in memory.items():
        print(f"micro_batch {size:3}: " + ("more than there is" if mib is None else f"{mib:,.0f} MiB at the peak"))
    if told.json is not None:
        found = {"machine": facts, "ways": [asdict(speed) for speed in speeds], "memory_mib": memory}
        told.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def parser_of_sizes(doc: str, argv: list[str] | None) -> argparse.ArgumentParser:
    """The options that a training's shape has; what they are where nothing is said hangs on the device."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    sizes = SIZES["cuda" if parser.parse_known_args(argv)[0].device.startswith("cuda") else "cpu"]
    for name, default in sizes.items():
        if name != "memory":
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.set_defaults(memory=sizes["memory"])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int)
    return parser


def default_ways(told: argparse.Namespace) -> str:
    ways = ["eager", "deterministic", "padded"]
    ways += ["compiled"] if compiled.choose("auto", told.device) else []
    return ",".join([*ways, *(["nanogpt"] if told.nanogpt else [])])


def machine(told: argparse.Namespace) -> dict[str, str]:
    """What the numbers hang on."""
    on_card = told.device.startswith("cuda")
    device = torch.cuda.get_device_name(told.device) if on_card else f"{torch.get_num_threads()} CPU threads"
    shape = f"{told.n_layer} x {told.n_embd}, {told.micro_batch} x {told.context_len} tokens"
    return {
        "device": device,
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "Python": platform.python_version(),
        "model": shape,
    }


def line(speed: Speed) -> str:
    memory = "" if speed.peak_mib is None else f", {speed.peak_mib:7,.0f} MiB"
    return (
        f"{speed.way:14} {speed.answer_tokens_per_s:9,.0f} answer tokens/s of {speed.tokens_per_s:9,.0f}, MFU "
        f"{speed.mfu:6.1%}, waits {speed.data_wait:6.2%} for data, first step {speed.first_step_s:5.1f} s{memory}"
    )


# ── one way ───────────────────────────────────────────────────────────────────────────────────────────────────────


def make_trainer(told: argparse.Namespace, folder: Path, **changes: Any) -> Trainer:
    """A trainer on a pack of its own. changes: of the training's config."""
    contexts = 4 * changes.get("micro_batch", told.micro_batch)
    names = ("vocab_size", "context_len", "document_len", "spread", "label_share")
    pack = make_pack(folder / "pack", num_contexts=contexts, **{name: getattr(told, name) for name in names})
    names = ("n_layer", "n_head", "n_embd", "vocab_size", "context_len")
    shape = GPTConfig(**{name: getattr(told, name) for name in names}, bias=False, tied=True)
    config = TrainConfig(
        pack, shape, steps=10**6, micro_batch=told.micro_batch, grad_accum=1, warmup_steps=10, eval_every=10**6,
        device=told.device, threads=told.threads, dtype=told.dtype,
    )  # fmt: skip
    config = replace(config, **changes)
    return Trainer(config, folder / "run", None, open_pack(pack), tell=lambda text: print(text, file=sys.stderr))


def measure(told: argparse.Namespace, way: str, folder: Path) -> Speed:
    """Steps in one way, and between them the bound."""
    forget_peak(told.device)
    trainer = make_trainer(told, folder, **WAYS[way])
    step, waits = stepper(told, way, trainer)
    bound, spent, rates, first_step_s, read = products(trainer), [], [], 0.0, trainer._read_step
    for number in range(WARM + told.steps):
        [batch] = read()
        started = time.perf_counter()
        step(batch)
        synchronize(told.device)
        took = time.perf_counter() - started
        first_step_s = first_step_s or took
        if number >= WARM:
            spent.append(took)
            rates.append(bound(took))
    per_token, labels = flops(trainer, batch), len(batch.labels_R) / batch.num_tokens
    speed = batch.num_tokens / statistics.median(spent)
    peak = peak_mib(told.device)
    trainer.close()
    return Speed(
        way,
        answer_tokens_per_s=speed * labels,
        tokens_per_s=speed,
        mfu=speed * per_token / (peak_flops(told.device) or statistics.median(rates)),
        data_wait=statistics.median(wait / took for wait, took in zip(waits[WARM:], spent, strict=True)),
        first_step_s=first_step_s,
        peak_mib=peak,
    )


def stepper(told: argparse.Namespace, way: str, trainer: Trainer) -> tuple[Callable[[Batch], object], list[float]]:
    """What makes a step of a batch in this way, and how long each step waited for its data, in seconds."""
    waits: list[float] = []
    if way == "nanogpt":
        on_card = told.device.startswith("cuda")
        peer = Peer(told.nanogpt, trainer.model, trainer.config, trainer.model.dtype, compiled=on_card)
        most = trainer.config.micro_batch * trainer.pack.context_len

        def theirs(batch: Batch) -> None:
            waits.append(0.0)  # its rows are made beforehand
            peer.step(padded_rows(batch, most, trainer.device), learning_rate(trainer.config, len(waits)))

        return theirs, waits
    read, most = trainer._read_step, trainer.config.micro_batch * trainer.pack.context_len

    def ours(batch: Batch) -> None:
        trainer._read_step = timed if way != "padded" else lambda: padded_batches(batch, most)  # type: ignore[method-assign]
        if way == "padded":
            waits.append(0.0)
        trainer.advance(lambda: False)
        trainer._read_step = read  # type: ignore[method-assign]

    def timed() -> list[Batch]:
        started = time.perf_counter()
        batches = read()
        waits.append(time.perf_counter() - started)
        return batches

    return ours, waits


def padded_batches(batch: Batch, most: int) -> list[Batch]:
    """The batch's documents one in a row, padded, in as many micro-batches as a row of so many slots needs."""
    found = []
    for x, y in padded_rows(batch, most, torch.device("cpu")):
        docs = Documents(tuple(range(0, x.numel() + 1, x.shape[1])), torch.device("cpu"))
        rows = (y.flatten() >= 0).nonzero().squeeze(1)
        found.append(Batch(x.flatten(), docs, rows, y.flatten()[rows], x.numel(), MicroBatch((0,), "00" * 32)))
    return found


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def flops(trainer: Trainer, batch: Batch) -> float:
    """Per token. The last MLP runs on labelled rows only, as the head does."""
    config, labels = trainer.config.model, len(batch.labels_R) / batch.num_tokens
    attended = sum((end - start) ** 2 for start, end in batch.docs.spans) / batch.num_tokens
    saved = 6 * config.mlp_weights * (1 - labels)
    return flops_per_token(config, attended, labels) - saved


def peak_flops(device: str) -> float | None:
    """What the card is sold as; None where that is not known."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else ""
    return next((1e12 * peak for known, peak in PEAK_TFLOPS.items() if known.lower() in name.lower()), None)


def products(trainer: Trainer) -> Callable[[float], float]:
    """A function that multiplies matrices of the MLP's shape for about so many seconds and gives FLOP/s."""
    rows, width = trainer.config.micro_batch * trainer.pack.context_len, trainer.config.model.n_embd
    x = torch.randn(rows, width, device=trainer.device, dtype=trainer.model.dtype)
    w = torch.randn(4 * width, width, device=trainer.device, dtype=trainer.model.dtype)

    def run(seconds: float) -> float:
        started, done = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < seconds:
            F.linear(x, w)
            done += 1
            synchronize(trainer.config.device)
        return done * 2 * rows * width * 4 * width / spent

    return run


# ── the card's memory ─────────────────────────────────────────────────────────────────────────────────────────────


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: str) -> float | None:
    return torch.cuda.max_memory_reserved(device) / 2**20 if device.startswith("cuda") else None


def peak_of(told: argparse.Namespace, micro_batch: int) -> float | None:
    """The most that two steps take of a card, MiB; None where they do not fit."""
    forget_peak(told.device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(told, Path(folder), micro_batch=micro_batch)
        try:
            for _ in range(2):
                trainer.advance(lambda: False)
        except torch.OutOfMemoryError:
            return None
        finally:
            trainer.close()
    return peak_mib(told.device)


if __name__ == "__main__":
    sys.exit(main())
