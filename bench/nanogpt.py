"""A training step of ours beside nanoGPT's, the same model: python -m bench.nanogpt --nanogpt PATH [--only plain,...]

PATH: a checkout of github.com/karpathy/nanoGPT. Step by step in one process, who goes first changing each round, and
the median of the rounds' ratios is what counts: on a busy machine both wait alike, and CPU time says it with less
noise. Both begin with the same weights and read the same tokens, and their losses are compared, so it is known that
both do the same work.

plain: 6 layers x 384, contexts of 256 full of one document, every token a label: the loop it was made for.
qa: short documents, of whose tokens a part gives loss. Ours come packed, 4,096 tokens in a row; nanoGPT knows no
documents, so it gets one in a row, padded to the longest of the step.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.packs import make_pack
from bench.peer import Peer, checkout, padded_rows
from gpt.attention import Documents
from gpt.config import BadConfig, GPTConfig, TrainConfig
from gpt.data import Batch
from gpt.metrics import MicroBatch
from gpt.shards import open_pack
from gpt.train import Trainer, learning_rate

PLAIN = {"context_len": 256, "micro_batch": 12, "document_len": 256, "spread": 0.0, "label_share": 1.0}
# 20 documents in 4,096 tokens; a spread that gives the sum of squared lengths that question-answer packs have
QA = {"context_len": 4096, "micro_batch": 1, "document_len": 205, "spread": 0.72, "label_share": 0.4}
WARM = 2  # rounds that are not counted


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--only", default="plain,qa", help="parts, with commas between")
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[65, 32_000])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here, too")
    told = parser.parse_args(argv)
    try:
        checkout(told.nanogpt)
    except BadConfig as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{told.n_layer} x {told.n_embd}, {torch.get_num_threads()} threads, torch {torch.__version__}, {told.device}"
    )
    found = [row for part in told.only.split(",") for row in PARTS[part](told)]
    if told.json is not None:
        told.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def plain(told: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The same contexts, every token labelled."""
    for vocab_size in told.vocab_sizes:
        for dtype in told.dtypes:
            yield beside(told, "plain", PLAIN, vocab_size, dtype)


def qa(told: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Packed documents beside padded ones."""
    for vocab_size in told.vocab_sizes:
        for dtype in told.dtypes:
            yield beside(told, "qa", QA, vocab_size, dtype)


@dataclass(frozen=True)
class Turn:
    """A step of each, on the same tokens. By "ours" and "theirs": seconds, of them on the CPU, the loss."""

    wall: dict[str, float]
    cpu: dict[str, float]
    loss: dict[str, float]
    slots: float  # that nanoGPT is given, padding included, to a token

    @property
    def apart(self) -> float:
        return abs(self.loss["ours"] / self.loss["theirs"] - 1)


def beside(told: argparse.Namespace, part: str, sizes: dict[str, Any], vocab_size: int, dtype: str) -> dict[str, Any]:
    """Rounds of one step each; what they say, printed too."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(Path(folder), told, sizes, vocab_size, dtype)
        peer = Peer(told.nanogpt, trainer.model, trainer.config, trainer.model.dtype)
        read, turns = trainer._read_step, []
        for number in range(WARM + told.rounds):
            batch = one_document_a_context(trainer, number) if part == "plain" else read()[0]
            turns.append(one_turn(trainer, peer, batch, number))
        trainer.close()
    counted = turns[WARM:]
    low, ratio, high = statistics.quantiles((turn.wall["theirs"] / turn.wall["ours"] for turn in counted), n=4)
    row = {
        "part": part, "vocab_size": vocab_size, "dtype": dtype, "tokens": batch.num_tokens, "rounds": len(counted),
        "labels": len(batch.labels_R), "padded": statistics.mean(turn.slots for turn in counted),
        "ours_tokens_per_s": batch.num_tokens / statistics.median(turn.wall["ours"] for turn in counted),
        "theirs_tokens_per_s": batch.num_tokens / statistics.median(turn.wall["theirs"] for turn in counted),
        "ratio": ratio, "quartiles": [low, high],
        "cpu_ratio": statistics.median(turn.cpu["theirs"] / turn.cpu["ours"] for turn in counted),
        "losses_apart": max(turn.apart for turn in turns),
    }  # fmt: skip
    print(
        f"{part:5} vocabulary {vocab_size:6,} {dtype:8}: ours {row['ours_tokens_per_s']:7,.0f} tokens/s, nanoGPT "
        f"{row['theirs_tokens_per_s']:7,.0f} ({row['padded']:.2f} slots a token): {ratio:5.2f} times ({low:.2f} to "
        f"{high:.2f}), {row['cpu_ratio']:.2f} in CPU time; losses of all steps within {row['losses_apart']:.1e}",
        flush=True,
    )
    return row


def one_turn(trainer: Trainer, peer: Peer, batch: Batch, number: int) -> Turn:
    """Who goes first changes."""
    rows = padded_rows(batch, 10**9, trainer.device)
    trainer._read_step = lambda: [batch]  # type: ignore[method-assign]
    steps: dict[str, Callable[[], float]] = {
        "ours": partial(our_step, trainer),
        "theirs": partial(peer.step, rows, learning_rate(trainer.config, number + 1)),
    }
    turn = Turn({}, {}, {}, sum(x.numel() for x, _ in rows) / batch.num_tokens)
    for who in sorted(steps, reverse=number % 2 == 1):
        turn.wall[who], turn.cpu[who], turn.loss[who] = timed(steps[who], trainer.device)
    return turn


def our_step(trainer: Trainer) -> float:
    step = trainer.advance(lambda: False)
    assert step is not None
    return step.loss


def timed(step: Callable[[], float], device: torch.device) -> tuple[float, float, float]:
    """Seconds of a step, of them on the CPU, and what it gave: a loss as a number, so a card is waited for."""
    started, cpu = time.perf_counter(), time.process_time()
    loss = step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, time.process_time() - cpu, loss


def make_trainer(folder: Path, told: argparse.Namespace, sizes: dict[str, Any], vocab_size: int, dtype: str) -> Trainer:
    of_pack = {name: value for name, value in sizes.items() if name != "micro_batch"}
    pack = make_pack(folder / "pack", vocab_size=vocab_size, num_contexts=16, **of_pack)
    shape = GPTConfig(
        told.n_layer, told.n_embd // 64, n_embd=told.n_embd, vocab_size=vocab_size, context_len=sizes["context_len"],
        bias=False, tied=True,
    )  # fmt: skip
    config = TrainConfig(
        pack, shape, steps=10**6, micro_batch=sizes["micro_batch"], grad_accum=1, warmup_steps=10, dtype=dtype,
        eval_every=10**6, device=told.device,
    )  # fmt: skip
    return Trainer(config, folder / "run", None, open_pack(pack), tell=lambda text: print(text, file=sys.stderr))


def one_document_a_context(trainer: Trainer, number: int) -> Batch:
    """What nanoGPT's get_batch gives: each token is followed by a label, the last one too."""
    rows, length = trainer.config.micro_batch, trainer.pack.context_len
    dice = np.random.default_rng(number)
    text = torch.from_numpy(dice.integers(0, trainer.config.model.vocab_size, (rows, length + 1)))
    docs = Documents(tuple(range(0, rows * length + 1, length)), torch.device("cpu"))
    tokens, labels = text[:, :-1].flatten(), text[:, 1:].flatten()
    return Batch(tokens, docs, torch.arange(rows * length), labels, rows * length, MicroBatch((number,), ""))


PARTS = {"plain": plain, "qa": qa}

if __name__ == "__main__":
    sys.exit(main())
