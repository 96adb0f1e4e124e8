"""The disk under queue.db, in the hands of a test: disk.c between an unmodified jobd (or jobctl) and its calls.

Order: at the Nth call of one process on queue.db stand still, or fail. Trace: what was written, what was synced, and
what the disk may hold when the power goes at any moment of it.
"""

import functools
import mmap
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("disk.c")
STAND_BEFORE, STAND_AFTER = -1, -2  # or an errno, that the call then fails with
SECTOR = 512  # what a disk writes whole or not at all


@functools.cache
def library() -> Path:
    """disk.c, compiled once a session. Skips where there is no compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) here: Debian: apt-get install build-essential")
    made = Path(tempfile.mkdtemp(prefix="neverrest-disk-")) / "disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, SOURCE, "-ldl"], check=True)
    return made


class Order:
    """What shall happen at which call. One process at a time listens to it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(16))
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)
        self.env = {"LD_PRELOAD": str(library()), "DISK_ORDER": str(path)}

    def give(self, at: int, what: int, times: int = 1) -> None:
        """From now on count; at the at-th call (and the times - 1 after it) do this."""
        struct.pack_into("4i", self._memory, 0, 0, times, what, 0)
        struct.pack_into("i", self._memory, 0, at)

    def count(self) -> None:
        """From now on only count."""
        self.give(1 << 30, STAND_BEFORE)

    def take_back(self) -> int:
        """Nothing happens any more. How many calls there were since it was given."""
        struct.pack_into("i", self._memory, 0, 0)
        return self.seen

    @property
    def seen(self) -> int:
        return int(struct.unpack_from("4i", self._memory)[3])


# ── what was written, what was synced ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Call:
    """One line of a trace: w(rite), t(runcate), S(ync begins), s(ync is done), u(nlink), p(rint)."""

    what: str
    pid: int
    name: str
    at: int
    data: bytes


class Trace:
    """The calls of every process that was started with env, in order."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self.path, self.env = path, {"LD_PRELOAD": str(library()), "DISK_TRACE": str(path)}

    def calls(self) -> Iterator[Call]:
        with open(self.path, "rb") as file:
            while line := file.readline():
                what, pid, name, at, length = line.decode().split()
                yield Call(what, int(pid), name, int(at), file.read(int(length)))


class Disk:
    """What is safe, and what is only on its way. files: what lies there, synced, when the trace begins."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.safe = {name: bytearray(content) for name, content in files.items()}
        self.named = set(files)  # a file whose folder was not synced may be gone with its name
        self.on_the_way: dict[str, list[Call]] = {}
        self._syncs: dict[tuple[int, str], int] = {}

    def take(self, call: Call) -> None:
        """One more call was made."""
        waiting = self.on_the_way.setdefault(call.name, [])
        match call.what:
            case "w" | "t":
                waiting.append(call)
            case "S":
                self._syncs[call.pid, call.name] = len(waiting)
            case "s" if call.name == "(folder)":
                self.named |= set(self.safe) | set(self.on_the_way)
            case "s":
                count = min(self._syncs.pop((call.pid, call.name)), len(waiting))
                for one in waiting[:count]:
                    _apply(self.safe.setdefault(call.name, bytearray()), one)
                del waiting[:count]
            case "u":
                waiting.clear()
                self.safe.pop(call.name, None)
                self.named.discard(call.name)

    def lose_power(self, into: Path, dice: random.Random) -> None:
        """Write what the disk may hold: all that is safe, and any sectors of what was on its way."""
        into.mkdir()
        keep = dice.choice((0.0, 0.5, 1.0))
        for name in self.named:
            content = bytearray(self.safe.get(name, b""))
            for call in self.on_the_way.get(name, ()):
                for piece in _sectors(call):
                    if dice.random() < keep:
                        _apply(content, piece)
            (into / name).write_bytes(content)


def _sectors(call: Call) -> Iterator[Call]:
    """A write, in the pieces a disk keeps or loses."""
    if call.what == "t":
        yield call
    begin = 0
    while begin < len(call.data):
        end = min(len(call.data), begin + SECTOR - (call.at + begin) % SECTOR)
        yield Call("w", call.pid, call.name, call.at + begin, call.data[begin:end])
        begin = end


def _apply(content: bytearray, call: Call) -> None:
    if call.what == "t":
        del content[call.at :]
        content.extend(bytes(call.at - len(content)))
        return
    content.extend(bytes(max(0, call.at - len(content))))
    content[call.at : call.at + len(call.data)] = call.data


def with_disk(*parts: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process between whom and its disk we stand."""
    env = dict(os.environ)
    for part in parts:
        env |= part
    return env
