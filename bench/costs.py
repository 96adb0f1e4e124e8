"""What the switches that save memory cost: python -m bench.costs [--n-layer 4 --n-embd 256 ...]

The same training with each switch, step by step in turn in one process on one thread, so that a busy machine slows all
alike. A line each: the memory its steps take at most (measured by the probe of gpt/fit.py, predicted by gpt/memory.py)
and its time beside that of the first, the median of the steps' own ratios.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpt import fit, memory
from gpt.config import GPTConfig, TrainConfig
from gpt.train import Trainer

SWITCHES: dict[str, dict[str, Any]] = {
    "neither": {},
    "recompute": {"recompute": True},
    "adamw8bit": {"optimizer": "adamw8bit"},
    "both": {"recompute": True, "optimizer": "adamw8bit"},
}
SIZES = {"n-layer": 6, "n-head": 4, "n-embd": 256, "vocab-size": 4096, "context-len": 512, "micro-batch": 4, "steps": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--grad-accum", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    model = GPTConfig(args.n_layer, args.n_head, None, args.n_embd, args.vocab_size, args.context_len)
    base = TrainConfig(
        Path("none"), model, steps=10**6, micro_batch=args.micro_batch, grad_accum=args.grad_accum, eval_every=10**6,
        device=args.device, threads=1,
    )  # fmt: skip
    configs = {name: replace(base, **changes) for name, changes in SWITCHES.items()}
    took = {name: fit.real_probe(config, args.context_len) for name, config in configs.items()}
    print(
        f"{memory.num_parameters(model) / 1e6:.2f} M parameters, {base.contexts_per_step} contexts of "
        f"{args.context_len} a step, {args.micro_batch} at a time, torch {torch.__version__}, {args.device}"
    )
    ratios, optimizer_s = timed(configs, args.context_len, args.steps)
    print("switch      measured  predicted   step, beside the first   the optimizer's part of it")
    for name, config in configs.items():
        low, middle, high = min(ratios[name]), statistics.median(ratios[name]), max(ratios[name])
        print(
            f"{name:11s} {took[name]:5d} MiB {predicted(config, args.context_len):6.0f} MiB   "
            f"{middle:5.2f} [{low:.2f} to {high:.2f}]   {1000 * statistics.median(optimizer_s[name]):8.0f} ms"
        )


def predicted(config: TrainConfig, context_len: int) -> float:
    rows = memory.table_of(config, context_len, fit.stream_dtype_bytes(config), labelled_share=1.0)
    return next(row.own_mib for row in rows if row.micro_batch == config.micro_batch)


def timed(
    configs: dict[str, TrainConfig], context_len: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """(each step's time beside the first switch's in the same round, the optimizer's seconds in it), by switch."""
    optimizer_s: dict[str, list[float]] = {name: [] for name in configs}
    ratios: dict[str, list[float]] = {name: [] for name in configs}
    pack = fit.WorstPack(context_len, next(iter(configs.values())).model.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: Trainer(each, Path(folder) / name, None, pack, tell=print) for name, each in configs.items()}
        for name, trainer in trainers.items():
            time_steps(trainer, optimizer_s[name])
        for number in range(steps + 1):
            spent = {name: seconds(trainer) for name, trainer in trainers.items()}
            if number:  # the first warms up
                for name in trainers:
                    ratios[name].append(spent[name] / spent["neither"])
        for trainer in trainers.values():
            trainer.close()
    return ratios, {name: each[1:] for name, each in optimizer_s.items()}


def time_steps(trainer: Trainer, into: list[float]) -> None:
    """From now on the optimizer's own time is written down."""
    step = trainer.optimizer.step

    def timed_step() -> None:
        started = now(trainer)
        step()
        into.append(now(trainer) - started)

    trainer.optimizer.step = timed_step  # type: ignore[method-assign]


def seconds(trainer: Trainer) -> float:
    started = now(trainer)
    trainer.advance(lambda: False)
    return now(trainer) - started


def now(trainer: Trainer) -> float:
    """Of the card: its clock after all it was told is done. Of the CPU: what this process alone used."""
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)
        return time.monotonic()
    return time.process_time()


if __name__ == "__main__":
    main()
