"""Packed contexts on disk, and how they are read. The packer writes, the trainer reads; nobody else knows the bytes.

A pack is a folder: train-00000.safetensors ..., val-00000.safetensors ..., questions.jsonl, and manifest.json last.
A shard holds no padding: its arrays are the contexts' documents end to end, and where each begins.

    tokens     uint16 (uint32 past 65,536 pieces)   every token
    documents  int64 (M + 1,)    where each document begins in `tokens`
    contexts   int64 (C + 1,)    which document each context begins with
    loss       int32 (M, 2)      each document's loss span, from its own start
    records    int64 (M,)        the record each document was made of

The file is safetensors: a length, a JSON header, flat arrays. No pickle; numpy maps it, so a read costs no memory.
"""

# T tokens of one row, N documents of one row, M documents and C contexts of one shard

import bisect
import json
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from datagen import files

IGNORE: Final = -100  # the label of a token that gives no loss: PyTorch's ignore_index
SPLITS = ("train", "val")
DTYPES = {"U16": np.uint16, "U32": np.uint32, "I32": np.int32, "I64": np.int64}
MAX_HEADER_BYTES = 100_000
MAX_OPEN = 128  # shards of a pack mapped at a time; each holds a file open, and a process often may have only 1,024


class DamagedPack(Exception):
    """The pack's files are not what its manifest says. Pack again."""


@dataclass(frozen=True)
class Context:
    """A row of whole documents, ready to train on.

    tokens_T int32; labels_T int32: the token to be predicted AT each place, or IGNORE; bounds int32 (N + 1,): where
    each document begins, bounds[0] == 0 and bounds[-1] == T. Padding is one more document, without labels.
    num_tokens: how many of the T are not padding.
    """

    tokens_T: NDArray[np.int32]
    labels_T: NDArray[np.int32]
    bounds: NDArray[np.int32]
    num_tokens: int

    @cached_property
    def positions_T(self) -> NDArray[np.int32]:
        """Each token's place in its own document: 0 at every start."""
        starts = np.repeat(self.bounds[:-1], np.diff(self.bounds))
        return np.arange(len(self.tokens_T), dtype=np.int32) - starts.astype(np.int32)


