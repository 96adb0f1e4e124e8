"""`jobctl doctor`: look for what would hinder jobs, and say what to do. It changes nothing.

A check is a function from the home to a Finding; CHECKS names them in the order they are told. They know nothing of
each other and run side by side, so the slowest one (torch's import) is what the whole takes.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from supervisor import gpu, service, settings, view
from supervisor.errors import Refused
from supervisor.home import Home

DISK_BAD_BYTES = 1 << 30  # a save of a small model no longer fits
DISK_WARN_BYTES = 10 << 30  # a few checkpoints of 180 M parameters, three float32 numbers each
SQLITE_OLDEST = (3, 37, 0)  # strict tables
KERNEL_OLDEST = (5, 14)  # cgroup.kill
TORCH_DEADLINE_S = 20.0  # its import takes 2 s, from a cold disk far more
CLOCK_SLACK_S = 2.0
NOT_LOCAL = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs")
FLEETING = ("ramfs", "tmpfs")
DRIVER = Path("/proc/driver/nvidia/version")
CGROUPS = Path("/sys/fs/cgroup")

GPU_CURES = {
    "mismatch": "An upgrade replaced the driver's library under the loaded module: reboot",
    "lost": "It fell off the bus, or its driver gave up: look at `journalctl -k -g Xid`, then reboot; if it comes "
    "back, look at its power cables and at the slot",
    "hung": "The driver does not answer: save what you can, and reboot",
}

ASK_DEVICE = "select value from meta where key = 'device'"
ASK_TORCH = """
import json, warnings
import torch
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    sees = torch.cuda.is_available()  # counts devices: no context, so no VRAM is taken from a job that runs
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "sees": sees,
                  "why": " ".join(str(one.message) for one in said)}))
"""


@dataclass(frozen=True)
class Finding:
    """mark: ok; warn: jobs run, but not as well or as safely as they could; bad: jobs can't run, or will be lost."""

    mark: str
    what: str
    finding: str
    todo: str = ""

    def line(self) -> str:
        return view.safe(f"{self.mark:4}  {self.what}: {self.finding}." + (f" {self.todo}." if self.todo else ""))


def examine(home: Home, *, as_json: bool) -> int:
    """Print what all checks found. 1 when something is bad, else 0."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = list(pool.map(lambda check: check(home), CHECKS))
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        print("\n".join(finding.line() for finding in found))
    return int(any(finding.mark == "bad" for finding in found))


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────


def python(home: Home) -> Finding:
    found = f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        oldest = ".".join(map(str, SQLITE_OLDEST))
        return Finding("bad", "python", found, f"The queue needs SQLite {oldest} or newer: take a newer Python")
    return Finding("ok", "python", found)


def kernel(home: Home) -> Finding:
    """What the sweep of a child's tree stands on."""
    release = os.uname().release
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        return Finding("bad", "kernel", f"{release} gives no pidfd ({error.strerror})", "Take Linux 5.14 or newer")
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version < KERNEL_OLDEST:
        return Finding("warn", "kernel", f"{release} has no cgroup.kill", "Trees are killed one by one; 5.14 has it")
    return Finding("ok", "kernel", f"{release}, with pidfd and cgroup.kill")


def memory(home: Home) -> Finding:
    facts = meminfo()
    total, free = facts["MemTotal"], facts["MemAvailable"]
    found = f"{free / 1024:.1f} of {total / 1024:.1f} GiB free"
    needed = _settings(home).standby_min_free_mib
    if free < needed:
        return Finding("warn", "memory", found, f"Below {needed} MiB no job stands by, so hand-overs are slower")
    return Finding("ok", "memory", found)


def clock(home: Home) -> Finding:
    """Records go by the wall clock: one that was set back makes schedules wait and times overlap."""
    now = time.time()
    newest = max(Path(__file__).stat().st_mtime, _asked(home, "select max(at) from event") or 0.0)
    if now < newest - CLOCK_SLACK_S:
        behind = view.duration(newest - now)
        return Finding("bad", "clock", f"{view.moment(now)}, {behind} before something already done", "Set the clock")
    return Finding("ok", "clock", view.moment(now))


# ── the home ──────────────────────────────────────────────────────────────────────────────────────────────────────


