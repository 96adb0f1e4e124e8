"""Attention inside each document of a packed row, never across. `loop` is the definition; the others must equal it.

T tokens of one packed row, H query heads, G key/value heads (H % G == 0), D head size, N documents.
B documents of about one length, L that length; S slots of all of them.
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
class Slots:
    """The documents as rectangles, those of about one length in one, all of them behind each other: S slots.

    A padding slot, on a document's right, repeats its last token.
    """

    shapes: list[tuple[int, int]]  # (B, L) of each rectangle
    source_S: Tensor  # int64: the row's token in each slot
    slot_T: Tensor  # int64: where each token of the row sits


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
    def slots(self) -> Slots:
        """By rounded length: at most a fifth of a slot row is padding, or 7 slots."""
        by_length: dict[int, list[tuple[int, int]]] = {}
        for start, end in self.spans:
            by_length.setdefault(rounded(end - start), []).append((start, end))
        shapes, sources, reals = [], [], []
        for length, spans in sorted(by_length.items()):
            starts, ends = torch.tensor(spans).t()[..., None]
            slot = starts + torch.arange(length)
            shapes.append((len(spans), length))
            sources.append(torch.minimum(slot, ends - 1).flatten())
            reals.append((slot < ends).flatten())
        source = torch.cat(sources)
        real = torch.cat(reals).nonzero().squeeze(1)
        slot_T = torch.empty_like(real).index_copy_(0, source[real], real)
        return Slots(shapes, source.to(self.device), slot_T.to(self.device))


def rounded(length: int) -> int:
    """The bucket a document of this length goes to: a multiple of 8, from 64 on one of four steps per doubling.

    >>> [rounded(n) for n in (1, 9, 33, 41, 65, 200, 1000)]
    [8, 16, 40, 48, 80, 224, 1024]
    """
    step = max(8, 1 << max(0, (length - 1).bit_length() - 3))
    return -(-length // step) * step


class Attend(Protocol):
    def __call__(self, q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor: ...


def attend_loop(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """The definition: one document at a time, nothing to get wrong. Any device; slow with many short documents."""
    gqa = q_THD.shape[1] != k_TGD.shape[1]
    outs = []
    for document in zip(*(x.split_with_sizes(docs.lengths) for x in (q_THD, k_TGD, v_TGD)), strict=True):
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in document)
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
    slots, sizes = docs.slots, [num * length for num, length in docs.slots.shapes]
    qkv = (_Spread.apply(x, slots.source_S, slots.slot_T).split(sizes) for x in (q_THD, k_TGD, v_TGD))  # type: ignore[no-untyped-call]
    parts = []
    for shape, *rectangle in zip(slots.shapes, *qkv, strict=True):
        q, k, v = (x.unflatten(0, shape).transpose(1, 2) for x in rectangle)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        parts.append(y.transpose(1, 2).flatten(0, 1))
    return _Place.apply(torch.cat(parts), slots.slot_T)  # type: ignore[no-any-return, no-untyped-call]


class _Spread(torch.autograd.Function):
    """Row to slots. The gradient goes back by plain copies, from real slots only: exact, and no slow index_add."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, source_S: Tensor, slot_T: Tensor) -> Tensor:
        ctx.save_for_backward(slot_T)
        return x.index_select(0, source_S)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        [slot_T] = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad.index_select(0, slot_T), None, None


class _Place(torch.autograd.Function):
    """Slots back to the row. What padding slots hold is dropped, their gradient is zero."""

    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor, slot_T: Tensor) -> Tensor:
        ctx.save_for_backward(slot_T)
        ctx.num_slots = len(y)  # type: ignore[attr-defined]
        return y.index_select(0, slot_T)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        [slot_T] = ctx.saved_tensors  # type: ignore[attr-defined]
        slots = grad.new_zeros(ctx.num_slots, *grad.shape[1:])  # type: ignore[attr-defined]
        return slots.index_copy_(0, slot_T, grad), None


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


def choose(name: str, device: torch.device, dtype: torch.dtype, head_size: int) -> str:
    """Resolve 'auto' once, at start; the caller logs it and the checkpoint keeps it. A name is obeyed or refused."""
    fast = _has_flash(device, dtype, head_size)
    if name == "auto":
        return "varlen" if fast else "bucket"
    if name not in BACKENDS or (name == "varlen" and not fast):
        raise BadConfig(
            f"attention={name!r} on {device.type}, {dtype}, heads of {head_size}: take auto, loop, bucket, or varlen "
            "(CUDA from compute capability 8.0 on, bf16 or fp16, heads of a multiple of 8 up to 256)"
        )
    return name


def _has_flash(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether FlashAttention 2, which varlen_attn is made of, takes this. Source: its README."""
    takes = dtype in (torch.bfloat16, torch.float16) and head_size % 8 == 0 and head_size <= 256
    return takes and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
