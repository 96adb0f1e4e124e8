"""A card for tests where there is none: fake_nvml.c, compiled once a run, under the unmodified pynvml."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fake_nvml.c")
LOST, RESET_REQUIRED, MISMATCH, NO_DRIVER = 15, 16, 18, 9  # nvml.h

# The first line of a job's script that takes $1 MiB of the card for as long as its process lives.
TAKE = """
import os, pathlib, sys
def take(mib):
    beside = pathlib.Path(os.environ["FAKE_NVML"], "new")
    beside.write_text(str(mib))
    beside.rename(pathlib.Path(os.environ["FAKE_NVML"], "vram", str(os.getpid())))
"""


class FakeCard:
    """What the card is like stands in a folder; jobd and its jobs find it through their environment."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        (folder / "vram").mkdir(parents=True)
        self.env = {"FAKE_NVML": str(folder), "LD_LIBRARY_PATH": str(library.parent)}
        self.state: dict[str, int] = {}
        self.set()

    def set(self, **state: int) -> None:
        """Change what the card is like, for whoever asks from now on."""
        self.state |= state
        beside = self.folder / "state.new"
        beside.write_text("".join(f"{key} {value}\n" for key, value in self.state.items()))
        os.replace(beside, self.folder / "state")

    def give(self, pid: int, mib: int) -> None:
        """This process holds so much, while it lives."""
        (self.folder / "vram" / str(pid)).write_text(str(mib))


def library(folder: Path) -> Path:
    """The compiled library. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc) for the fake NVML library")
    made = folder / "libnvidia-ml.so.1"
    if not made.exists():
        subprocess.run([compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(SOURCE)], check=True)
    return made
