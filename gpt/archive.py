"""models/<name>/: every model that was kept, what it is and where it came from. Light: torch only where weights move.

    model.safetensors  config.json  tokenizer.model  note.md  manifest.json (last)

A name holds only facts: <run name>_step000400_tok1.2M_val3.301. No model is `best` or `final`: that is an opinion of
one day, and the note is the place for it.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen import files
from gpt.config import BadConfig, GPTConfig

if TYPE_CHECKING:
    from torch import Tensor

    from gpt.model import GPT
    from gpt.tokenizer import Tokenizer

WEIGHTS, CONFIG, TOKENIZER, NOTE = "model.safetensors", "config.json", "tokenizer.model", "note.md"
OPINIONS = ("best", "final")
IN_MANIFEST = frozenset(("kind", "parent", "created_at", "sha256", "config"))  # of every model
MAX_RUN_NAME = 64  # of the 128 that a model's name may have


class DamagedModel(Exception):
    """A kept model's files are not what its manifest says. The sentence names the file."""


@dataclass(frozen=True)
class Entry:
    """A kept model, without its weights."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    note: str


def check_name(name: str) -> None:
    """Raises BadConfig for a name that is no folder's name, or an opinion."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", name):
        raise BadConfig(f"{name!r} can't name a model: take letters, digits, dot, dash and underscore, up to 128")
    if words := set(re.split(r"[^a-z]+", name.lower())) & set(OPINIONS):
        raise BadConfig(
            f"{name!r} says {words.pop()!r}, which tomorrow's model makes a lie: name the facts, put praise in its note"
        )


def check_run_name(name: str) -> None:
    """Raises BadConfig for a name that the names of a run's models can't begin with."""
    check_name(name)
    if len(name) > MAX_RUN_NAME:
        raise BadConfig(
            f"{name!r} has {len(name)} letters: take up to {MAX_RUN_NAME}, for its models' steps and losses come behind"
        )


def snapshot_name(run_name: str, step: int, tokens_seen: int, val_loss: float | None) -> str:
    """
    >>> snapshot_name("demo", 400, 1_234_567, 3.3014)
    'demo_step000400_tok1.2M_val3.301'
    """
    value = "" if val_loss is None else f"_val{val_loss:.3f}"
    return f"{run_name}_step{step:06d}_tok{short_count(tokens_seen)}{value}"


def place(models: Path, name: str, run: int) -> Path:
    """The folder for a run's snapshot: two runs may come to the same facts, and each keeps its own model.

    models/NAME; with the run behind it where another run's model has that name.
    """
    folder = models / name
    try:
        taken = entry(folder).manifest.get("run") != run
    except FileNotFoundError:
        taken = False
    except DamagedModel:
        taken = True
    return models / f"{name}_job{run}" if taken else folder


def short_count(count: int) -> str:
    """1234567 -> '1.2M'"""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def write_model(
    folder: Path,
    weights: dict[str, "Tensor"],
    config: GPTConfig,
    tokenizer_bytes: bytes,
    facts: dict[str, Any],
    note: str = "",
) -> None:
    """Keep a model. facts go into the manifest: kind, parent, run, pack, step, tokens_seen, val_loss and so on.

    A complete folder stays as it is: the same name is the same model.
    """
    from safetensors.torch import save_file

    if files.is_complete(folder):
        return
    with _fresh(folder):
        save_file({name: t.detach().cpu().contiguous() for name, t in weights.items()}, folder / WEIGHTS)
        files.sync_file(folder / WEIGHTS)
        files.write_json(folder / CONFIG, config.to_json())
        files.write_whole(folder / TOKENIZER, tokenizer_bytes)
        files.write_whole(folder / NOTE, note)
        _declare(folder, facts, config.to_json())