def folder(home: Home) -> Finding:
    """The home itself: ours to write, on a disk of this machine."""
    kind = file_system(home.path)
    found = f"{home.path} on {kind}"
    if not os.access(home.path, os.R_OK | os.W_OK | os.X_OK):
        who, owner = pwd.getpwuid(os.geteuid()).pw_name, home.path.stat().st_uid
        todo = f"Be the account with uid {owner}, or chown it"
        return Finding("bad", "home", f"{found}, where {who} may not write", todo)
    if kind in NOT_LOCAL:
        todo = "SQLite's log and our locks need a disk of this machine: move the home"
        return Finding("bad", "home", f"{found}, which is another machine's", todo)
    if kind in FLEETING:
        return Finding("warn", "home", f"{found}, which a reboot empties", "Move the home to a disk")
    return Finding("ok", "home", found)


def disk(home: Home) -> Finding:
    free = shutil.disk_usage(home.path).free
    found = f"{free / (1 << 30):.1f} GiB free for the home"
    if free < DISK_BAD_BYTES:
        return Finding("bad", "disk", found, "Checkpoints won't fit: make room, old models first")
    if free < DISK_WARN_BYTES:
        return Finding("warn", "disk", found, "A few checkpoints fill that: make room")
    return Finding("ok", "disk", found)


def queue_db(home: Home) -> Finding:
    try:
        with contextlib.closing(home.connect()) as db:
            problems = [row[0] for row in db.execute("pragma quick_check(3)")]
            jobs = db.execute("select count(*) from job").fetchone()[0]
    except Refused as refusal:
        return Finding("bad", "queue.db", str(refusal))
    except sqlite3.DatabaseError as error:
        problems, jobs = [str(error)], 0
    if problems != ["ok"]:
        todo = "Stop jobd, copy it aside, then look at it with `sqlite3 FILE .recover`"
        return Finding("bad", "queue.db", f"damaged: {'; '.join(problems)}", todo)
    return Finding("ok", "queue.db", f"whole, {jobs} jobs")


def settings_toml(home: Home) -> Finding:
    try:
        options = settings.read(home.path)
    except Refused as refusal:
        return Finding("bad", "settings.toml", str(refusal), "jobd won't start before that is mended")
    default = settings.Settings()
    told = [f"{name} = {value!r}" for name, value in asdict(options).items() if value != getattr(default, name)]
    return Finding("ok", "settings.toml", ", ".join(told) or "all defaults")


# ── the supervisor ────────────────────────────────────────────────────────────────────────────────────────────────


def jobd(home: Home) -> Finding:
    if not view.serving(home):
        start = "sudo systemctl start neverrest" if _is_installed(home) else f"jobd -C {shlex.quote(str(home.path))}"
        return Finding("warn", "jobd", "does not run", f"Jobs wait until you start it: {start}")
    return Finding("ok", "jobd", f"serves, pid {_jobd_pid(home)}")


def systemd(home: Home) -> Finding:
    if not service.BOOTED.is_dir():
        return Finding("warn", "systemd", "does not run here", "After a reboot somebody else must start jobd")
    again = service.as_root(home, "install")
    served = service.served_home()
    if served is None:
        return Finding("warn", "systemd", f"{service.NAME} is not installed", f"To start jobd at boot: {again}")
    if served != home.path.resolve():
        return Finding("warn", "systemd", f"{service.NAME} serves {served}", "This home needs a jobd started by hand")
    if not service.WANTED.is_symlink():
        return Finding("warn", "systemd", f"{service.NAME} does not start at boot", f"Say: {again}")
    try:
        account = service.find_account(home, service.served_as())
        if service.UNIT.read_text() != service.fill(home, account):
            found = f"{service.NAME} is not what this version and settings.toml would write"
            return Finding("warn", "systemd", found, f"Say: {again}")
    except Refused as refusal:
        return Finding("bad", "systemd", str(refusal))
    return Finding("ok", "systemd", f"{service.NAME} starts jobd at boot")


def cgroup(home: Home) -> Finding:
    """Of all handles on a child's tree the one that misses nothing, also when jobd dies."""
    if not _settings(home).cgroups:
        return Finding("warn", "cgroup", "switched off in settings.toml", "A program that hides may outlive its job")
    pid = _jobd_pid(home) if view.serving(home) else None
    if _owns_its_cgroup(pid or os.getpid()):
        return Finding("ok", "cgroup", "each attempt gets one of its own")
    whose = "jobd may make none" if pid else "a jobd started from here could make none"
    todo = "Its trees are found by mark, lock and subreaper instead; under systemd it may (jobctl service install)"
    return Finding("warn", "cgroup", whose, todo)


# ── the GPU ───────────────────────────────────────────────────────────────────────────────────────────────────────


