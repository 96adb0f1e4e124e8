"""What each option gives: python -m bench.ablation PACK [--steps 120] [--seeds 0,1] > runs.jsonl

One run an option and seed, each on the demo's data and of the demo's size (unless told), on one CPU thread; a line of
JSON each when it is done. Options are the presets, each switch alone (put into gpt2), each taken out (modern with
gpt2's value in its place), and nanoGPT's recipe: gpt2 with a tied head, no biases and nanoGPT's weights at the start.
Runs of one seed see the same contexts in the same order, so an option is held against its preset within a seed, and
the spread over the seeds says what is noise. The loss that decides is of train contexts that no run reads: the same
facts in other words; val contexts are of other articles. `python -m bench.ablation runs.jsonl --table` makes the table;
only runs of one size and as many steps belong in it.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from gpt.config import PRESETS, GPTConfig, TrainConfig
from gpt.data import context_at, read_batch
from gpt.model import GPT
from gpt.shards import open_pack
from gpt.train import batch_loss, train

SIZE = {"n_head": 4, "vocab_size": 4096, "context_len": 512}
BASES: dict[str, dict[str, Any]] = {  # of two rates tried, the better one for each
    "gpt2": PRESETS["gpt2"] | {"lr": 1e-3},
    "modern": PRESETS["modern"] | {"lr": 2.5e-3},
    "demo": {
        "pos": "rope", "norm": "rms", "mlp": "swiglu", "qk_norm": True, "bias": False, "tied": True,
        "optimizer": "muon", "decay": "linear", "lr": 2.5e-3,
    },
}  # fmt: skip
EXTRAS: tuple[dict[str, Any], ...] = ({"mlp": "relu2"}, {"n_kv_head": 2}, {"ema_decay": 0.95}, {"tied": True})
FRESH = 32  # contexts whose order comes last, which no run gets to
LAST = 20  # steps whose mean is the training loss


def options() -> dict[str, dict[str, Any]]:
    """Settings by name: 'gpt2', 'gpt2, pos=rope' ..., 'modern', 'modern, pos=learned' ..."""
    found = dict(BASES)
    for base, other in (("gpt2", "modern"), ("modern", "gpt2")):
        swaps = [{field: value} for field, value in PRESETS[other].items() if PRESETS[base][field] != value]
        for change in [*swaps, *EXTRAS]:
            [(field, value)] = change.items()
            found[f"{base}, {field}={value}"] = BASES[base] | change
    found["gpt2, lr 2.5e-3"] = BASES["gpt2"] | {"lr": 2.5e-3}
    return found | {"nanoGPT's recipe": BASES["gpt2"] | {"tied": True, "bias": False, "start": "nanogpt"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="a pack folder; with --table, a file of runs")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", default="0,1", help="with commas between")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--every", type=int, default=10**9, help="steps between looks at the fresh loss")
    parser.add_argument("--only", help="options, with semicolons between; none: all")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(line) for line in args.pack.read_text().splitlines()]))
        return
    size = {"n_layer": args.layers, "n_embd": args.width}
    for seed in map(int, args.seeds.split(",")):
        for name in args.only.split(";") if args.only else options():
            found = measure(args.pack, options()[name] | size, args.steps, seed, args.every)
            print(json.dumps({"name": name, "seed": seed, **found}), flush=True)


def measure(pack: Path, option: dict[str, Any], steps: int, seed: int, every: int) -> dict[str, Any]:
    """One run: its losses at the end, the fresh loss on the way, and the time a step takes."""
    given = dict(option)
    if given.pop("start", None) == "nanogpt":
        with mock.patch.object(GPT, "_init_weights", nanogpt_start):
            return measure(pack, given, steps, seed, every)
    shape: dict[str, Any] = {field.name: given.pop(field.name) for field in fields(GPTConfig) if field.name in given}
    config = TrainConfig(
        pack, GPTConfig(**(SIZE | shape)), steps=steps, micro_batch=2, grad_accum=1, min_lr=1e-4, seed=seed,
        warmup_steps=steps // 10, eval_every=steps, eval_contexts=64, checkpoint_every=10**9, threads=1, **given,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        look, kept, started = looker(pack, seed), GPT(config.model), time.process_time()
        losses, fresh = [], {}
        for step in train(config, Path(folder), tell=lambda text: print(text, file=sys.stderr)):
            losses.append(step.loss)
            if step.number % every == 0 or step.number == steps:
                before = time.process_time()
                kept.load_state_dict(step.weights())
                fresh[step.number] = look(kept)
                started += time.process_time() - before
        cpu_s = (time.process_time() - started) / steps
    facts = {"cpu_s": cpu_s, "parameters": step.model.num_parameters(), "val_loss": step.val_loss}
    return {
        "steps": steps,
        **facts,
        "loss": statistics.fmean(losses[-LAST:]),
        "fresh_loss": fresh[steps],
        "fresh": fresh,
    }


@torch.no_grad()
def nanogpt_start(model: GPT, generator: torch.Generator) -> None:
    """nanoGPT's weights at the start (ours depend on the width): std 0.02, less where the residual stream is fed."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
        else:
            fed = name.endswith(("out.weight", "down.weight"))
            parameter.normal_(0.0, 0.02 / math.sqrt(2 * model.config.n_layer) if fed else 0.02, generator=generator)


def looker(pack: Path, seed: int) -> Callable[[GPT], float]:
    """The loss of a model on the FRESH contexts."""
    opened = open_pack(pack)
    total = opened.num_contexts("train")
    contexts = [context_at(seed, place, total) for place in range(total - FRESH, total)]
    batches = [read_batch(opened, "train", contexts[i : i + 4]) for i in range(0, FRESH, 4)]
    labels = sum(len(batch.labels_R) for batch in batches)

    @torch.no_grad()
    def look(model: GPT) -> float:
        return sum(batch_loss(model, batch).item() for batch in batches) / labels

    return look


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: each option's losses, and how much better or worse than its preset it is in each seed."""
    by_name: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for run in runs:
        by_name[run["name"]][run["seed"]] = run
    lines = [
        "| option | parameters | fresh loss | beside its preset, each seed | training loss | val loss | CPU s a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, by_seed in by_name.items():
        base = by_name.get(name.split(", ")[0], {})
        beside = [run["fresh_loss"] - base[seed]["fresh_loss"] for seed, run in by_seed.items() if seed in base]
        fresh, loss, val, cpu = (
            statistics.fmean(run[what] for run in by_seed.values())
            for what in ("fresh_loss", "loss", "val_loss", "cpu_s")
        )
        [parameters] = {run["parameters"] for run in by_seed.values()}
        lines.append(
            f"| {name} | {parameters / 1e6:.2f} M | {fresh:.3f} | {', '.join(f'{each:+.3f}' for each in beside)} | "
            f"{loss:.3f} | {val:.3f} | {cpu:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
