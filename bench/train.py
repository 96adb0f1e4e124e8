"""How fast training is, beside the machine's own bound: .venv/bin/python bench/train.py [--n-layer 3 --n-embd 256 ...]

Synthetic packed contexts, the real loop. After every step, bare matrix products of the model's own shapes run in the
same process for about as long: what they reach is the bound, and the share of it that training reaches is the MFU here.
In turn, so that a busy machine slows both. Then the attention backends, in turn too, and what a checkpoint costs the
steps around it, written behind them and in front of them.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datagen import files
from gpt.attention import Documents, attend_bucket, attend_loop
from gpt.config import GPTConfig, TrainConfig
from gpt.data import Batch, read_batch
from gpt.model import flops_per_token
from gpt.shards import open_pack, write_arrays
from gpt.train import Trainer

SIZES = {
    "n-layer": 3,
    "n-head": 4,
    "n-embd": 256,
    "vocab-size": 4096,
    "context-len": 512,
    "micro-batch": 8,
    "steps": 20,
    "document-len": 46,  # as in the demo
}


def main() -> None:
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        pack = make_pack(Path(folder) / "pack", args)
        shape = GPTConfig(
            n_layer=args.n_layer,
            n_head=args.n_head,
            n_embd=args.n_embd,
            vocab_size=args.vocab_size,
            context_len=args.context_len,
            tied=args.tied,
        )
        config = TrainConfig(
            pack,
            shape,
            steps=10**6,
            micro_batch=args.micro_batch,
            grad_accum=1,
            eval_every=10**6,
            device=args.device,
            threads=args.threads,
        )
        trainer = Trainer(config, Path(folder) / "run", None, open_pack(pack), tell=print)
        training(args, trainer)
        attention(args, trainer)
        loading(args, pack)
        saving(args, trainer)
        trainer.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--label-share", type=float, default=0.15, help="of a document's tokens, as in the demo")
    parser.add_argument("--spread", type=float, default=0.25, help="of the lengths' logarithm")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tied", action="store_true")
    return parser.parse_args()


def training(args: argparse.Namespace, trainer: Trainer) -> None:
    """Steps and bare products in turn; a line each."""
    bound = products(trainer)
    waits = timed_reading(trainer)
    step_s, bound_rates = [], []
    for number in range(args.steps + 2):
        started = time.monotonic()
        trainer.advance(lambda: False)
        spent, rate = time.monotonic() - started, bound(time.monotonic() - started)
        if number >= 2:  # the first ones warm up
            step_s.append(spent)
            bound_rates.append(rate)
    waiting = statistics.median(wait / spent for wait, spent in zip(waits[2:], step_s, strict=True))
    [batch] = trainer._read_step()
    per_token, labels = flops(trainer, batch), len(batch.labels_R) / batch.num_tokens
    speed, peak = batch.num_tokens / statistics.median(step_s), statistics.median(bound_rates)
    config = trainer.config.model
    print(
        f"{config.n_layer} x {config.n_embd} x {config.n_head} heads, {trainer.model.num_parameters() / 1e6:.2f} M "
        f"parameters, {batch.num_tokens} tokens a step, {len(batch.docs.spans)} documents, {labels:.0%} labelled, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"training     {speed:10,.0f} tokens/s   {speed * per_token / 1e9:8.1f} GFLOP/s")
    print(f"bare matmul  {peak / per_token:10,.0f} tokens/s   {peak / 1e9:8.1f} GFLOP/s   the same shapes, in turn")
    print(f"training reaches {speed * per_token / peak:.0%} of the bare products, and waits {waiting:.2%} for its data")


def timed_reading(trainer: Trainer) -> list[float]:
    """How long each step from now on waits for its data, in seconds: nothing else runs meanwhile."""
    waits: list[float] = []
    read = trainer._read_step

    def timed() -> list[Batch]:
        started = time.monotonic()
        batches = read()
        waits.append(time.monotonic() - started)
        return batches

    trainer._read_step = timed  # type: ignore[method-assign]
    return waits


def flops(trainer: Trainer, batch: Batch) -> float:
    """Per token. The last MLP runs on labelled rows only, as the head does."""
    config, labels = trainer.config.model, len(batch.labels_R) / batch.num_tokens
    attended = sum((end - start) ** 2 for start, end in batch.docs.spans) / batch.num_tokens
    saved = 6 * config.mlp_weights * (1 - labels)
    return flops_per_token(config, attended, labels) - saved


def products(trainer: Trainer) -> Callable[[float], float]:
    """A function that multiplies matrices of the MLP's shape for about so many seconds and gives FLOP/s."""
    rows, width = trainer.config.micro_batch * trainer.pack.context_len, trainer.config.model.n_embd
    x = torch.randn(rows, width, device=trainer.device, dtype=trainer.model.dtype)
    w = torch.randn(4 * width, width, device=trainer.device, dtype=trainer.model.dtype)

    def run(seconds: float) -> float:
        started, done = time.monotonic(), 0
        while (spent := time.monotonic() - started) < seconds:
            F.linear(x, w)
            done += 1
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
        return done * 2 * rows * width * 4 * width / spent

    return run


