"""The home: its folder, its disk, queue.db, settings.toml."""

import contextlib
import os
import pwd
import re
import shutil
import sqlite3
from dataclasses import fields
from pathlib import Path

from supervisor import settings
from supervisor.checks.finding import Finding, settings_of
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.house import logs

DISK_BAD_BYTES = 1 << 30  # a save of a small model no longer fits
DISK_WARN_BYTES = 10 << 30  # a few checkpoints of 180 M parameters, three float32 numbers each
NOT_LOCAL = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs")
FLEETING = ("ramfs", "tmpfs")


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
    free, floor = shutil.disk_usage(home.path).free, settings_of(home).disk_floor_mib
    found = f"{free / (1 << 30):.1f} GiB free for the home"
    if free < floor << 20:
        return Finding("bad", "disk", found, f"Below disk_floor_mib = {floor} nothing starts: make room")
    if free < DISK_BAD_BYTES:
        return Finding("bad", "disk", found, "Checkpoints won't fit: make room, old models first")
    if free < DISK_WARN_BYTES:
        return Finding("warn", "disk", found, "A few checkpoints fill that: make room")
    return Finding("ok", "disk", found)


def log_files(home: Home) -> Finding:
    """Whether the oldest part of a long log can be given back."""
    kept = settings_of(home).log_mib
    if not logs.can_be_capped(home.path):
        todo = "A job that talks for weeks may fill the disk: move the home to ext4, xfs or btrfs"
        return Finding("warn", "logs", f"{file_system(home.path)} knows no holes in files: log_mib is not kept", todo)
    return Finding("ok", "logs", f"each keeps its newest {kept} MiB")


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
        todo = "Start jobd again: it puts the file aside whole and goes on from the newest backup"
        return Finding("bad", "queue.db", f"damaged: {'; '.join(problems)}", todo)
    return Finding("ok", "queue.db", f"whole, {jobs} jobs")


def settings_toml(home: Home) -> Finding:
    try:
        options = settings.read(home.path)
    except Refused as refusal:
        return Finding("bad", "settings.toml", str(refusal), "jobd won't start before that is mended")
    default, told = settings.Settings(), []
    for name in (field.name for field in fields(options) if field.name != "notify"):
        if (value := getattr(options, name)) != getattr(default, name):
            told.append(f"{name} = {value!r}")
    told += [f"notify by {' and '.join(options.notify.ways)}"] if options.notify.ways else []  # an address is a secret
    return Finding("ok", "settings.toml", ", ".join(told) or "all defaults")


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
