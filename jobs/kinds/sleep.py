"""Do nothing for a while, and resume doing it. The smallest kind: copy this one."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.contract import BadArgs, Run

LANE = "gpu"


@dataclass(frozen=True)
class Args:
    seconds: float = 1.0
    tick_s: float = 0.1

    def __post_init__(self) -> None:
        if self.seconds < 0 or self.tick_s <= 0:
            raise BadArgs(f"sleep takes seconds >= 0 and tick_s > 0, not {self.seconds} and {self.tick_s}")


def run(args: Args, job: Run, prepared: object = None) -> None:
    state = job.workdir / "slept.json"
    slept = json.loads(state.read_text()) if state.exists() else 0.0
    while slept < args.seconds:
        job.stop_if_asked()  # where work is left to do: what is finished is finished, asked to leave or not
        time.sleep(min(args.tick_s, args.seconds - slept))
        slept += args.tick_s
        _save(state, slept)
        job.progress(min(slept, args.seconds), args.seconds, "s")


def _save(path: Path, slept: float) -> None:
    beside = path.with_suffix(".tmp")
    with open(beside, "w") as file:
        json.dump(slept, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
