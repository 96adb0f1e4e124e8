"""Run any program: its own argv, no shell, in the working directory and environment of `jobctl add`.

It may report progress: one JSON line to the descriptor in $NEVERREST_REPORT_FD, such as
{"report": "progress", "done": 3, "total": 10, "unit": "epochs", "metrics": {"loss": 2.1}}
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from jobs.contract import BadArgs
from jobs.kind import Program

LANE = "gpu"
NOT_VRAM_ARGS = ("env", "preemptible")  # what changes nothing about the memory it takes on the GPU


@dataclass(frozen=True)
class Args:
    argv: tuple[str, ...]
    cwd: str = "/"
    env: dict[str, str] = field(default_factory=dict)
    preemptible: bool = False  # true: a higher priority may stop it; it must be able to go on from where it was

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise BadArgs("command needs a program: jobctl add command -- PROGRAM ARGUMENTS...")


def preemptible(args: Args) -> bool:
    return args.preemptible


def check(args: Args, home: Path) -> None:
    if not os.path.isdir(args.cwd):
        raise BadArgs(f"the working directory {args.cwd!r} is not a folder")
    program = os.path.join(args.cwd, args.argv[0]) if os.sep in args.argv[0] else args.argv[0]
    if shutil.which(program, path=args.env.get("PATH", os.defpath)) is None:
        raise BadArgs(f"there is no program {args.argv[0]!r} that can be run: give its path, or one that is on PATH")


def argv(args: Args) -> Program:
    return Program(args.argv, args.cwd, args.env)
