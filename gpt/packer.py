"""Whole documents into contexts, best fit first. Knows no file and no database."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FINISH_AT = 8  # look for a perfect end once the room is at most so many times the next document


class Document(NamedTuple):
    """One record, laid out. tokens uint16 or uint32; tokens[loss_start:loss_end] gives loss."""

    record: int
    tokens: NDArray[Any]
    loss_start: int
    loss_end: int


Row = list[Document]


class Packer:
    """Whole documents into contexts: in the order they come, and the last one or two chosen to fill the context up.

    A pool of `window` documents is kept. A row takes the oldest of them, until one or two others fill its room to the
    token; when there are none, and the oldest does not fit, those that fill it best. So a row's documents are almost
    those of a plain shuffle, and almost nothing is lost. The same documents in the same order give the same rows.
    Source of the idea: best-fit packing, arXiv:2404.10830; there longest first, over the whole corpus.
    """

    def __init__(self, context_len: int, window: int, pool: Sequence[Document] = ()) -> None:
        """pool: documents to go on with, as `pool` gave them."""
        self.context_len, self.window = context_len, window
        self._pool: dict[int, Document] = {}  # in order of arrival
        self._next = 0
        self._by_length: dict[int, deque[int]] = defaultdict(deque)
        self._counts = np.zeros(context_len + 1, np.int64)  # documents in the pool, by length
        for document in pool:
            self._keep(document)

    @property
    def pool(self) -> list[Document]:
        """What is in no row yet, oldest first."""
        return list(self._pool.values())

    def add(self, document: Document) -> list[Row]:
        """Take a document of 1 to context_len tokens. Returns the rows that are ready: none or one."""
        self._keep(document)
        return [self._fill()] if len(self._pool) > self.window else []

    def finish(self) -> Iterator[Row]:
        """Rows of what is left."""
        while self._pool:
            yield self._fill()

    def _keep(self, document: Document) -> None:
        self._pool[self._next] = document
        self._by_length[len(document.tokens)].append(self._next)
        self._counts[len(document.tokens)] += 1
        self._next += 1

    def _fill(self) -> Row:
        row: Row = []
        room = self.context_len
        while self._pool and room > 0:
            oldest = len(next(iter(self._pool.values())).tokens)
            lengths = self._best(room) if room <= FINISH_AT * oldest or oldest > room else ()
            if sum(lengths) < room and oldest <= room:
                lengths = (oldest,)
            if not lengths:
                break
            row += [self._take(length) for length in lengths]
            room -= sum(lengths)
        return row

    def _best(self, room: int) -> tuple[int, ...]:
        """Lengths of the one or two documents in the pool that fill room best; the most frequent ones of equals."""
        counts = self._counts[: room + 1]
        lengths = np.flatnonzero(counts)
        if not len(lengths):
            return ()
        partners = lengths[np.searchsorted(lengths, room - lengths, "right") - 1]
        paired = (lengths + partners <= room) & ((partners != lengths) | (counts[lengths] > 1))
        totals = lengths + np.where(paired, partners, 0)
        chances = counts[lengths] * np.where(paired, counts[partners], 1)
        at = np.lexsort((chances, totals))[-1]
        return (int(lengths[at]), int(partners[at])) if paired[at] else (int(lengths[at]),)

    def _take(self, length: int) -> Document:
        """The oldest document of a length, out of the pool."""
        self._counts[length] -= 1
        return self._pool.pop(self._by_length[length].popleft())


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