@contextmanager
def _fresh(folder: Path) -> Iterator[None]:
    """An empty folder to write a model into. What fails half way (a full disk) leaves nothing there."""
    check_name(folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files.sync_folder(folder.parent)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _declare(folder: Path, facts: dict[str, Any], config: dict[str, Any]) -> None:
    sha256 = {name: files.sha256(folder / name) for name in (WEIGHTS, CONFIG, TOKENIZER)}
    files.write_manifest(
        folder, {"name": folder.name, **facts, "created_at": time.time(), "sha256": sha256, "config": config}
    )


def export(source: Path, folder: Path, note: str) -> None:
    """Keep a model under another name, its parent named. Weights are hard links where the disk can."""
    if files.is_complete(folder):
        return
    verify(source)
    manifest = files.read_manifest(source)
    kept = ("run", "run_name", "pack", "pack_sha256", "step", "tokens_seen", "val_loss", "git_commit", "longest")
    facts = {"kind": "export", "parent": source.name, **{key: manifest.get(key) for key in kept}}
    with _fresh(folder):
        for name in (WEIGHTS, CONFIG, TOKENIZER):
            try:
                (folder / name).hardlink_to(source / name)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(source / name, folder / name)
                files.sync_file(folder / name)
        files.write_whole(folder / NOTE, note)
        _declare(folder, facts, manifest["config"])


def verify(folder: Path) -> None:
    """Hash every file. Raises FileNotFoundError when there is no such model, DamagedModel naming what differs."""
    if not files.is_complete(folder):
        raise FileNotFoundError(f"there is no model {folder.name}: `jobctl models list` names them")
    for name, expected in entry(folder).manifest["sha256"].items():
        if not (folder / name).is_file() or files.sha256(folder / name) != expected:
            raise DamagedModel(f"{folder.name}/{name} is damaged: its bytes are not the ones that were kept")


def read_model(folder: Path) -> tuple[GPTConfig, dict[str, "Tensor"], "Tokenizer"]:
    """(config, weights on the CPU, tokenizer), every file verified first. Raises like verify."""
    from safetensors.torch import load_file

    from gpt.tokenizer import Tokenizer

    verify(folder)
    return read_config(folder), load_file(folder / WEIGHTS), Tokenizer.load(folder)


def read_config(folder: Path) -> GPTConfig:
    return GPTConfig.from_json(json.loads((folder / CONFIG).read_text()))


def load_model(folder: Path, device: str = "cpu", *, untrained: bool = False) -> tuple["GPT", "Tokenizer"]:
    """A model ready to answer. untrained: the same shape with fresh weights, to compare with. Raises like verify."""
    import torch

    from gpt.model import GPT

    config, weights, tokenizer = read_model(folder)
    model = GPT(config)
    if not untrained:
        model.load_state_dict(weights)
    model.dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return model.to(device).eval(), tokenizer


def list_models(home: Path) -> list[Entry]:
    """Every complete model whose manifest can be read, oldest first. Standard library only."""
    return survey(home)[0]


def survey(home: Path) -> tuple[list[Entry], list[str]]:
    """The models, and a sentence for each that is damaged: one bad file hides no other model, and ends no training."""
    entries, damaged = [], []
    for path in sorted((home / "models").glob(f"*/{files.MANIFEST}")):
        try:
            entries.append(entry(path.parent))
        except DamagedModel as error:
            damaged.append(str(error))
        except FileNotFoundError:  # removed since
            continue
    return sorted(entries, key=lambda e: (e.manifest["created_at"], e.name)), damaged


def entry(folder: Path) -> Entry:
    """One complete model. Raises FileNotFoundError when there is none, DamagedModel when its manifest is none."""
    if not files.is_complete(folder):
        raise FileNotFoundError(f"there is no model {folder.name}: `jobctl models list` names them")
    try:
        manifest = files.read_manifest(folder)
    except ValueError as error:
        raise DamagedModel(f"{folder.name}/{files.MANIFEST} is damaged: {error}") from error
    if missing := sorted(IN_MANIFEST - manifest.keys()):
        raise DamagedModel(f"{folder.name}/{files.MANIFEST} is damaged: it lacks {', '.join(missing)}")
    note = folder / NOTE
    text = note.read_text(encoding="utf-8", errors="replace").strip() if note.is_file() else ""
    return Entry(folder.name, folder, manifest, text)


def write_note(folder: Path, note: str) -> None:
    """What a person thinks of a model: the one file of it that may change."""
    files.write_whole(entry(folder).folder / NOTE, note.strip() + "\n")


def git_commit() -> str | None:
    """The commit this code runs from, with + when files differ from it; None outside a checkout."""
    where = Path(__file__).parent
    try:
        git = ["git", "-C", str(where), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(git, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
