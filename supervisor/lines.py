"""Very many jobs from a file, a JSON object a line, each checked like one that is added alone; all or nothing.

{"kind": "command", "args": {"argv": ["./one.sh", "17"]}, "name": "seventeen", "priority": 2, "tags": ["night"]}
"""

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jobs.kind
from jobs.contract import BadArgs
from supervisor import bulk, tags
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.job import LANES, MAX_FAILURES, NewJob

FIELDS: dict[str, type | tuple[type, ...]] = {
    "kind": str, "args": dict, "name": str, "priority": int, "lane": str, "after": list, "not_before": (int, float),
    "max_failures": int, "key": str, "tags": list, "needs_vram_mib": int, "stall_s": (int, float),
}  # fmt: skip
MOST_CHECKED = 10_000  # args that are remembered as good: most lines of a large file say the same ones


class Line(NamedTuple):
    """A job of the file, and its tags."""

    job: NewJob
    tags: Sequence[str]


@dataclass(frozen=True)
class _Checked:
    """Args that are good, and what their kind says of them."""

    args: dict[str, Any]
    lane: str
    preemptible: bool


def read(lines: Iterable[str], called: str, home: Path, origin: Mapping[str, Any], *, now: float) -> Iterator[Line]:
    """The jobs of a file. called: its name, for the sentence. Raises Refused naming the first line that is wrong."""
    reader = _Reader(home, origin, now)
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            yield reader.line(text)
        except (BadArgs, Refused, OverflowError) as error:
            raise Refused(f"{called}, line {number}: {error}. Nothing of it was queued") from error


def add(db: sqlite3.Connection, found: Iterable[Line], *, now: float) -> Sequence[int]:
    """Queue them, all or none, once the last one is read. Their ids; with a key that is taken, whose it is."""
    tagged: dict[str, list[int]] = {}  # which lines have a tag
    laid = bulk.LaidOut(db, _jobs(found, tagged), now=now)
    with transaction(db):
        ids = laid.queue()
        for name in sorted(tagged):
            tags.change(db, [ids[number] for number in tagged[name]], [name])
    return ids


def _jobs(found: Iterable[Line], tagged: dict[str, list[int]]) -> Iterator[NewJob]:
    for number, line in enumerate(found):
        for name in line.tags:
            tagged.setdefault(name, []).append(number)
        yield line.job


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


DECODER = json.JSONDecoder(parse_constant=_no_number)


class _Reader:
    """What the lines of one file have in common."""

    def __init__(self, home: Path, origin: Mapping[str, Any], now: float) -> None:
        self.home, self.origin, self.now = home, origin, now
        self.cwd, self.env = Path.cwd(), dict(os.environ)
        self.checked: dict[str, _Checked] = {}

    def line(self, text: str) -> Line:
        """One line. Raises Refused or BadArgs."""
        try:
            told = DECODER.decode(text)
            if "\\u" in text:
                json.dumps(told, ensure_ascii=False).encode()  # half of a pair can't be kept
        except (ValueError, RecursionError) as error:
            raise Refused(f"it takes a JSON object a line, not {text.strip()[:60]!r} ({error})") from error
        if not isinstance(told, dict):
            raise Refused(f"it takes a JSON object a line, not {type(told).__name__}")
        self._look_at(told)
        good = self._check(told["kind"], told.get("args", {}))
        get = told.get
        job = NewJob(
            kind=told["kind"], args=good.args, lane=get("lane") or good.lane, name=get("name"),
            priority=get("priority", 0), preemptible=good.preemptible, after=get("after", ()),
            available_at=get("not_before", 0.0), max_failures=get("max_failures", MAX_FAILURES),
            key=get("key"), needs_vram_mib=get("needs_vram_mib"), stall_s=get("stall_s"), origin=self.origin,
        )  # fmt: skip
        return Line(job, get("tags", ()))

    def _look_at(self, told: dict[str, Any]) -> None:
        """That it has the fields of a line, of the types they have."""
        if "kind" not in told:
            raise Refused("it needs a kind")
        for name, value in told.items():
            if name not in FIELDS:
                raise Refused(f"there is no field {name!r}: it takes {', '.join(FIELDS)}")
            if not isinstance(value, FIELDS[name]) or isinstance(value, bool) or value == math.inf:
                raise Refused(f"{name} can't be {json.dumps(value)}")
        if told.get("lane", "gpu") not in LANES:
            raise Refused(f"there is no lane {told['lane']!r}: take {' or '.join(LANES)}")
        if told.get("max_failures", 1) < 1 or told.get("needs_vram_mib", 0) < 0 or not told.get("stall_s", 1) > 0:
            raise Refused("max_failures is at least 1, needs_vram_mib at least 0, stall_s more than 0")
        if wrong := [one for one in told.get("after", ()) if type(one) is not int]:
            raise Refused(f"after takes ids, not {wrong[0]!r}")
        tags.check(told.get("tags", ()))

    def _check(self, kind: str, given: dict[str, Any]) -> _Checked:
        """Its args, checked as `add` does; the same ones only once."""
        said = f"{kind} {given!r}"
        if said not in self.checked:
            if len(self.checked) >= MOST_CHECKED:
                self.checked.clear()
            if kind == "command":
                given = {"cwd": str(self.cwd), "env": self.env} | given
            args = jobs.kind.parse(kind, given, cwd=self.cwd)
            jobs.kind.check(kind, args, self.home)
            plain = jobs.kind.as_given(args)
            if plain.get("env") == self.env:
                plain["env"] = self.env  # the same object: it is kept once
            self.checked[said] = _Checked(plain, jobs.kind.lane(kind), jobs.kind.is_preemptible(kind, args))
        return self.checked[said]
