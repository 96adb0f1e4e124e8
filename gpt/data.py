"""The order in which a run sees its contexts, and each micro-batch as tensors. Nothing here has state to lose:
the n-th context of a run depends on (seed, n) alone, so a checkpoint only keeps n.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gpt.attention import Documents
from gpt.metrics import MicroBatch, token_hash
from gpt.shards import IGNORE, Pack


@dataclass(frozen=True)
class Batch:
    """One flat row of contexts. rows_R: where a label is; labels_R: the token that follows there."""

    tokens_T: Tensor
    docs: Documents
    rows_R: Tensor
    labels_R: Tensor
    num_tokens: int  # without padding
    seen: MicroBatch

    @property
    def facts(self) -> "Facts":
        return Facts(len(self.labels_R), self.num_tokens, self.docs.longest, self.seen)

    def to(self, device: torch.device) -> "Batch":
        docs = Documents(self.docs.bounds, device)
        tensors = (x.to(device, non_blocking=True) for x in (self.tokens_T, self.rows_R, self.labels_R))
        tokens, rows, labels = tensors
        return Batch(tokens, docs, rows, labels, self.num_tokens, self.seen)


@dataclass(frozen=True)
class Facts:
    """What a step must know of each of its micro-batches, whichever process works it. longest: of its documents."""

    num_labels: int
    num_tokens: int
    longest: int
    seen: MicroBatch

    def to_row(self) -> list[int]:
        """As whole numbers, to be sent."""
        hashed = struct.unpack("<4q", bytes.fromhex(self.seen.sha256))
        return [self.num_labels, self.num_tokens, self.longest, *hashed, *self.seen.contexts]

    @classmethod
    def from_row(cls, row: list[int]) -> "Facts":
        labels, tokens, longest, *rest = row
        return cls(labels, tokens, longest, MicroBatch(tuple(rest[4:]), struct.pack("<4q", *rest[:4]).hex()))


def read_batch(pack: Pack, split: str, contexts: Sequence[int]) -> Batch:
    """These contexts end to end, on the CPU; padding is left out, not trained on."""
    row = pack.row(split, contexts)
    docs, keep = _without_padding(row.bounds, pack.context_len, row.labels_T)
    tokens, labels = row.tokens_T[keep], row.labels_T[keep]
    rows = np.flatnonzero(labels != IGNORE)
    return Batch(
        torch.from_numpy(tokens).long(),
        Documents(docs, torch.device("cpu")),
        torch.from_numpy(rows),
        torch.from_numpy(labels[rows]).long(),
        len(tokens),
        MicroBatch(tuple(contexts), token_hash(tokens.astype("<i4").tobytes())),
    )


def _without_padding(
    bounds: "np.typing.NDArray[np.int32]", context_len: int, labels: "np.typing.NDArray[np.int32]"
) -> tuple[tuple[int, ...], "np.typing.NDArray[np.bool_]"]:
    """(new bounds, which tokens stay). Padding is a label-less document that ends where a context ends."""
    keep = np.ones(len(labels), np.bool_)
    lengths = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if end % context_len == 0 and (labels[start:end] == IGNORE).all():
            keep[start:end] = False
        else:
            lengths.append(end - start)
    return (0, *np.cumsum(lengths).tolist()), keep


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, num_contexts: int) -> Tensor:
    generator = torch.Generator().manual_seed(hash_seed(seed, epoch))
    return torch.randperm(num_contexts, generator=generator)  # 8 bytes a context, where a list takes 36


def hash_seed(*numbers: int) -> int:
    """One 63-bit seed for a few numbers: neighbours give unrelated streams."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def context_at(seed: int, place: int, num_contexts: int) -> int:
    """The context a run sees at `place` (0, 1, 2 ...): each epoch is a permutation of its own, and sees each once."""
    epoch, within = divmod(place, num_contexts)
    return int(_epoch_order(seed, epoch, num_contexts)[within])
