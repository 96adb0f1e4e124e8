"""HOME/settings.toml, read once at the door. Every setting has a default; a wrong one gets a sentence."""

import dataclasses
import math
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import Refused


@dataclass(frozen=True)
class Settings:
    """What a home may set. The file may hold any of these names, nothing else."""

    grace_s: float = 60.0  # a child's time to save after SIGTERM; then SIGKILL
    min_slice_s: float = 60.0  # a job runs at least so long before a higher priority takes the GPU from it
    reclaim_s: float = 30.0  # after SIGKILL: how long the kernel may take; then the lane is closed with an alarm
    cpu_slots: int = max(1, (os.cpu_count() or 2) // 2)  # jobs side by side on the cpu lane
    standby: bool = True  # start the next job's interpreter while this one runs
    standby_min_free_mib: int = 2048  # host memory that must be free for a standby
    cgroups: bool = True  # one cgroup per attempt, where the kernel lets us
    device: str = "auto"  # what `go` names on the gpu lane: auto, cpu, cuda:0 ...


def read(home: Path) -> Settings:
    """The settings of a home. Raises Refused naming the setting, what it is and what it may be."""
    path = home / "settings.toml"
    if not path.exists():
        return Settings()
    try:
        given = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is not TOML: {error}") from error
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for name, value in given.items():
        if name not in fields:
            raise Refused(f"{path}: there is no setting {name!r}; there are {', '.join(sorted(fields))}")
        default = fields[name].default
        kinds = (int, float) if isinstance(default, float) else (type(default),)
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, kinds):
            raise Refused(f"{path}: {name} = {value!r}, but it takes something like {default!r}")
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise Refused(f"{path}: {name} = {value!r}, but it takes a number that is not below 0 and has an end")
    if given.get("cpu_slots") == 0:
        raise Refused(f"{path}: cpu_slots = 0 would never run anything on the cpu lane; take 1 or more")
    return Settings(**given)
