"""Attention inside each document of a packed row, never across. `loop` is the definition; the others must equal it.

T tokens of one packed row, H query heads, G key/value heads (H % G == 0), D head size, N documents.
B documents of a bucket, L the bucket's length.
"""

import inspect
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from gpt.config import BadConfig


@dataclass(frozen=True)
class Bucket:
    """Documents of about one length, as a rectangle: which token sits in each slot."""

    num_documents: int
    length: int
    source: Tensor  # (B * L,) int64: the row's token in each slot; a padding slot repeats its document's last token
    real: Tensor  # (tokens of these documents,) int64: their slots
    tokens: Tensor  # (tokens of these documents,) int64: where in the row they belong


@dataclass(frozen=True)
class Documents:
    """Where the documents of one row begin and end: the same for every layer, so it is worked out once per row.

    bounds: (N + 1,) ascending from 0 to T, on the CPU. An empty document is allowed and does nothing.
    """

    bounds: tuple[int, ...]
    device: torch.device

    @classmethod
    def of(cls, bounds: Tensor | list[int], device: torch.device | str = "cpu") -> "Documents":
        ends = [int(end) for end in bounds]
        if not ends or ends[0] != 0 or any(b < a for a, b in pairwise(ends)):
            raise ValueError(f"bounds begin at 0 and never fall, not {ends[:8]}")
        return cls(tuple(ends), torch.device(device))

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        return [(start, end) for start, end in pairwise(self.bounds) if end > start]

    @cached_property
    def positions(self) -> Tensor:
        """(T,) int64: 0, 1, 2 ... from the start of each document."""
        row = torch.arange(self.bounds[-1])
        starts = torch.tensor([start for start, _ in self.spans], dtype=torch.int64)
        lengths = torch.tensor([end - start for start, end in self.spans], dtype=torch.int64)
        return (row - starts.repeat_interleave(lengths)).to(self.device)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """(N' + 1,) int32 on the device: the ends of the documents that are not empty."""
        return torch.tensor([0, *(end for _, end in self.spans)], dtype=torch.int32).to(self.device)

    @property
    def lengths(self) -> list[int]:
        return [end - start for start, end in self.spans]

    @cached_property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    @cached_property
    def is_rectangle(self) -> bool:
        """All of one length: contexts full of one document each."""
        return len(set(self.lengths)) == 1

    @cached_property
    def buckets(self) -> list[Bucket]:
        """The documents by rounded length: at most a fifth of a slot row is padding, or 7 slots."""
        by_length: dict[int, list[tuple[int, int]]] = {}
        for start, end in self.spans:
            by_length.setdefault(rounded(end - start), []).append((start, end))
        return [_bucket(length, spans, self.device) for length, spans in sorted(by_length.items())]


