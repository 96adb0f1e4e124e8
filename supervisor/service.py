"""jobd under systemd: systemd/neverrest.service, filled in, written, started; and taken out again.

The template is found beside this file: in a checkout that is a link to systemd/, in a wheel the file itself.
`python -m supervisor.service HOME` is the question install asks as the account that jobd will be: can you serve it?
"""

import os
import pwd
import re
import shlex
import subprocess
import sys
from pathlib import Path

from supervisor import settings
from supervisor.errors import Refused
from supervisor.home import Home

NAME = "neverrest.service"
UNIT = Path("/etc/systemd/system") / NAME
WANTED = UNIT.parent / "multi-user.target.wants" / NAME  # the link that `enable` makes
TEMPLATE = Path(__file__).with_name(NAME)
BOOTED = Path("/run/systemd/system")  # sd_booted(3): this folder is there where systemd is PID 1
SETTLE_S = 30  # beyond grace_s and reclaim_s: jobd's own time to sweep and to write down how it ended
DEADLINE_S = 20.0  # for the account's answer; on a cold disk Python takes seconds to start

READ_ONLY = ("/usr", "/boot", "/efi", "/etc")  # ProtectSystem=full
FLEETING = ("/tmp", "/var/tmp", "/run", "/dev")  # emptied at boot, or by age


# ── in and out ────────────────────────────────────────────────────────────────────────────────────────────────────


def install(home: Home, *, user: str | None, dry_run: bool) -> str:
    """Write the unit for this home, enable it, and start it; one that runs starts anew if its unit changed.

    user: the account jobd and all jobs run as; None: the home's owner. What to tell its user; dry_run: the unit, and
    nothing is changed. Raises Refused before anything is changed, and when systemd could not start it.
    """
    account = find_account(home, user)
    text = fill(home, account)
    if dry_run:
        return text
    _require_systemd()
    _require_root(home, "install", user)
    _require_ours(home)
    _require_usable(home, account)
    changed = not UNIT.exists() or UNIT.read_text() != text
    if changed:
        write_whole(UNIT, text)
    systemctl("daemon-reload")
    systemctl("enable", "--quiet", NAME)
    running = is_active()
    if not running:
        _require_free(home)
    systemctl("restart" if changed and running else "start", NAME)
    return (
        f"jobd serves {home.path} as {account.pw_name}, from now on and after every boot.\n"
        "Its words: journalctl -u neverrest -f. Settings of the unit: sudo systemctl edit neverrest\n"
    )


def uninstall(home: Home, *, user: str | None, dry_run: bool) -> str:
    """Stop jobd (jobs save and go back to the queue), and remove the unit. The home stays as it is. What to tell."""
    if dry_run:
        return f"would stop and disable {NAME} and remove {UNIT}; {home.path} stays\n" if UNIT.exists() else _NOT_THERE
    _require_systemd()
    _require_root(home, "uninstall", user)
    if not UNIT.exists():
        return _NOT_THERE
    _require_ours(home)
    systemctl("disable", "--quiet", "--now", NAME)
    UNIT.unlink()
    _sync_folder(UNIT.parent)
    systemctl("daemon-reload")
    by_hand = f"jobd -C {shlex.quote(str(home.path))}"
    gone = f"{NAME} is gone; {home.path} and its queue are as they were. By hand: {by_hand}\n"
    drop_ins = UNIT.with_name(f"{NAME}.d")
    return gone + (f"Your own settings stay in {drop_ins}.\n" if drop_ins.exists() else "")


_NOT_THERE = f"there is no {UNIT}: nothing to take out\n"


# ── the unit's text ───────────────────────────────────────────────────────────────────────────────────────────────


def fill(home: Home, account: pwd.struct_passwd) -> str:
    """The template with this home's paths, its owner, and the time its settings give to children.

    Raises Refused for a path that a unit can't name or where a service can't keep a queue.
    """
    path, jobd = home.path.resolve(), beside_python("jobd")
    for told in (path, jobd):
        _require_plain(told)
    _require_place(path)
    if wrong := set(str(jobd)) & set("\"'\\$"):
        odd = " ".join(sorted(wrong))
        raise Refused(f"systemd starts no program from a path with {odd}: {str(jobd)!r}. Make the venv elsewhere")
    options = settings.read(path)
    words = {
        "USER": account.pw_name,
        "HOME": str(path).replace("%", "%%"),
        "HOME_WORD": word(str(path)),
        "HOME_ARG": word(str(path)).replace("$", "$$"),
        "JOBD_WORD": word(str(jobd)),
        "STOP_S": f"{stop_s(options):.0f}",
    }
    return re.sub("@([A-Z_]+)@", lambda found: words[found[1]], TEMPLATE.read_text())


def word(text: str) -> str:
    """One quoted word of a systemd setting: quotes, backslashes and % specifiers mean themselves."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def stop_s(options: settings.Settings) -> float:
    """How long systemd must leave us on stop: longer than the slowest child may take."""
    return options.grace_s + options.reclaim_s + SETTLE_S


def beside_python(program: str) -> Path:
    """A program of the same installation. Not resolved: a venv's python is a link out of it."""
    return Path(sys.executable).absolute().parent / program


