"""Files that are whole or absent, whatever dies when. Standard library only; every room may use it.

A file is written beside its place, flushed to the disk, then renamed. A folder is complete when its manifest.json
exists: it is written last.
"""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def write_whole(path: Path, content: bytes | str) -> None:
    """Put content at path: after a power cut at any moment it holds the old or the new content, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is only in memory until its folder is flushed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush a file somebody else wrote (a library's save) to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_hold(folder: Path) -> int | None:
    """A descriptor that holds a folder until it is closed, or None while another process or thread holds it.

    A lock of the kernel's on the folder itself: it leaves no file, and the dead hold nothing.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def write_json(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Declare a folder complete. Everything in it must be on the disk by now."""
    write_json(folder / MANIFEST, manifest)


def is_complete(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """A complete folder's manifest. Raises FileNotFoundError when there is none, ValueError when it is damaged."""
    manifest = json.loads((folder / MANIFEST).read_text())
    if not isinstance(manifest, dict):
        raise ValueError(f"{folder / MANIFEST} does not hold a JSON object")
    return manifest


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
