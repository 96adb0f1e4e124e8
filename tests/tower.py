"""A tower for tests: a home in a folder of its own, a real jobd in it, spoken to as a user would."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

import jobs.kinds
from supervisor import db as database
from supervisor import jobctl, meta, queue, recovery
from supervisor.children import cgroup
from supervisor.home import Home
from supervisor.job import Job

CHECKOUT = Path(__file__).parents[1]
DEADLINE_S = 60.0  # for facts that come within a second on an idle machine
LOOK_EVERY_S = 0.01
Fact = TypeVar("Fact")


def until(fact: Callable[[], Fact], what: str = "", deadline_s: float = DEADLINE_S) -> Fact:
    """Wait for a fact: the first true value. Fails with `what` when the deadline passes."""
    give_up = time.monotonic() + deadline_s
    while not (found := fact()):
        if time.monotonic() > give_up:
            pytest.fail(f"not within {deadline_s:.0f} s: {what or fact}")
        time.sleep(LOOK_EVERY_S)
    return found


class Tower:
    """A home, and the jobd that serves it while `start` has been called."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path, self.home = path, Home(path)
        self.jobd: subprocess.Popen[bytes] | None = None
        database.create(self.home.queue_db)
        self.db = self.home.connect()
        self.home_id = meta.read(self.db, "home_id") or ""
        self.set()

    def set(self, **settings: Any) -> None:
        """Write settings.toml: short times, unless told otherwise."""
        short = {"grace_s": 5.0, "min_slice_s": 0.0, "reclaim_s": 10.0, "standby": False, "device": "cpu"}
        told = short | {"disk_floor_mib": 0} | settings  # what this machine has free is no test's business
        (self.path / "settings.toml").write_text("".join(f"{key} = {json.dumps(told[key])}\n" for key in told))

    # ── jobd ──────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *options: str, env: Mapping[str, str] = os.environ) -> "subprocess.Popen[bytes]":
        """Start jobd."""
        with open(self.path / "jobd.out", "ab") as out:
            self.jobd = subprocess.Popen(
                [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(self.path), *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=dict(env), start_new_session=True,
            )  # fmt: skip
        return self.jobd

    @property
    def said(self) -> str:
        """All that jobd has said."""
        return (self.path / "jobd.out").read_text()

    def kill_jobd(self) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        assert self.jobd is not None
        self.jobd.kill()
        self.jobd.wait()

    def stop_jobd(self) -> int:
        """SIGTERM, and wait: its children save first. Its exit code."""
        assert self.jobd is not None
        self.jobd.terminate()
        return self.jobd.wait(DEADLINE_S)

    def serve(self, *options: str) -> None:
        """jobd --until-empty, to its end."""
        assert self.start("--until-empty", *options).wait(DEADLINE_S) == 0, self.said

    def sweep(self) -> None:
        """Nothing of this tower outlives its test."""
        if self.jobd is not None and self.jobd.poll() is None:
            self.kill_jobd()
        groups = cgroup.Cgroups()
        while left := recovery.strays(self.home, self.home_id, groups):
            for process in left:
                process.kill(signal.SIGKILL)
            time.sleep(LOOK_EVERY_S)
        for group in groups.left(f"neverrest-{self.home_id}-"):
            cgroup.remove(group)
        self.db.close()

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────

    def ctl(self, *words: object, code: int | None = 0) -> str:
        """jobctl in this process, as main() sees it; what it printed (what it refused with, when code is not 0).

        code: its exit code; None: whatever it is.
        """
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = jobctl.main(["-C", str(self.path), *map(str, words)])
        assert code in (found, None), f"jobctl {words}: {found}, not {code}: {out.getvalue()}{err.getvalue()}"
        return err.getvalue() if code else out.getvalue()

    def add(self, kind: str, *options: object, argv: tuple[object, ...] = (), **settings: object) -> int:
        """jobctl add. settings: --set key=value. argv: what stands after --. The id."""
        pairs = [f"{key}={value}" for key, value in settings.items()]
        return int(
            self.ctl("add", kind, *options, *(["--set", *pairs] if pairs else []), *(["--", *argv] if argv else []))
        )

    def sh(self, script: str, *options: object) -> int:
        """A `command` job that runs a shell script. The id."""
        return self.add("command", *options, argv=("/bin/sh", "-c", script))

    def python(self, script: str, *options: object) -> int:
        """A `command` job that runs a Python script. The id."""
        return self.add("command", *options, argv=(sys.executable, "-c", script))

    def job(self, job_id: int) -> Job:
        return queue.get(self.db, job_id)

    def shown(self, job_id: int) -> dict[str, Any]:
        """What `jobctl show --json` says."""
        found: dict[str, Any] = json.loads(self.ctl("show", job_id, "--json"))
        return found

    def until(self, job_id: int, state: str, deadline_s: float = DEADLINE_S) -> Job:
        """Wait until a job is in a state."""
        until(lambda: self.job(job_id).state == state, f"job {job_id} {state}: {self.job(job_id)}", deadline_s)
        return self.job(job_id)

    def events(self, job_id: int) -> list[str]:
        rows = self.db.execute("select what from event where job_id = ? order by id", (job_id,))
        return [row["what"] for row in rows]

    def log(self, job_id: int) -> str:
        return self.home.log(job_id).read_text()

    def order(self) -> list[int]:
        """The ids of the jobs in the order in which they were claimed."""
        return [row["job_id"] for row in self.db.execute("select job_id from event where what = 'claimed' order by id")]


def bring_kind(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, source: str) -> None:
    """A kind of a test's own, known to this process and to every child of its jobd."""
    kinds = folder / "kinds"
    kinds.mkdir()
    (kinds / f"{name}.py").write_text(source)
    (folder / "sitecustomize.py").write_text(f"import jobs.kinds\njobs.kinds.__path__.append({str(kinds)!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(jobs.kinds, "__path__", [*jobs.kinds.__path__, str(kinds)])