def find_account(home: Home, user: str | None) -> pwd.struct_passwd:
    """Who jobd will be: the account told, else the home's owner. Raises Refused; root only when told by name."""
    try:
        account = pwd.getpwnam(user) if user is not None else pwd.getpwuid(home.path.stat().st_uid)
    except KeyError as error:
        whose = f"there is no account {user!r}" if user is not None else f"the owner of {home.path} has no account"
        raise Refused(f"{whose} on this machine: name one with --user") from error
    if account.pw_uid == 0 and user is None:
        raise Refused(
            f"{home.path} belongs to root, and jobs run any program: not as root unasked. Name an account with "
            f"--user NAME (and give it the home: chown -R NAME {shlex.quote(str(home.path))}), or say --user root"
        )
    return account


def _require_plain(path: Path) -> None:
    text = str(path)
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise Refused(
            f"a unit can't name the path {text!r}: it takes printable characters, no space or backslash at the end. "
            "Rename the folder"
        )


def _require_place(home: Path) -> None:
    for root in READ_ONLY:
        if home.is_relative_to(root):
            raise Refused(f"the home {home} lies under {root}, which services may not write: move it elsewhere")
    for root in FLEETING:
        if home.is_relative_to(root):
            raise Refused(f"the home {home} lies under {root}, which does not outlive a reboot: move it elsewhere")


# ── what must hold before anything is changed ─────────────────────────────────────────────────────────────────────


def _require_systemd() -> None:
    if not BOOTED.is_dir():
        raise Refused(
            "systemd does not run this machine, so it can't run jobd either. Start `jobd` by whatever starts services "
            "here, or see the unit with --dry-run"
        )


def _require_root(home: Home, what: str, user: str | None) -> None:
    if os.geteuid() == 0:
        return
    raise Refused(f"only root may change services. Say: {as_root(home, what, user)}")


def _require_ours(home: Home) -> None:
    other = served_home()
    if other is not None and other != home.path.resolve():
        raise Refused(
            f"{NAME} already serves {other}, and one machine has one. To take it out first: "
            f"{as_root(Home(other), 'uninstall')}"
        )


def _require_free(home: Home) -> None:
    from supervisor.screen import view

    if view.serving(home):
        pid = (home.path / "jobd.lock").read_text().strip()
        raise Refused(
            f"a jobd (pid {pid}) that was started by hand serves {home.path}. The unit is in place; once you "
            f"stop that one (kill {pid}), say: sudo systemctl start neverrest"
        )


def _require_usable(home: Home, account: pwd.struct_passwd) -> None:
    """Ask as that account: a venv under /root, or a queue.db that `sudo jobctl` made, would fail at every start."""
    command = [str(beside_python("python")), "-P", "-m", "supervisor.service", str(home.path)]
    try:
        answer = subprocess.run(
            command, user=account.pw_uid, group=account.pw_gid, cwd="/", capture_output=True, text=True, check=False,
            extra_groups=os.getgrouplist(account.pw_name, account.pw_gid), timeout=DEADLINE_S,
        )  # fmt: skip
        found = answer.stdout.strip() if answer.returncode == 0 else answer.stderr.strip().rpartition("\n")[2]
    except (OSError, subprocess.TimeoutExpired) as error:
        found = str(error)
    if found != "ok":
        raise Refused(f"{account.pw_name} can't serve {home.path}: {found}")


def hindrance(home: Path) -> str:
    """What keeps the calling process from serving a home; 'ok' when nothing does."""
    jobd = beside_python("jobd")
    if not os.access(jobd, os.X_OK):
        return f"there is no program {jobd} that it may run. Install Neverrest where it may (pip install), then again"
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return "it may not write there. Take the home's owner, or chown it"
    if foreign := [str(path) for path in sorted(home.iterdir()) if not _writable(path)]:
        more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
        return f"it may not write {foreign[0]}{more}. Say: sudo chown -R {pwd.getpwuid(os.geteuid()).pw_name} {home}"
    return "ok"


def _writable(path: Path) -> bool:
    return path.is_symlink() or os.access(path, os.W_OK)


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────────────────────


def as_root(home: Home, what: str, user: str | None = None) -> str:
    """The command that installs or uninstalls, as a person would type it."""
    words = ["sudo", str(beside_python("jobctl")), "-C", str(home.path), "service", what]
    return shlex.join(words + (["--user", user] if user is not None else []))


def served_home() -> Path | None:
    """The home that the installed unit serves; None when none is installed."""
    return Path(found) if (found := _installed("WorkingDirectory")) is not None else None


def served_as() -> str | None:
    """The account of the installed unit."""
    return _installed("User")


def _installed(name: str) -> str | None:
    try:
        found = re.search(f"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[1].replace("%%", "%") if found else None


def is_active() -> bool:
    """Whether systemd runs the unit now, or is about to again."""
    answer = subprocess.run(["systemctl", "is-active", NAME], capture_output=True, text=True, check=False)
    return answer.stdout.strip() in ("active", "activating", "reloading")


def systemctl(*words: str) -> None:
    """Raises Refused with what systemd says when it can't."""
    answer = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = " ".join(answer.stderr.split())
        raise Refused(f"systemctl {' '.join(words)}: {said}. Look: journalctl -u neverrest -n 20")


def write_whole(path: Path, text: str) -> None:
    """Put text at path, readable by all: it holds the old or the new text, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise Refused(f"{path} can't be written: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    print(hindrance(Path(sys.argv[1])))