def attention(args: argparse.Namespace, trainer: Trainer) -> None:
    """Forward and backward of one layer's attention by each way, in turn."""
    [batch] = trainer._read_step()
    config, docs = trainer.config.model, batch.docs
    shape = (batch.num_tokens, config.n_head, config.head_size)
    q, k, v = (torch.randn(shape, requires_grad=True) for _ in range(3))
    mask = dense_mask(docs)

    def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, docs: Documents) -> torch.Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).squeeze(0).transpose(0, 1)

    ways: dict[str, Any] = {"bucket": attend_bucket, "loop": attend_loop, "dense mask": dense}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(6):
        for name, attend in ways.items():
            started = time.monotonic()
            attend(q, k, v, docs).sum().backward()
            if turn:
                times[name].append(time.monotonic() - started)
    base = statistics.median(times["bucket"])
    for name, spent in times.items():
        ms = 1e3 * statistics.median(spent)
        print(f"attention by {name:10} {ms:8.1f} ms forward and backward of one layer, {ms / 1e3 / base:5.1f} x bucket")


def dense_mask(docs: Documents) -> torch.Tensor:
    ends = torch.tensor(docs.bounds[1:])
    which = torch.bucketize(torch.arange(docs.bounds[-1]), ends, right=True)
    return (which[:, None] == which[None]) & torch.ones(len(which), len(which), dtype=torch.bool).tril()


def loading(args: argparse.Namespace, pack: Path) -> None:
    opened, started, rows = open_pack(pack), time.monotonic(), 0
    while time.monotonic() - started < 1:
        read_batch(opened, "train", [i % opened.num_contexts("train") for i in range(args.micro_batch)])
        rows += args.micro_batch
    rate = rows / (time.monotonic() - started)
    print(f"loading      {rate:10,.0f} contexts/s = {rate * opened.context_len:,.0f} tokens/s, in the training process")


def saving(args: argparse.Namespace, trainer: Trainer) -> None:
    """A few steps with no checkpoint, with one behind them, with one in front of them, in turn; a line each."""
    ways = {"none": lambda: None, "behind": trainer.save_behind, "in front": trainer.save}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    held: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(1 + args.steps // 4):
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


def drawn_length(dice: np.random.Generator, mean: int, spread: float) -> int:
    """Log-normal, as the lengths of texts are."""
    return round(mean * math.exp(dice.normal(-spread * spread / 2, spread)))


def make_pack(folder: Path, args: argparse.Namespace) -> Path:
    """Contexts full of random documents, their lengths around document_len, the loss at their ends."""
    dice = np.random.default_rng(0)
    folder.mkdir()
    tokens, documents, contexts, loss = [], [0], [0], []
    for _ in range(4 * args.micro_batch):
        room = args.context_len
        while room >= 8:
            length = min(room, max(8, drawn_length(dice, args.document_len, args.spread)))
            labelled = max(1, round(args.label_share * length))
            tokens.append(dice.integers(0, args.vocab_size, length))
            documents.append(documents[-1] + length)
            loss.append((length - labelled, length))
            room -= length
        contexts.append(len(documents) - 1)
    arrays = {"tokens": np.concatenate(tokens).astype(np.uint16), "documents": np.array(documents)}
    arrays |= {"contexts": np.array(contexts), "loss": np.array(loss, np.int32), "records": np.arange(len(loss))}
    names = {"train": ["train-00000.safetensors"], "val": []}
    write_arrays(folder / names["train"][0], arrays)
    sha256 = {name: files.sha256(folder / name) for name in names["train"]}
    manifest = {"context_len": args.context_len, "pad": 0, "vocab_size": args.vocab_size, "shards": names}
    files.write_manifest(folder, {**manifest, "sha256": sha256})
    return folder


if __name__ == "__main__":
    main()