def rounded(length: int) -> int:
    """The bucket a document of this length goes to: a multiple of 8, from 64 on one of four steps per doubling.

    >>> [rounded(n) for n in (1, 9, 33, 41, 65, 200, 1000)]
    [8, 16, 40, 48, 80, 224, 1024]
    """
    step = max(8, 1 << max(0, (length - 1).bit_length() - 3))
    return -(-length // step) * step


def _bucket(length: int, spans: list[tuple[int, int]], device: torch.device) -> Bucket:
    start = torch.tensor([span[0] for span in spans])[:, None]
    end = torch.tensor([span[1] for span in spans])[:, None]
    slot = start + torch.arange(length)
    real = (slot < end).flatten().nonzero().squeeze(1)
    source = torch.minimum(slot, end - 1).flatten()
    return Bucket(len(spans), length, source.to(device), real.to(device), source[real].to(device))


class Attend(Protocol):
    def __call__(self, q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor: ...


def attend_loop(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """The definition: one document at a time, nothing to get wrong. Any device; slow with many short documents."""
    gqa = q_THD.shape[1] != k_TGD.shape[1]
    outs = []
    for start, end in docs.spans:
        q, k, v = (x[start:end].transpose(0, 1).unsqueeze(0) for x in (q_THD, k_TGD, v_TGD))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        outs.append(y.squeeze(0).transpose(0, 1))
    return torch.cat(outs)


def attend_bucket(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """Documents of about one length side by side, padded on the right: a causal query never looks right.

    What the padding slots compute is dropped, and their gradient is exactly zero. Any device; for the CPU.
    """
    gqa = q_THD.shape[1] != k_TGD.shape[1]
    if docs.is_rectangle:  # nothing to move
        q, k, v = (x.view(-1, docs.longest, *x.shape[1:]).transpose(1, 2) for x in (q_THD, k_TGD, v_TGD))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa).transpose(1, 2).flatten(0, 1)
    parts = []
    for bucket in docs.buckets:
        q, k, v = (_spread(x, bucket).transpose(1, 2) for x in (q_THD, k_TGD, v_TGD))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        parts.append(y.transpose(1, 2).flatten(0, 1).index_select(0, bucket.real))
    return _Place.apply(torch.cat(parts), torch.cat([bucket.tokens for bucket in docs.buckets]))  # type: ignore[no-any-return, no-untyped-call]


def _spread(x_THD: Tensor, bucket: Bucket) -> Tensor:
    slots: Tensor = _Spread.apply(x_THD, bucket.source, bucket.real, bucket.tokens)  # type: ignore[no-untyped-call]
    return slots.view(bucket.num_documents, bucket.length, *x_THD.shape[1:])


class _Spread(torch.autograd.Function):
    """Row to slots. The gradient goes back by plain copies, from real slots only: exact, and no slow index_add."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, source: Tensor, real: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(real, tokens)
        ctx.num_tokens = x.shape[0]  # type: ignore[attr-defined]
        return x.index_select(0, source)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        real, tokens = ctx.saved_tensors  # type: ignore[attr-defined]
        row = grad.new_zeros(ctx.num_tokens, *grad.shape[1:])  # type: ignore[attr-defined]
        return row.index_copy_(0, tokens, grad.index_select(0, real)), None, None, None


class _Place(torch.autograd.Function):
    """Tokens in bucket order back to their places in the row; `tokens` is a permutation."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        return torch.empty_like(x).index_copy_(0, tokens, x)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        [tokens] = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad.index_select(0, tokens), None


def attend_varlen(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """FlashAttention from torch's core: CUDA, bf16 or fp16, head size up to 256.

    Its API moved: torch 2.10 says is_causal=, from 2.11 causal is window_size=(-1, 0), and grouped heads need
    enable_gqa= from 2.12 on; before that the key/value heads are repeated here. Source: torch/nn/attention/varlen.py.
    """
    from torch.nn.attention.varlen import varlen_attn

    takes = inspect.signature(varlen_attn).parameters
    causal: dict[str, object] = {"is_causal": True} if "is_causal" in takes else {"window_size": (-1, 0)}
    if (share := q_THD.shape[1] // k_TGD.shape[1]) > 1:
        if "enable_gqa" in takes:
            causal["enable_gqa"] = True
        else:
            k_TGD, v_TGD = (x.repeat_interleave(share, dim=1) for x in (k_TGD, v_TGD))
    ends = docs.cu_seqlens
    out = varlen_attn(q_THD, k_TGD, v_TGD, ends, ends, docs.longest, docs.longest, **causal)  # type: ignore[arg-type]
    assert isinstance(out, Tensor), "no auxiliary output was asked for"
    return out


BACKENDS: dict[str, Attend] = {"loop": attend_loop, "bucket": attend_bucket, "varlen": attend_varlen}


def choose(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """Resolve 'auto' once, at start; the caller logs it and the checkpoint keeps it. A name is obeyed or refused."""
    fast = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    if name == "auto":
        return "varlen" if fast else "bucket"
    if name not in BACKENDS or (name == "varlen" and not fast):
        raise BadConfig(
            f"attention={name!r} on {device.type}, {dtype}: take auto, loop, bucket, or varlen (CUDA, bf16 or fp16)"
        )
    return name
