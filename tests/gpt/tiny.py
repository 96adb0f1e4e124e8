"""Tiny packs and models, made in a moment: for tests of what trains on them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datagen import files
from gpt.config import GPTConfig, TrainConfig
from gpt.shards import write_arrays

VOCAB, CONTEXT_LEN = 61, 48
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": VOCAB, "context_len": CONTEXT_LEN}


def make_pack(folder: Path, num_contexts: int = 12, seed: int = 0) -> Path:
    """Random documents of 5 to 20 tokens, the loss on their second half; some contexts are not quite full."""
    dice = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    shards = {"train": ["train-00000.safetensors"], "val": ["val-00000.safetensors"]}
    write_arrays(folder / shards["train"][0], _contexts(dice, num_contexts))
    write_arrays(folder / shards["val"][0], _contexts(dice, 3))
    sha256 = {name: files.sha256(folder / name) for names in shards.values() for name in names}
    manifest = {"context_len": CONTEXT_LEN, "pad": 0, "vocab_size": VOCAB, "shards": shards, "sha256": sha256}
    files.write_manifest(folder, manifest)
    return folder


def _contexts(dice: np.random.Generator, num_contexts: int) -> dict[str, NDArray[Any]]:
    tokens, documents, contexts, loss = [], [0], [0], []
    for _ in range(num_contexts):
        room = CONTEXT_LEN
        while room >= 5:
            length = min(room, int(dice.integers(5, 21)))
            tokens.append(dice.integers(0, VOCAB, length))
            documents.append(documents[-1] + length)
            loss.append((length // 2, length))
            room -= length
        contexts.append(len(documents) - 1)
    return {
        "tokens": np.concatenate(tokens).astype(np.uint16),
        "documents": np.array(documents),
        "contexts": np.array(contexts),
        "loss": np.array(loss, np.int32),
        "records": np.arange(len(loss)),
    }


def shape(**changes: Any) -> GPTConfig:
    return GPTConfig(**{**SHAPE, **changes})


def config(pack: Path, **changes: Any) -> TrainConfig:
    """Small steps that still change everything a run can change: accumulation, decay phases, dropout, warm-up."""
    settings = {
        "model": shape(dropout=0.1),
        "steps": 40,
        "micro_batch": 2,
        "grad_accum": 2,
        "lr": 3e-3,
        "min_lr": 3e-4,
        "warmup_steps": 5,
        "eval_every": 10,
        "eval_contexts": 2,
        "checkpoint_every": 5,
        "seed": 11,
        "threads": 1,  # more only wait for each other at this size
    }
    return TrainConfig(pack, **{**settings, **changes})
