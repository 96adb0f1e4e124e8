"""Whole documents into contexts, best fit first. Knows no file and no database."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Document(NamedTuple):
    """One record, laid out. tokens uint16 or uint32; tokens[loss_start:loss_end] gives loss."""

    record: int
    tokens: NDArray[Any]
    loss_start: int
    loss_end: int


Row = list[Document]


class Packer:
    """Put each document into the open context it fills best; whole, in the order they come.

    Best fit: the one with the least room that still takes it. When none does a new one is opened, and once there are
    more than max_open the fullest is closed. The same documents in the same order give the same rows.
    Source of the idea: best-fit packing, arXiv:2404.10830 (there offline; here over a bounded pool).
    """

    def __init__(self, context_len: int, max_open: int, rows: Sequence[Row] = ()) -> None:
        """rows: open ones to go on with, as `open_rows` gave them."""
        self.context_len, self.max_open = context_len, max_open
        self._rows = dict(enumerate(rows))
        self._room = sorted((context_len - num_tokens(row), serial) for serial, row in self._rows.items())
        self._next = len(self._rows)

    @property
    def open_rows(self) -> list[Row]:
        """What is not closed yet, oldest first."""
        return [self._rows[serial] for serial in sorted(self._rows)]

    def add(self, document: Document) -> list[Row]:
        """Place a document of 1 to context_len tokens. Returns the rows that this closes: none or one."""
        length = len(document.tokens)
        at = bisect_left(self._room, (length, -1))
        if at < len(self._room):
            room, serial = self._room.pop(at)
        else:
            room, serial = self.context_len, self._next
            self._rows[serial] = []
            self._next += 1
        self._rows[serial].append(document)
        insort(self._room, (room - length, serial))
        full = self._room[0][0] == 0
        return [self._rows.pop(self._room.pop(0)[1])] if full or len(self._room) > self.max_open else []


def num_tokens(row: Row) -> int:
    return sum(len(document.tokens) for document in row)


def arrays(rows: Sequence[Row], dtype: "np.dtype[Any]") -> dict[str, NDArray[Any]]:
    """Rows as a shard's arrays (gpt/shards.py says what they are)."""
    documents = [document for row in rows for document in row]
    return {
        "tokens": np.concatenate([document.tokens for document in documents]).astype(dtype),
        "documents": _ends([len(document.tokens) for document in documents]),
        "contexts": _ends([len(row) for row in rows]),
        "loss": np.array([(document.loss_start, document.loss_end) for document in documents], np.int32),
        "records": np.array([document.record for document in documents], np.int64),
    }


def _ends(lengths: list[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)
