"""A training step of ours beside nanoGPT's, the same model: python -m bench.nanogpt --nanogpt PATH [--only plain,...]

PATH: a checkout of github.com/karpathy/nanoGPT. Step by step in one process, who goes first changing each round, and
the median of the rounds' ratios is what counts: on a busy machine both wait alike, and CPU time says it with less noise.
Both begin with the same weights and read the same tokens, and their losses are compared, so it is known that both do
the same work.

plain: 6 layers x 384, contexts of 256 full of one document, every token a label: the loop it was made for.
qa: short documents, of whose tokens a part gives loss. Ours come packed, 4,096 tokens in a row; nanoGPT knows no
documents, so it gets one in a row, padded to the longest of the step. attention: the same documents beside a dense mask.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.peer import IGNORE, Peer
from bench.train import make_pack
from gpt.attention import Documents, attend_bucket, attend_loop
from gpt.config import GPTConfig, TrainConfig
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
    parser.add_argument("--only", default="plain,qa,attention", help="parts, with commas between")
    parser.add_argument("--vocab-sizes", type=int, nargs="+", default=[65, 32_000])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--n-layer", type=int, default=6)
    parser.add_argument("--n-embd", type=int, default=384)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here, too")
    told = parser.parse_args(argv)
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


def beside(told: argparse.Namespace, part: str, sizes: dict[str, Any], vocab_size: int, dtype: str) -> dict[str, Any]:
    """Rounds of one step each; the line about them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(Path(folder), told, sizes, vocab_size, dtype)
        peer = Peer(told.nanogpt, trainer.model, trainer.config, trainer.model.dtype)
        spent, ratios, of_cpu, apart = {"ours": [], "theirs": []}, [], [], []
        for number in range(WARM + told.rounds):
            batch = one_document_a_context(trainer, number) if part == "plain" else trainer._read_step()[0]
            x, y = rectangle(batch, trainer.device)
            trainer._read_step = lambda batch=batch: [batch]  # type: ignore[method-assign]
            lr = learning_rate(trainer.config, number + 1)
            turns = {
                "ours": lambda: trainer.advance(lambda: False).loss,
                "theirs": lambda x=x, y=y: peer.step(x, y, lr),
            }
            took, cpu, losses = {}, {}, {}
            for who in sorted(turns, reverse=number % 2 == 1):
                took[who], cpu[who], losses[who] = timed(turns[who], trainer.device)
            del trainer._read_step
            apart.append(abs(losses["ours"] - losses["theirs"]) / losses["theirs"])
            if number >= WARM:
                ratios.append(took["theirs"] / took["ours"])
                of_cpu.append(cpu["theirs"] / cpu["ours"])
                for who, seconds in took.items():
                    spent[who].append(seconds)
        trainer.close()
    labels, tokens = len(batch.labels_R), batch.num_tokens
    low, _, high = statistics.quantiles(ratios, n=4)
    row = {
        "part": part, "vocab_size": vocab_size, "dtype": dtype, "tokens": tokens, "labels": labels,
        "documents": len(batch.docs.spans), "theirs_slots": x.numel(), "rounds": len(ratios),
        "ours_tokens_per_s": tokens / statistics.median(spent["ours"]),
        "theirs_tokens_per_s": tokens / statistics.median(spent["theirs"]),
        "ratio": statistics.median(ratios), "quartiles": [low, high], "cpu_ratio": statistics.median(of_cpu),
        "losses_apart": max(apart),
    }  # fmt: skip
    print(
        f"{part:9} vocabulary {vocab_size:6,} {dtype:8}: ours {row['ours_tokens_per_s']:7,.0f} tokens/s, nanoGPT "
        f"{row['theirs_tokens_per_s']:7,.0f}: {row['ratio']:5.2f} times ({low:.2f} to {high:.2f}), {row['cpu_ratio']:.2f} "
        f"in CPU time; losses of all steps within {max(apart):.1e}",
        flush=True,
    )
    return row


def timed(step: Callable[[], float], device: torch.device) -> tuple[float, float, float]:
    """Seconds of a step, of them on the CPU, and what it gave: a loss as a number, so a card is waited for."""
    started, cpu = time.perf_counter(), time.process_time()
    loss = step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, time.process_time() - cpu, loss


def make_trainer(folder: Path, told: argparse.Namespace, sizes: dict[str, Any], vocab_size: int, dtype: str) -> Trainer:
    pack = make_pack(folder / "pack", argparse.Namespace(vocab_size=vocab_size, **sizes))
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


def rectangle(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """(tokens, targets) of a batch with one document a row, padded to the longest."""
    shape = (len(batch.docs.spans), batch.docs.longest)
    x, y = torch.zeros(shape, dtype=torch.int64), torch.full(shape, IGNORE)
    targets = torch.full_like(batch.tokens_T, IGNORE).index_copy(0, batch.rows_R, batch.labels_R)
    for row, (start, end) in enumerate(batch.docs.spans):
        x[row, : end - start] = batch.tokens_T[start:end]
        y[row, : end - start] = targets[start:end]
    return x.to(device), y.to(device)


# ── attention alone ───────────────────────────────────────────────────────────────────────────────────────────────


def attention(told: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Forward and backward of one layer's attention, 12 heads of 64, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(Path(folder), told, QA, 65, "float32")
        [batch] = trainer._read_step()
        trainer.close()
    mask = dense_mask(batch.docs).to(told.device)

    def dense(q: Tensor, k: Tensor, v: Tensor, docs: Documents) -> Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).squeeze(0).transpose(0, 1)

    ways = {"bucket": attend_bucket, "loop": attend_loop, "dense mask": dense}
    for dtype in told.dtypes:
        shape = (batch.num_tokens, 12, 64)
        q, k, v = (torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True) for _ in range(3))
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(WARM + told.rounds):
            for name, attend in ways.items():
                started = time.perf_counter()
                attend(q, k, v, batch.docs).sum().backward()
                if turn >= WARM:
                    times[name].append(time.perf_counter() - started)
        for name in ("bucket", "loop"):
            ratios = [slow / fast for slow, fast in zip(times["dense mask"], times[name], strict=True)]
            low, ratio, high = statistics.quantiles(ratios, n=4)
            ms = {way: 1e3 * statistics.median(spent) for way, spent in times.items()}
            print(
                f"attention {dtype:8} by {name:6}: {ms[name]:6.1f} ms, dense mask {ms['dense mask']:6.1f} ms: "
                f"{ratio:5.1f} times ({low:.1f} to {high:.1f}); {len(batch.docs.spans)} documents, the longest "
                f"{batch.docs.longest} of {batch.num_tokens} tokens",
                flush=True,
            )
            yield {"part": "attention", "dtype": dtype, "by": name, "ms": ms, "ratio": ratio, "quartiles": [low, high]}


def dense_mask(docs: Documents) -> Tensor:
    ends = torch.tensor(docs.bounds[1:])
    which = torch.bucketize(torch.arange(docs.bounds[-1]), ends, right=True)
    return (which[:, None] == which[None]) & torch.ones(len(which), len(which), dtype=torch.bool).tril()


PARTS = {"plain": plain, "qa": qa, "attention": attention}

if __name__ == "__main__":
    sys.exit(main())
