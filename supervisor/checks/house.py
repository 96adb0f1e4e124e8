"""jobd itself: whether it serves, whether it comes back after a boot, whether it may make cgroups."""

import os
import pwd
import re
import shlex
from pathlib import Path

from supervisor import service
from supervisor.checks.finding import Finding, settings_of
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.screen import view

CGROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")
LINGERS = Path("/var/lib/systemd/linger")  # a file for each account whose services outlive its logins


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


def session(home: Home) -> Finding:
    """Whether jobd goes on when its user logs out."""
    pid = _jobd_pid(home) if view.serving(home) else None
    group = (PROCESSES / str(pid or os.getpid()) / "cgroup").read_text()
    whose = "jobd" if pid else "a jobd started from here"
    found = re.search(r"/user@(\d+)\.service/", group)
    if found is None:
        return Finding("ok", "session", f"{whose} is bound to no login")
    account = pwd.getpwuid(int(found[1])).pw_name
    if (LINGERS / account).exists():
        return Finding("ok", "session", f"{whose} is a service of {account}'s, who lingers")
    todo = f"Say: sudo loginctl enable-linger {account}, or make it the machine's: {service.as_root(home, 'install')}"
    return Finding("warn", "session", f"{whose} is a service of {account}'s, and ends when {account} logs out", todo)


def cgroup(home: Home) -> Finding:
    """Of all handles on a child's tree the one that misses nothing, also when jobd dies."""
    if not settings_of(home).cgroups:
        return Finding("warn", "cgroup", "switched off in settings.toml", "A program that hides may outlive its job")
    pid = _jobd_pid(home) if view.serving(home) else None
    if _owns_its_cgroup(pid or os.getpid()):
        return Finding("ok", "cgroup", "each attempt gets one of its own")
    whose = "jobd may make none" if pid else "a jobd started from here could make none"
    todo = "Its trees are found by mark, lock and subreaper instead; under systemd it may (jobctl service install)"
    return Finding("warn", "cgroup", whose, todo)


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
