"""Attention alone, forward and backward of one layer, beside a dense mask: python -m bench.attention [--dtypes float32]

20 documents in 4,096 tokens, lengths as question-answer packs have them, 12 heads of 64; the ways in turn.
"""

import argparse
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.packs import drawn_length
from gpt.attention import BACKENDS, Documents, choose

WARM = 2  # rounds that are not counted


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--document-len", type=int, default=205)
    parser.add_argument("--spread", type=float, default=0.72, help="of the lengths' logarithm")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    told = parser.parse_args(argv)
    docs = Documents.of(bounds(told.tokens, told.document_len, told.spread), told.device)
    squares = sum(length**2 for length in docs.lengths) / told.tokens**2
    print(
        f"{len(docs.spans)} documents, the longest {docs.longest} of {told.tokens} tokens, sum of squared lengths "
        f"{squares:.3f} of one document's; {torch.get_num_threads()} threads, torch {torch.__version__}, {told.device}"
    )
    for dtype in told.dtypes:
        beside_dense(told, docs, getattr(torch, dtype))
    return 0


def beside_dense(told: argparse.Namespace, docs: Documents, dtype: torch.dtype) -> None:
    """A line for each way that this device and dtype have."""
    shape = (told.tokens, told.heads, 64)
    q, k, v = (torch.randn(shape, dtype=dtype, device=told.device, requires_grad=True) for _ in range(3))
    best = choose("auto", torch.device(told.device), dtype)
    ways = {name: BACKENDS[name] for name in dict.fromkeys((best, "loop"))} | {"dense mask": Dense(docs)}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(WARM + told.rounds):
        for name, attend in ways.items():
            started, before = time.perf_counter(), time.process_time()
            attend(q, k, v, docs).sum().backward()
            if told.device != "cpu":
                torch.cuda.synchronize()
            if turn >= WARM:
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - before)
    for name in list(ways)[:-1]:
        low, ratio, high = statistics.quantiles(ratios(wall["dense mask"], wall[name]), n=4)
        print(
            f"{str(dtype).removeprefix('torch.'):8} by {name:7}: {1e3 * statistics.median(wall[name]):7.1f} ms, by a "
            f"dense mask {1e3 * statistics.median(wall['dense mask']):7.1f} ms: {ratio:5.1f} times ({low:.1f} to "
            f"{high:.1f}), {statistics.median(ratios(cpu['dense mask'], cpu[name])):.1f} in CPU time",
            flush=True,
        )


def ratios(slow: list[float], fast: list[float]) -> list[float]:
    return [a / b for a, b in zip(slow, fast, strict=True)]


def bounds(num_tokens: int, document_len: int, spread: float) -> list[int]:
    dice, ends = np.random.default_rng(0), [0]
    while ends[-1] < num_tokens:
        ends.append(min(num_tokens, ends[-1] + max(8, drawn_length(dice, document_len, spread))))
    return ends


class Dense:
    """What packing needs without attention of its own: one mask over all pairs of tokens."""

    def __init__(self, docs: Documents) -> None:
        which = torch.bucketize(torch.arange(docs.bounds[-1]), torch.tensor(docs.bounds[1:]), right=True)
        lower = torch.ones(len(which), len(which), dtype=torch.bool).tril()
        self.mask = ((which[:, None] == which[None]) & lower).to(docs.device)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, docs: Documents) -> Tensor:
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask).squeeze(0).transpose(0, 1)


if __name__ == "__main__":
    sys.exit(main())
