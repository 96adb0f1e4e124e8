"""Two lessons of earlier trainers as experiments: does the order of the data flap the loss, and does dropout help?

    nice .venv/bin/python bench/lessons.py [--steps 600]

The bundled sample, questions as in the demo recipe, a model of its shape. Three runs that differ in one thing each:
shuffled; by article (records packed in the order they were made, contexts read in the order they were packed);
shuffled with dropout 0.1. "Flaps" is how much the loss moves between two evaluations on the same validation contexts,
on average, over the second half of a run.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.datagen import make_factory  # noqa: E402
from datagen.factory import open_factory  # noqa: E402
from datagen.generate import Settings, generate  # noqa: E402
from datagen.phrasings import Choice  # noqa: E402
from datagen.records import FAMILIES  # noqa: E402
from gpt import source  # noqa: E402
from gpt.config import GPTConfig, TrainConfig  # noqa: E402
from gpt.pack import PackConfig, pack  # noqa: E402
from gpt.shuffle import order_records  # noqa: E402
from gpt.tokenizer import Tokenizer  # noqa: E402
from gpt.train import train  # noqa: E402
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer  # noqa: E402

RUNS = ("shuffled", "by article", "dropout 0.1")
EVAL_EVERY = 20
SHAPE = GPTConfig(3, 4, n_embd=256, vocab_size=4096, context_len=512, bias=False, tied=True, pos="rope", qk_norm=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=RUNS, help="one of the runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        make_packs(home)
        config = TrainConfig(
            home / "shuffled",
            SHAPE,
            steps=args.steps,
            micro_batch=2,
            grad_accum=1,
            lr=2.5e-3,
            min_lr=1e-4,
            warmup_steps=100,
            decay="linear",
            eval_every=EVAL_EVERY,
            eval_contexts=16,
            checkpoint_every=10**6,
            checkpoint_every_s=1e6,
            threads=args.threads,
        )
        for name in [args.only] if args.only else RUNS:
            run(name, config, home)


def run(name: str, config: TrainConfig, home: Path) -> None:
    if name == "by article":
        with in_packed_order():
            report(name, replace(config, pack=home / "by article"), home)
    else:
        report(name, replace(config, model=replace(SHAPE, dropout=0.1)) if name == "dropout 0.1" else config, home)


def make_packs(home: Path) -> None:
    """The demo's records, packed in a shuffled order and in the order they were made."""
    make_factory(home / "factory.db", copies=1)
    db = open_factory(home / "factory.db")
    for _ in generate(db, Settings(FAMILIES, Choice(None, 0.15, 1, 0), 10)):
        pass
    db.close()
    with source.opened(home / "factory.db") as read:
        make_tokenizer(read, home / "tokenizer", home, TokenizerConfig(4096))
        tokenizer = Tokenizer.load(home / "tokenizer")
        pack(read, tokenizer, home / "shuffled", PackConfig(512))
        with mock.patch("gpt.pack.order_records", in_made_order):
            pack(read, tokenizer, home / "by article", PackConfig(512, window=64))


def in_made_order(*given: object) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {split: np.sort(ids) for split, ids in order_records(*given).items()}  # type: ignore[arg-type]


@contextmanager
def in_packed_order() -> Iterator[None]:
    with mock.patch("gpt.train.context_at", lambda seed, place, total: place % total):
        yield


def report(name: str, config: TrainConfig, home: Path) -> None:
    """Train, and print one line of how it went."""
    losses, vals, epoch = [], [], 0.0
    for step in train(config, home / f"run {name}", tell=lambda sentence: None):
        losses.append(step.loss)
        epoch = step.epoch
        if step.val_loss is not None:
            vals.append(step.val_loss)
    half = vals[len(vals) // 2 :]
    moves = [abs(after - before) for before, after in itertools.pairwise(half)]
    print(
        f"{name:12} train {statistics.mean(losses[-100:]):.3f} (last 100 steps, standard deviation "
        f"{statistics.stdev(losses[-100:]):.3f}); val {vals[-1]:.3f} at the end, {min(vals):.3f} at its best; "
        f"flaps {statistics.mean(moves):.3f}, at most {max(moves):.3f}; {epoch:.2f} epochs",
        flush=True,
    )


if __name__ == "__main__":
    main()
