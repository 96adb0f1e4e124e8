"""What each option gives: python -m bench.ablation PACK [--steps 300] [--only demo,muon] > runs.jsonl

One run an option, each of the demo's size on the demo's data, all with the same seed, contexts and order, on one CPU
thread; a line of JSON each when it is done. `python -m bench.ablation runs.jsonl --table` makes the table: the last
losses, and after how many steps each run stood where the demo's and the GPT-2 preset's stood at their end. No run reads
its data twice, so the training loss is of text not seen before.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from gpt.config import PRESETS, GPTConfig, TrainConfig
from gpt.train import train

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
SMOOTH = 20  # steps whose mean is the loss at a step: one alone is of two contexts


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
    shape = {field.name: given.pop(field.name) for field in fields(GPTConfig) if field.name in given}
    config = TrainConfig(
        pack, GPTConfig(**SIZE, **shape), steps=steps, micro_batch=2, grad_accum=1, min_lr=1e-4,
        warmup_steps=steps // 10, eval_every=steps, eval_contexts=64, checkpoint_every=10**9, threads=1, **given,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        done = list(train(config, Path(folder), tell=lambda text: print(text, file=sys.stderr)))
        cpu_s = (time.process_time() - started) / steps
    parameters = done[-1].model.num_parameters()
    losses = [step.loss for step in done]
    return {"steps": steps, "losses": losses, "val_loss": done[-1].val_loss, "cpu_s": cpu_s, "parameters": parameters}


def smooth(losses: list[float], step: int) -> float:
    """The mean of the SMOOTH losses that end with a step."""
    return statistics.fmean(losses[max(0, step - SMOOTH) : step])


def reached(losses: list[float], goal: float) -> str:
    """The first step whose smoothed loss is no higher than the goal."""
    found = (step for step in range(SMOOTH, len(losses) + 1) if smooth(losses, step) <= goal)
    return str(next(found, "never"))


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown. The goals are where the demo's and the GPT-2 preset's runs ended."""
    by_name = {run["name"]: run for run in runs}
    goals = [smooth(by_name[name]["losses"], by_name[name]["steps"]) for name in ("demo", "gpt2")]
    lines = [
        "| option | steps | parameters | training loss | val loss | steps to the demo's | to gpt2's | CPU s a step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        losses, steps = run["losses"], run["steps"]
        lines.append(
            f"| {run['name']} | {steps} | {run['parameters'] / 1e6:.2f} M | {smooth(losses, steps):.3f} | "
            f"{run['val_loss']:.3f} | {reached(losses, goals[0])} | {reached(losses, goals[1])} | {run['cpu_s']:.3f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
