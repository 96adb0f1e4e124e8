"""What a checkpoint costs the steps around it, how fast contexts are read: python -m bench.saving [--n-embd 256]

A few steps with no checkpoint, with one written behind them, with one in front of them, in turn.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.train import make_trainer, parser_of_sizes
from gpt.data import read_batch
from gpt.shards import open_pack
from gpt.train import Trainer


def main(argv: list[str] | None = None) -> int:
    told = parser_of_sizes(__doc__ or "", argv).parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(told, Path(folder))
        saving(told, trainer)
        loading(told, trainer.config.pack)
        trainer.close()
    return 0


def saving(told: argparse.Namespace, trainer: Trainer) -> None:
    ways = {"none": lambda: None, "behind": trainer.save_behind, "in front": trainer.save}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    held: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1 + told.steps // 4):
        for name, save in ways.items():
            started = time.monotonic()
            save()
            waited = time.monotonic() - started
            for _ in range(4):
                trainer.advance(lambda: False)
            trainer.writer.finish()  # no write reaches into the next turn
            if turn:  # the first one makes room for the copies
                held[name].append(waited)
                spent[name].append(time.monotonic() - started)
    states = sum(x.nbytes for group in trainer._checkpoint().groups.values() for x in group.values())
    for name in ("behind", "in front"):
        costs = statistics.median(spent[name]) - statistics.median(spent["none"])
        print(
            f"a checkpoint of {states / 2**20:,.0f} MiB {name:8}: training stands for "
            f"{statistics.median(held[name]) * 1e3:6.0f} ms and all in all loses {costs * 1e3:6.0f} ms; "
            f"that is {statistics.median(held[name]) / trainer.config.checkpoint_every_s:.2%} and "
            f"{costs / trainer.config.checkpoint_every_s:.2%} of {trainer.config.checkpoint_every_s:.0f} s between two"
        )


def loading(told: argparse.Namespace, pack: Path) -> None:
    opened, started, rows = open_pack(pack), time.monotonic(), 0
    while time.monotonic() - started < 1:
        read_batch(opened, "train", [i % opened.num_contexts("train") for i in range(told.micro_batch)])
        rows += told.micro_batch
    rate = rows / (time.monotonic() - started)
    print(f"loading      {rate:10,.0f} contexts/s = {rate * opened.context_len:,.0f} tokens/s, in the training process")


if __name__ == "__main__":
    sys.exit(main())