def graphics(home: Home) -> Finding:
    found = gpu.probe()
    if found.state == "no-nvml":
        if cards := gpu.cards():
            todo = "Install the driver (docs/tower.md); until then jobs run on the CPU"
            return Finding("bad", "gpu", f"an NVIDIA card at {cards[0]}, but no driver ({found.why})", todo)
        return Finding("warn", "gpu", "no NVIDIA card", "Jobs run on the CPU")
    if found.state != "healthy":
        return Finding("bad", "gpu", f"{found.state}: {found.why}", GPU_CURES[found.state])
    words = f"{found.name}, {found.free_mib} of {found.memory_mib} MiB free"
    if view.serving(home) and _settings(home).device == "auto" and _asked(home, ASK_DEVICE) == "cpu":
        todo = "Start jobd anew (sudo systemctl restart neverrest): it saw no healthy card when it started"
        return Finding("bad", "gpu", f"{words}, but jobs run on the CPU", todo)
    return Finding("ok", "gpu", words)


def torch(home: Home) -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("warn", "torch", "not installed", "Training needs it: pip install 'neverrest[gpt]', or make gpu")
    if not DRIVER.exists():
        return Finding("ok", "torch", f"{importlib.metadata.version('torch')}; no NVIDIA driver, so it uses the CPU")
    answer = ask_torch()
    if isinstance(answer, str):
        return Finding("bad", "torch", answer, "Install it anew: make gpu")
    if answer["sees"]:
        return Finding("ok", "torch", f"{answer['version']} sees the GPU (CUDA {answer['cuda']})")
    if answer["cuda"] is None:
        return Finding(
            "bad", "torch", f"{answer['version']} was built without CUDA", "Take the build with it: make gpu"
        )
    todo = "If /dev/nvidia-uvm is missing: sudo nvidia-modprobe -c 0 -u. Else the driver is older than that CUDA"
    return Finding("bad", "torch", f"{answer['version']} (CUDA {answer['cuda']}) sees no GPU. {answer['why']}", todo)


def ask_torch(deadline_s: float = TORCH_DEADLINE_S) -> dict[str, str | None] | str:
    """What torch says of CUDA, in a process of its own; or, in words, why it says nothing."""
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", ASK_TORCH], capture_output=True, text=True, timeout=deadline_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not come up within {deadline_s:.0f} s"
    try:
        told: dict[str, str | None] = json.loads(answer.stdout)
        return told
    except ValueError:
        return f"it can't be imported: {(answer.stderr.strip() or 'no word').splitlines()[-1]}"


CHECKS: tuple[Callable[[Home], Finding], ...] = (
    python, kernel, memory, clock, folder, disk, queue_db, settings_toml, jobd, systemd, cgroup, graphics, torch,
)  # fmt: skip


# ── small things ──────────────────────────────────────────────────────────────────────────────────────────────────


def meminfo() -> dict[str, int]:
    """/proc/meminfo, in MiB."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) >> 10 for name, _, rest in (line.partition(":") for line in file)}


def file_system(path: Path) -> str:
    """The kind of file system a path lies on, by the mount that is nearest above it (the newest of equals)."""
    path, best = path.resolve(), ("", "unknown")
    with open("/proc/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])  # a space is \040
            if path.is_relative_to(mount) and len(mount) >= len(best[0]):
                best = (mount, after.split()[0])
    return best[1]


def _settings(home: Home) -> settings.Settings:
    try:
        return settings.read(home.path)
    except Refused:
        return settings.Settings()  # settings_toml tells


def _asked(home: Home, question: str) -> Any:
    """The queue's answer; None when it has none, or can't be read (queue_db tells)."""
    try:
        with contextlib.closing(home.connect()) as db:
            row = db.execute(question).fetchone()
    except (Refused, sqlite3.DatabaseError):
        return None
    return row[0] if row else None


def _jobd_pid(home: Home) -> int | None:
    """The pid jobd wrote into its lock; None while it is about to."""
    text = (home.path / "jobd.lock").read_text().strip()
    return int(text) if text.isdigit() else None


def _is_installed(home: Home) -> bool:
    return service.served_home() == home.path.resolve()


def _owns_its_cgroup(pid: int) -> bool:
    """Whether a process's cgroup was given to its account: then it may make others in it."""
    try:
        [path] = [line[3:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
        group = (CGROUPS / "unified" if (CGROUPS / "unified").is_dir() else CGROUPS) / path.lstrip("/")
        is_read_only = bool(os.statvfs(group).f_flag & os.ST_RDONLY)
        return group.stat().st_uid == os.stat(f"/proc/{pid}").st_uid and not is_read_only
    except (OSError, ValueError):
        return False
