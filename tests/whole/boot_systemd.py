"""A machine with a real systemd as its PID 1, in namespaces of this one: booted, asked, rebooted, its power cut.

Its root is a folder of the test's around this machine's own /usr (read-only): nothing is downloaded, nothing of this
machine is changed. It lives in a cgroup of its own, has no network, and dies with the test. It shares our kernel, so
each boot's id is a file laid over the kernel's.
"""

import functools
import os
import shlex
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from tower import until

from supervisor.children import cgroup, tree

BOOT_S, DOWN_S = 90.0, 90.0
NAMESPACES = ("--pid", "--mount", "--cgroup", "--uts", "--ipc", "--net")
FOLDERS = "dev etc/systemd/system home mnt opt proc root run srv sys tmp usr var/lib var/log/journal var/tmp"
FROM_ETC = (
    "alternatives default group gshadow ld.so.cache ld.so.conf ld.so.conf.d localtime login.defs nsswitch.conf"
    " os-release pam.conf pam.d passwd security shadow shells skel ssl"
)
NOT_WANTED = "console-getty.service getty.target systemd-networkd-wait-online.service systemd-timesyncd.service"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

INSIDE = """
set -eu
root={root}
mount --bind "$root" "$root"
mount --bind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
echo {boot_id} > "$root/run/.boot_id"
mount --bind "$root/run/.boot_id" "$root/proc/sys/kernel/random/boot_id"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
{binds}
hostname neverrest-test
mkdir -p "$root/outside"
cd "$root"
pivot_root . outside
umount --lazy /outside
mount --make-rshared /
exec env -i container=neverrest-test PATH={path} setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog \\
    /lib/systemd/systemd --system --unit=multi-user.target --show-status=0
"""


def why_not() -> str | None:
    """Why no machine can be booted here; None when one can."""
    if os.geteuid() != 0:
        return "only root can boot a systemd in namespaces"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed (Debian: apt-get install systemd)"
    if missing := [tool for tool in ("unshare", "nsenter", "pivot_root", "setpriv") if shutil.which(tool) is None]:
        return f"there is no {missing[0]} (Debian: apt-get install util-linux)"
    if not cgroup.Cgroups().usable:
        return "this machine lets nobody make a cgroup v2"
    if subprocess.run(["unshare", "--fork", *NAMESPACES, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        return "this machine lets nobody make namespaces"
    return None


class Machine:
    """One machine. folder: where its root and its console's words lie; binds: what it sees at the same place as we."""

    def __init__(self, folder: Path, binds: Iterable[Path]) -> None:
        self.root, self.console, self.binds = folder / "root", folder / "console", list(binds)
        self.outside: subprocess.Popen[bytes] | None = None
        self.group = cgroup.Cgroups().make(f"neverrest-machine-{os.getpid()}")
        make_root(self.root)

    def boot(self) -> None:
        """Switch it on, and wait until it is up."""
        script = INSIDE.format(
            root=shlex.quote(str(self.root)), boot_id=uuid.uuid4(), path=PATH,
            binds="\n".join(self._bind(place) for place in self.binds),
        )  # fmt: skip
        with open(self.console, "ab") as console:
            self.outside = subprocess.Popen(
                ["unshare", "--fork", "--kill-child", "--propagation", "private", *NAMESPACES, "sh", "-c", script],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                preexec_fn=functools.partial(_before_exec, self.group),
            )  # fmt: skip
        until(self._is_up, "the machine comes up", BOOT_S)

    def run(self, command: str, timeout_s: float) -> "subprocess.CompletedProcess[str]":
        """A shell command inside, as root."""
        enter = ["nsenter", "--target", str(self._init()), "--root", "--wd", *NAMESPACES]
        words = [*enter, "env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", "sh", "-c", command]
        return subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=timeout_s,
        )  # fmt: skip

    def reboot(self) -> None:
        """As a person does: everybody is told first."""
        self.run("systemctl --no-block reboot", 30)
        self._wait_down()
        self.boot()

    def lose_power(self) -> None:
        """PID 1 is killed, and the kernel kills all others with it."""
        os.kill(self._init(), signal.SIGKILL)
        self._wait_down()
        self.boot()

    def close(self) -> None:
        """Nothing of it is left but its folder."""
        if self.outside is not None:
            (self.group / "cgroup.kill").write_text("1")
            self.outside.wait(DOWN_S)
        until(lambda: not cgroup.members(self.group), "the machine is gone")
        cgroup.remove(self.group)

    def _bind(self, place: Path) -> str:
        there = shlex.quote(f"{self.root}{place}")
        here = shlex.quote(str(place))
        return f"mkdir -p {there}; mount --bind {here} {there}; mount -o remount,bind,ro {there}"

    def _init(self) -> int:
        """Its PID 1, by our count: the one child of unshare."""
        pid = self.outside.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def _is_up(self) -> bool:
        assert self.outside.poll() is None, self.console.read_text()[-3000:]
        try:
            found = self.run("systemctl is-system-running", 30).stdout.strip()
        except (OSError, IndexError):
            return False  # its namespaces are in the making
        time.sleep(0.1)
        return found in ("running", "degraded")

    def _wait_down(self) -> None:
        self.outside.wait(DOWN_S)
        until(lambda: not cgroup.members(self.group), "everybody in the machine is gone")
        for folder in sorted(self.group.rglob("*/"), reverse=True):  # the next boot finds none of its units' cgroups
            folder.rmdir()


def make_root(root: Path) -> None:
    """A root around this machine's /usr: its own /etc (what accounts and libraries need), /var, /srv and the rest."""
    for name in FOLDERS.split():
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(os.readlink(Path("/", name)))
    for name in FROM_ETC.split():
        if Path("/etc", name).exists():
            subprocess.run(["cp", "-a", f"/etc/{name}", root / "etc"], check=True)
    (root / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    for name in NOT_WANTED.split():
        (root / "etc/systemd/system" / name).symlink_to("/dev/null")


def _before_exec(group: Path) -> None:
    cgroup.join(group)
    tree.die_with_parent(signal.SIGKILL)
