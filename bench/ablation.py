"""What each option gives: python -m bench.ablation PACK [--steps 300] [--only demo,muon] > runs.jsonl

One run an option, each of the demo's size on the demo's data, all with the same seed, contexts and order, on one CPU
thread; a line of JSON each when it is done. `python -m bench.ablation runs.jsonl --table` makes the table: the last
losses, and after how many steps each run stood where the demo's and the GPT-2 preset's stood at their end. The loss
that decides is of train contexts that no run reads: the same facts in other words; val contexts are of other articles.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from gpt.config import PRESETS, GPTConfig, TrainConfig
from gpt.data import context_at, read_batch
from gpt.model import GPT
from gpt.shards import open_pack
from gpt.train import batch_loss, train

SIZE = {"n_layer": 3, "n_head": 4, "n_embd": 256, "vocab_size": 4096, "context_len": 512}
DEMO = {
    "pos": "rope", "norm": "layer", "mlp": "gelu", "qk_norm": True, "bias": False, "tied": True,
    "optimizer": "adamw", "decay": "linear", "lr": 2.5e-3,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "demo": {},
    "gpt2, lr 1e-3": PRESETS["gpt2"] | {"lr": 1e-3},
    "gpt2": PRESETS["gpt2"],
    "modern": PRESETS["modern"],
    "modern, half the steps": PRESETS["modern"] | {"share": 0.5},
    "muon": {"optimizer": "muon"},
    "muon, lr 5e-3": {"optimizer": "muon", "lr": 5e-3},
    "swiglu": {"mlp": "swiglu"},
    "relu2": {"mlp": "relu2"},
    "rms": {"norm": "rms"},
    "untied": {"tied": False},
    "wsd": {"decay": "wsd"},
    "cosine": {"decay": "cosine"},
    "ema 0.98": {"ema_decay": 0.98},
    "n_kv_head 2": {"n_kv_head": 2},
    "no qk_norm": {"qk_norm": False},
    "learned positions": {"pos": "learned"},
}
FRESH = 32  # contexts whose order comes last, which no run gets to
EVERY = 20  # steps between two looks at them; as many as are in the mean that is a step's training loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path, help="a pack folder; with --table, a file of runs")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", default=",".join(OPTIONS).replace(", ", "; "), help="options, with commas between")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(line) for line in args.pack.read_text().splitlines()]))
        return
    for name in args.only.split(","):
        name = name.replace("; ", ", ")
        print(json.dumps({"name": name, **measure(args.pack, OPTIONS[name], args.steps)}), flush=True)


def measure(pack: Path, option: dict[str, Any], steps: int) -> dict[str, Any]:
    """One run: the loss of each step, the val loss at the end, the time a step takes."""
    given = {**DEMO, **option}
    steps = round(steps * given.pop("share", 1))
    shape: dict[str, Any] = {field.name: given.pop(field.name) for field in fields(GPTConfig) if field.name in given}
    config = TrainConfig(
        pack, GPTConfig(**(SIZE | shape)), steps=steps, micro_batch=2, grad_accum=1, min_lr=1e-4,
        warmup_steps=steps // 10, eval_every=steps, eval_contexts=64, checkpoint_every=10**9, threads=1, **given,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        look, kept, started = looker(pack, config.seed), GPT(config.model), time.process_time()
        losses, fresh = [], {}
        for step in train(config, Path(folder), tell=lambda text: print(text, file=sys.stderr)):
            losses.append(step.loss)
            if step.number % EVERY == 0:
                before = time.process_time()
                kept.load_state_dict(step.weights())
                fresh[step.number] = look(kept)
                started += time.process_time() - before
        cpu_s = (time.process_time() - started) / steps
    facts = {"cpu_s": cpu_s, "parameters": step.model.num_parameters(), "val_loss": step.val_loss}
    return {"steps": steps, **facts, "loss": statistics.fmean(losses[-EVERY:]), "losses": losses, "fresh": fresh}


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


def reached(run: dict[str, Any], goal: float) -> str:
    """The first of every 20 steps whose fresh loss is no higher than the goal."""
    return next((step for step, loss in run["fresh"].items() if loss <= goal), "never")


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown. The goals are where the demo's and the GPT-2 preset's runs ended."""
    ends = {run["name"]: list(run["fresh"].values())[-1] for run in runs}
    lines = [
        "| option | steps | parameters | fresh loss | training loss | val loss | steps to the demo's | to gpt2's | "
        "CPU s a step |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        lines.append(
            f"| {run['name']} | {run['steps']} | {run['parameters'] / 1e6:.2f} M | {ends[run['name']]:.3f} | "
            f"{run['loss']:.3f} | {run['val_loss']:.3f} | {reached(run, ends['demo'])} | "
            f"{reached(run, ends['gpt2'])} | {run['cpu_s']:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