class Shard:
    """One mapped file. context(i) is a view's worth of copying: nothing is kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = read_arrays(path)
        try:
            self.tokens, self.documents, self.contexts = arrays["tokens"], arrays["documents"], arrays["contexts"]
            self.loss, self.records = arrays["loss"], arrays["records"]
        except KeyError as error:
            raise DamagedPack(f"{path} lacks the array {error}: it is no shard of packed contexts") from error
        if self.documents[-1] != len(self.tokens) or self.contexts[-1] != len(self.documents) - 1:
            raise DamagedPack(f"{path}: its arrays do not belong together; pack again")

    @property
    def num_contexts(self) -> int:
        return len(self.contexts) - 1


class Pack:
    """A finished pack, open for reading. manifest: what the packer wrote down."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.context_len: int = manifest["context_len"]
        self.pad: int = manifest["pad"]
        self._paths = {split: [folder / _plain(name) for name in manifest["shards"][split]] for split in SPLITS}
        self._shard = lru_cache(MAX_OPEN)(Shard)
        self._ends = {
            split: list(accumulate(self._shard(path).num_contexts for path in self._paths[split])) for split in SPLITS
        }

    def num_contexts(self, split: str) -> int:
        return self._ends[split][-1] if self._ends[split] else 0

    def context(self, split: str, index: int) -> Context:
        """Context `index` of a split, 0 <= index < num_contexts(split), padded to context_len."""
        return self.row(split, [index])

    def row(self, split: str, indices: Sequence[int]) -> Context:
        """Several contexts end to end as one flat row: T = len(indices) * context_len."""
        length = self.context_len
        tokens_T = np.full(len(indices) * length, self.pad, np.int32)
        labels_T = np.full(len(indices) * length, IGNORE, np.int32)
        bounds, num_tokens = [np.zeros(1, np.int32)], 0
        for place, index in enumerate(indices):
            here = slice(place * length, (place + 1) * length)
            ends = self._fill(split, index, tokens_T[here], labels_T[here])
            num_tokens += int(ends[-1])
            bounds.append(ends + place * length)
            if ends[-1] < length:
                bounds.append(np.array([here.stop], np.int32))
        return Context(tokens_T, labels_T, np.concatenate(bounds), num_tokens)

    def records(self, split: str, index: int) -> NDArray[np.int64]:
        """The record ids behind a context's documents, in their order."""
        shard, first, last = self._find(split, index)
        return np.array(shard.records[first:last])

    def verify(self) -> None:
        """Hash every file against the manifest. Raises DamagedPack naming the first that differs."""
        for name, expected in self.manifest["sha256"].items():
            if not (self.folder / name).is_file() or files.sha256(self.folder / name) != expected:
                raise DamagedPack(
                    f"{self.folder / name} is not the file that was packed: delete the folder, pack again"
                )

    def _find(self, split: str, index: int) -> tuple[Shard, int, int]:
        """The shard of a context, and its first and past-the-last document there."""
        if not 0 <= index < self.num_contexts(split):
            raise IndexError(f"context {index} of {split}: there are {self.num_contexts(split)}")
        which = bisect.bisect_right(self._ends[split], index)
        shard = self._shard(self._paths[split][which])
        at = index - (self._ends[split][which] - shard.num_contexts)
        return shard, int(shard.contexts[at]), int(shard.contexts[at + 1])

    def _fill(
        self, split: str, index: int, tokens_T: NDArray[np.int32], labels_T: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Write one context's tokens and labels; return the ends of its documents, int32 (N,)."""
        shard, first, last = self._find(split, index)
        starts = shard.documents[first : last + 1] - shard.documents[first]
        num_tokens = int(starts[-1])
        begin = int(shard.documents[first])
        tokens_T[:num_tokens] = shard.tokens[begin : begin + num_tokens]
        spans = starts[:-1, None] + shard.loss[first:last]
        inside = np.zeros(num_tokens + 1, np.int8)
        inside[spans[:, 0] - 1] += 1  # labels stand one place before the token they name
        inside[spans[:, 1] - 1] -= 1
        at = np.flatnonzero(np.cumsum(inside[:-1]))
        labels_T[at] = tokens_T[at + 1]
        ends: NDArray[np.int32] = starts[1:].astype(np.int32)
        return ends


def open_pack(folder: Path) -> Pack:
    """A complete pack. Raises FileNotFoundError when there is none (yet), DamagedPack when it can't be read."""
    if not files.is_complete(folder):
        raise FileNotFoundError(f"{folder} holds no finished pack (no {files.MANIFEST}): run a pack job first")
    try:
        return Pack(folder, files.read_manifest(folder))
    except FileNotFoundError as error:
        raise DamagedPack(f"{error.filename} is gone from a finished pack: delete the folder, pack again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedPack(f"{folder} is not a pack as made here ({error!r}): delete the folder, pack again") from error


def _plain(name: str) -> str:
    """The name of a file in the pack's own folder. Raises ValueError for one that leads elsewhere."""
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file in it")
    return name


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """One shard, whole or absent. The same arrays give the same bytes."""
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {}
    at = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at := at + array.nbytes],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    blobs = [np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays.values()]
    files.write_whole(path, b"".join([struct.pack("<Q", len(text)), text, *blobs]))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Map a shard's arrays, read-only. Raises FileNotFoundError, DamagedPack."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    length = struct.unpack_from("<Q", whole)[0] if size >= 8 else 0
    try:
        header = json.loads(whole[8 : 8 + min(length, MAX_HEADER_BYTES)])
        if 8 + length + max(entry["data_offsets"][1] for entry in header.values()) != size:
            raise ValueError("it is cut off, or something was added")
        return {name: _view(whole, 8 + length, entry) for name, entry in header.items()}
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise DamagedPack(f"{path} can't be read as a shard ({error}): delete the pack, pack again") from error


def _view(whole: mmap.mmap | bytes, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    """An array inside a mapped file."""
    dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
    shape = tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end or end - begin != int(np.prod(shape)) * dtype.itemsize:
        raise ValueError("an array's place does not fit its shape")
    return np.frombuffer(whole, dtype, int(np.prod(shape)), start + begin).reshape(shape)
