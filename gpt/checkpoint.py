"""Checkpoints: whole or absent, checked when read, the newest two kept and the pinned. No pickle.

    checkpoint/step-0000400/
        model.safetensors  optimizer.safetensors  rng.safetensors  state.json
        manifest.json      last: the sha256 of each file above

A folder is written beside its place, flushed, renamed. One without a manifest, or with a file that is not what the
manifest says, is not used: the one before it is. A Writer writes behind the training's back, one at a time.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
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


def save(root: Path, checkpoint: Checkpoint, pin_every: int | None = None) -> Path:
    """Put root/step-XXXXXXX on the disk, and forget all but the newest KEPT and those pinned. Returns the folder.

    pin_every: the checkpoint of every so many steps stays for good; None: of none.

    Raises OSError (a full disk) with the ones before still there, and nothing of this one.
    """
    root.mkdir(parents=True, exist_ok=True)
    place = root / name_of(checkpoint.step)
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
        if pin_every is None or step_of(old) % pin_every:
            shutil.rmtree(old)
    return place


def name_of(step: int) -> str:
    return f"step-{step:07d}"


def step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    """All files of a checkpoint, flushed, the manifest last."""
    folder.mkdir()
    for group, tensors in checkpoint.groups.items():
        path = folder / f"{group}.safetensors"
        _write_tensors(path, tensors)
        files.sync_file(path)
    files.write_json(folder / STATE, checkpoint.state)
    sha256 = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
    files.write_manifest(folder, {"step": checkpoint.step, "sha256": sha256})


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raises OSError: safetensors has a word of its own for what the disk refuses."""
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error


class Writer:
    """Writes checkpoints while training goes on: in a thread, never two at once.

    What is written behind is copied first, into host memory that is kept for the next copy (fresh pages cost more than
    the copying; make_room takes them before the first). saved_step: the newest step that is known to be on the disk.
    """

    def __init__(self, root: Path, tell: Callable[[str], None], *, pin_every: int | None = None) -> None:
        self.root, self.tell, self.pin_every = root, tell, pin_every
        self.saved_step: int | None = None
        self._copies: dict[str, dict[str, Tensor]] = {}
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: tuple[int, Future[Path]] | None = None
        self._room: Future[dict[str, dict[str, Tensor]]] | None = None

    @property
    def has_room(self) -> bool:
        return self._room is not None or bool(self._copies)

    def make_room(self, checkpoint: Checkpoint) -> None:
        """Take the memory for copies of such checkpoints, behind the training's back: its pages are what costs."""
        self._room = self._pool.submit(room_for, checkpoint.groups)

    def write(self, checkpoint: Checkpoint) -> None:
        """On the disk when this returns. Raises OSError (a full disk); what was there before is there still."""
        self.finish()
        save(self.root, checkpoint, self.pin_every)
        self.saved_step = checkpoint.step

    def begin(self, checkpoint: Checkpoint) -> None:
        """The caller may change its tensors when this returns. Waits for the write before."""
        self.finish()
        if self._room is not None:
            self._copies, self._room = self._room.result(), None
        self._copies = {
            group: {name: copied(tensor, self._copies.get(group, {}).get(name)) for name, tensor in tensors.items()}
            for group, tensors in checkpoint.groups.items()
        }
        copy = Checkpoint(checkpoint.step, self._copies, checkpoint.state)
        self._writing = checkpoint.step, self._pool.submit(save, self.root, copy, self.pin_every)

    def look(self) -> None:
        """What became of the write, when it has ended: waits for nothing."""
        if self._writing is not None and self._writing[1].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the write that is under way. When it failed that is said, and the run goes on: the old ones stay."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        try:
            writing.result()
        except OSError as error:
            kept = "none is there yet" if self.saved_step is None else f"the one of step {self.saved_step} is kept"
            self.tell(f"the checkpoint of step {step} could not be written ({error}): {kept}, and the run goes on")
        else:
            self.saved_step = step

    def close(self) -> None:
        self.finish()
        self._pool.shutdown()


def room_for(groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Host memory of their shapes, written to once: until then the kernel has only promised it."""
    return {
        group: {name: torch.empty(tensor.shape, dtype=tensor.dtype).zero_() for name, tensor in tensors.items()}
        for group, tensors in groups.items()
    }


def copied(tensor: Tensor, into: Tensor | None) -> Tensor:
    """A tensor's values in host memory; in `into`, an older copy, where that fits."""
    if into is None or into.shape != tensor.shape or into.dtype != tensor.dtype:
        into = torch.empty(tensor.shape, dtype=tensor.dtype)
    return into.copy_(tensor.detach())


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
