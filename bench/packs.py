"""Packs of random documents, for benches: lengths and labels as question-answer records have them."""

import math
from pathlib import Path

import numpy as np

from datagen import files
from gpt.shards import write_arrays


def make_pack(
    folder: Path,
    *,
    vocab_size: int,
    context_len: int,
    document_len: int,
    spread: float,
    label_share: float,
    num_contexts: int,
) -> Path:
    """Contexts full of documents of about document_len tokens, the loss at their ends.

    spread: of the lengths' logarithm; 0: all of one length. label_share: of a document's tokens.
    """
    dice = np.random.default_rng(0)
    folder.mkdir()
    tokens, documents, contexts, loss = [], [0], [0], []
    for _ in range(num_contexts):
        room = context_len
        while room >= 8:
            length = min(room, max(8, drawn_length(dice, document_len, spread)))
            labelled = max(1, round(label_share * length))
            tokens.append(dice.integers(0, vocab_size, length))
            documents.append(documents[-1] + length)
            loss.append((length - labelled, length))
            room -= length
        contexts.append(len(documents) - 1)
    arrays = {"tokens": np.concatenate(tokens).astype(np.uint16), "documents": np.array(documents)}
    arrays |= {"contexts": np.array(contexts), "loss": np.array(loss, np.int32), "records": np.arange(len(loss))}
    names = {"train": ["train-00000.safetensors"], "val": []}
    write_arrays(folder / names["train"][0], arrays)
    sha256 = {name: files.sha256(folder / name) for name in names["train"]}
    manifest = {"context_len": context_len, "pad": 0, "vocab_size": vocab_size, "shards": names}
    files.write_manifest(folder, {**manifest, "sha256": sha256})
    return folder


def drawn_length(dice: np.random.Generator, mean: int, spread: float) -> int:
    """Log-normal, as the lengths of texts are."""
    return round(mean * math.exp(dice.normal(-spread * spread / 2, spread)))
