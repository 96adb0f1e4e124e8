"""HOME/settings.toml, read once at the door. Every setting has a default; a wrong one gets a sentence."""

import dataclasses
import math
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from supervisor.errors import Refused

LIVE = (  # by a reload, too
    "grace_s", "min_slice_s", "turn_s", "reclaim_s", "cpu_slots", "standby", "standby_min_free_mib", "reserve_mib",
    "log_mib", "disk_floor_mib", "keep_days", "notify",
)  # fmt: skip
OCCASIONS = ("failed", "held", "gpu", "disk", "queue", "empty", "weekly")


@dataclass(frozen=True)
class Notify:
    """[notify] in settings.toml: on which occasions a person is told, and by which ways. No way set: nobody is."""

    command: tuple[str, ...] = ()  # a program and its words; it gets JSON on its stdin
    webhook: str = ""  # JSON is posted there
    mail: str = ""  # to whom sendmail sends
    on: tuple[str, ...] = OCCASIONS
    empty_after_min: float = 30.0  # the GPU had nothing to do for so long

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that are set."""
        return tuple(way for way in ("command", "webhook", "mail") if getattr(self, way))


@dataclass(frozen=True)
class Settings:
    """What a home may set. The file may hold any of these names, nothing else."""

    grace_s: float = 60.0  # a child's time to save after SIGTERM; then SIGKILL
    min_slice_s: float = 60.0  # a job runs at least so long before a higher priority takes the GPU from it
    turn_s: float = 3600.0  # an evergreen that can go on later makes way for another one's turn after so long
    reclaim_s: float = 30.0  # after SIGKILL: how long the kernel may take; then the lane is closed with an alarm
    cpu_slots: int = max(1, (os.cpu_count() or 2) // 2)  # jobs side by side on the cpu lane
    standby: bool = True  # start the next job's interpreter while this one runs
    standby_min_free_mib: int = 2048  # host memory that must be free for a standby
    cgroups: bool = True  # one cgroup per attempt, where the kernel lets us
    device: str = "auto"  # what `go` names on the gpu lane: auto, cpu, cuda:0 ...
    reserve_mib: int = 1024  # GPU memory left free beside a job whose need is known, for the desktop
    nvml_deadline_s: float = 10.0  # without an answer for so long, the driver counts as hung
    log_mib: int = 64  # of each job's log, the newest part that is kept
    keep_days: float = 0.0  # jobs that are over are forgotten after so many days, with their folders; 0: never
    disk_floor_mib: int = 2048  # with less room on the home's disk jobs save and leave, and none starts
    notify: Notify = Notify()


def read(home: Path) -> Settings:
    """The settings of a home. Raises Refused naming the setting, what it is and what it may be."""
    path = home / "settings.toml"
    try:
        given = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise Refused(f"{path} can't be read ({error.strerror}): see what it is, and whose") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is not TOML: {error}") from error
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    table = given.pop("notify", {})
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
    if given.get("log_mib") == 0:
        raise Refused(f"{path}: log_mib = 0 would keep nothing of what jobs print; take 1 or more")
    return Settings(**given, notify=_notify(path, table))


def read_again(home: Path, now: Settings) -> tuple[Settings, str]:
    """For a jobd that runs: what counts from now on, and a sentence that says what came of it. Never raises Refused."""
    try:
        new = read(home)
    except Refused as refusal:
        return now, f"the settings stay as they were: {refusal}"
    names = [field.name for field in dataclasses.fields(Settings)]
    changed = {name for name in names if getattr(new, name) != getattr(now, name)}
    at_once = {name: getattr(new, name) for name in LIVE if name in changed}
    words = [name if name == "notify" else f"{name} = {value!r}" for name, value in at_once.items()]  # it holds secrets
    words += [f"{name} counts from jobd's next start" for name in sorted(changed - set(LIVE))]
    return dataclasses.replace(now, **at_once), f"settings read again: {', '.join(words) or 'nothing changed'}"


def _notify(path: Path, table: Any) -> Notify:
    """The table [notify]. Raises Refused like the rest."""
    takes = {
        "command": "a list of words, the program first", "webhook": "an http or https address",
        "mail": "an address without spaces", "on": f"a list of {', '.join(OCCASIONS)}",
        "empty_after_min": "a number above 0 that has an end",
    }  # fmt: skip
    if not isinstance(table, dict):
        raise Refused(f"{path}: notify = {table!r}, but it takes a table: [notify], then {', '.join(takes)}")
    for name, value in table.items():
        if name not in takes:
            raise Refused(f"{path}: [notify] has no setting {name!r}; there are {', '.join(takes)}")
        if not _fits(name, value):
            raise Refused(f"{path}: [notify] {name} = {value!r}, but it takes {takes[name]}")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    return Notify(**given)


def _fits(name: str, value: Any) -> bool:
    if name == "empty_after_min":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    if name in ("command", "on"):
        words = isinstance(value, list) and all(isinstance(word, str) and "\0" not in word for word in value)
        return words and (bool(value) and bool(value[0]) if name == "command" else set(value) <= set(OCCASIONS))
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    return not value.startswith("-") and bool(value) if name == "mail" else _is_web(value)


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
