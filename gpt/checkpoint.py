"""Checkpoints: whole or absent, checked when read, the newest two kept. No pickle.

    checkpoint/step-0000400/
        model.safetensors  optimizer.safetensors  rng.safetensors  state.json
        manifest.json      last: the sha256 of each file above

A folder is written beside its place, flushed, renamed. One without a manifest, or with a file that is not what the
manifest says, is not used: the one before it is.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from datagen import files

KEPT = 2
STATE = "state.json"


class Damaged(Exception):
    """A checkpoint that is not what was written. The sentence names the file."""


@dataclass(frozen=True)
class Checkpoint:
    """groups: tensors by file ('model', 'optimizer', 'rng'), then by name. state: JSON, step is in it."""

    step: int
    groups: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save(root: Path, checkpoint: Checkpoint) -> Path:
    """Put root/step-XXXXXXX on the disk, and forget all but the newest KEPT. Returns the folder.

    Raises OSError (a full disk) with the ones before still there, and nothing of this one.
    """
    root.mkdir(parents=True, exist_ok=True)
    place = root / f"step-{checkpoint.step:07d}"
    beside = root / f".{place.name}.tmp"
    for rest in (*root.glob(".step-*.tmp"), place):  # a writer that was killed; the same step, once lost, made again
        shutil.rmtree(rest, ignore_errors=True)
    try:
        _write(beside, checkpoint)
        os.rename(beside, place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    files.sync_folder(root)
    for old in saved(root)[KEPT:]:
        shutil.rmtree(old)
    return place


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """All files of a checkpoint, flushed, the manifest last."""
    folder.mkdir()
    for group, tensors in checkpoint.groups.items():
        path = folder / f"{group}.safetensors"
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
        files.sync_file(path)
    files.write_json(folder / STATE, checkpoint.state)
    sha256 = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
    files.write_manifest(folder, {"step": checkpoint.step, "sha256": sha256})


def saved(root: Path) -> list[Path]:
    """Every checkpoint folder with a manifest, newest first."""
    return sorted((path for path in root.glob("step-*") if files.is_complete(path)), reverse=True)


def load_newest(root: Path, tell: Callable[[str], None] = print) -> Checkpoint | None:
    """The newest checkpoint that is whole; None when there is none. Damaged ones after it are told, and set aside.

    Raises Damaged when there are some but none is whole: to begin from nothing would throw work away in silence. They
    stay where they are then, so that another try ends the same.
    """
    damaged: list[tuple[Path, Damaged]] = []
    for folder in saved(root):
        try:
            found = load(folder)
        except Damaged as error:
            damaged.append((folder, error))
            continue
        for bad, why in damaged:
            bad.replace(_free(root / f"damaged-{bad.name}"))
            tell(f"{why}; the checkpoint before it is taken")
        return found
    if damaged:
        complaints = "; ".join(str(why) for _, why in damaged)
        raise Damaged(f"no checkpoint is whole: {complaints}. To begin again from step 0, queue a new job")
    return None


def _free(path: Path) -> Path:
    """path, emptied of what was set aside there before."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def load(folder: Path) -> Checkpoint:
    """One checkpoint, every file hashed first, onto the CPU. Raises Damaged."""
    for _ in verify(folder):
        pass
    groups = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    state = json.loads((folder / STATE).read_text())
    return Checkpoint(state["step"], groups, state)


def verify(folder: Path) -> Iterator[Path]:
    """Each file once it is found to be what was written. Raises Damaged, naming the first that is not."""
    try:
        expected = files.read_manifest(folder)["sha256"]
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"{folder.name}/{files.MANIFEST} can't be read ({error})") from error
    for name, sha256 in expected.items():
        path = folder / name
        if not path.is_file() or files.sha256(path) != sha256:
            raise Damaged(f"{folder.name}/{name} is damaged: its bytes are not the ones that were written")
        yield path
