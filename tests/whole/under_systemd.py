"""What test_systemd.py runs inside a machine that a real systemd booted. Not a test file: its functions are stages.

under_systemd.py first | reboot | kill       (the last two: what the machine went through just before)
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

USER = "neverrest"
HOME = Path("/srv/never rest, 100% \"of\" the $HOME 'x' back\\slash")  # whatever a folder may be called
MARKS = Path("/srv/marks")  # what jobs write outside the home: a person's own folder
JOBCTL = Path(sys.executable).with_name("jobctl")
TRAINER = """
trap 'sleep 0.2; sleep 2; echo saved >> /srv/marks/trainer; exit 75' TERM
echo began >> /srv/marks/trainer
while :; do sleep 0.05; done
"""  # a program of the user's own, that needs two seconds to save; what it starts while systemd still looks for
# processes to tell (the 0.2 s) is told as well

Found = TypeVar("Found")


def first() -> None:
    make_home()
    refused_without_an_account()
    installed()
    sandboxed()
    children_save_when_only_jobd_is_killed()
    everything_killed_at_once()
    stop_lets_jobs_save_and_blames_nobody()
    a_signal_to_everybody_blames_nobody()
    a_hung_jobd_is_replaced()
    reload_reads_the_settings_again()
    other_home_refused()
    remember()


def reboot() -> None:
    """Everybody had time to save."""
    goes_on_by_itself("the supervisor stops")
    print(sh("sh", "-c", "journalctl -u neverrest -b -1 --no-pager -o cat | tail -n 5"))


def kill() -> None:
    """Nobody had time for anything: the power went."""
    goes_on_by_itself("the machine went down")
    uninstalled()


# ── the stages ────────────────────────────────────────────────────────────────────────────────────────────────────


def make_home() -> None:
    """And what this machine lacks: it shares its kernel, so a boot's own id is a file that the sandbox would hide."""
    drop_in("machine", "BindReadOnlyPaths=/run/.boot_id:/proc/sys/kernel/random/boot_id")
    sh("useradd", "--system", USER)
    for folder in (HOME, MARKS):
        folder.mkdir()
        os.chown(folder, 0, 0)


def refused_without_an_account() -> None:
    answer = subprocess.run([JOBCTL, "-C", HOME, "service", "install"], capture_output=True, text=True)
    assert answer.returncode == 1, answer
    assert "belongs to root" in answer.stderr, answer.stderr
    answer = subprocess.run([JOBCTL, "-C", HOME, "service", "install", "--user", USER], capture_output=True, text=True)
    assert answer.returncode == 1, answer
    assert f"{USER} can't serve" in answer.stderr, answer.stderr
    assert "may not write there" in answer.stderr, answer.stderr
    assert not Path("/etc/systemd/system/neverrest.service").exists()
    for folder in (HOME, MARKS):
        sh("chown", USER, str(folder))


def installed() -> None:
    print(sh(str(JOBCTL), "-C", str(HOME), "service", "install"))
    assert shown("Type") == "notify", "active means that jobd has said READY=1"
    assert shown("ActiveState") == "active"
    assert shown("SubState") == "running"
    assert sh("systemctl", "is-enabled", "neverrest") == "enabled"
    assert sh("ps", "-o", "user=", "-p", str(jobd())) == USER
    before = jobd()
    sh(str(JOBCTL), "-C", str(HOME), "service", "install")
    assert jobd() == before, "installing what is installed must not disturb what runs"


def sandboxed() -> None:
    """What the unit must leave to jobs: every device there is, a cgroup per attempt, folders outside the home."""
    assert shown("DeviceAllow") == "", "one allowed device denies all others: no GPU"
    assert shown("DevicePolicy") == "auto"
    sleeper = int(jobctl("add", "sleep", "--set", "seconds=10000", "tick_s=0.05"))
    trainer = int(jobctl("add", "command", "--lane", "cpu", "--", "/bin/sh", "-c", TRAINER))
    dies_at_once = int(jobctl("add", "command", "--lane", "cpu", "--", "/bin/sleep", "10000"))
    assert [sleeper, trainer, dies_at_once] == [1, 2, 3]
    running(1, attempt=1)
    running(2, attempt=1)
    wait("the trainer's own folder", lambda: times("began") == 1)
    group = Path(f"/proc/{child(1)}/cgroup").read_text()
    assert "/neverrest.service/neverrest-" in group, group
    marks = {one["what"]: one["mark"] for one in json.loads(jobctl("--json", "doctor"))}
    assert {marks[what] for what in ("home", "queue.db", "jobd", "systemd", "cgroup")} == {"ok"}, marks


def children_save_when_only_jobd_is_killed() -> None:
    done, gone, began = slept(), child(1), time.monotonic()
    os.kill(jobd(), signal.SIGKILL)
    wait("the trainer to save", lambda: times("saved") == 1)
    assert time.monotonic() - began >= 2, "it had no time to save"
    assert not Path(f"/proc/{gone}").exists(), "the first child outlived its supervisor"
    took_s = running(1, attempt=2)
    running(2, attempt=2)
    assert shown("NRestarts") == "1"
    assert slept() >= done
    print(f"kill -9 of jobd: {took_s:.1f} s after the last child had saved, the job ran on from {slept():.1f} s")


def everything_killed_at_once() -> None:
    done = slept()
    sh("systemctl", "kill", "--signal=SIGKILL", "neverrest")
    running(1, attempt=3)
    running(2, attempt=3)
    assert shown("NRestarts") == "2"
    assert slept() >= done
    assert failures() == [0, 0, 0]


def stop_lets_jobs_save_and_blames_nobody() -> None:
    saved, began = times("saved"), time.monotonic()
    sh("systemctl", "stop", "neverrest")
    took_s = time.monotonic() - began
    assert times("saved") == saved + 1
    assert 2.2 <= took_s < 30, took_s  # all of it: a second SIGTERM would end what the trainer started to save
    assert shown("Result") == "success", "within TimeoutStopSec: nobody had to be killed"
    assert [job(n)["state"] for n in (1, 2, 3)] == ["queued"] * 3
    assert failures() == [0, 0, 0], "who was told to leave is not to blame"
    assert events(1)[-1] == ("queued", "the supervisor stops"), events(1)
    sh("systemctl", "start", "neverrest")
    running(1, attempt=4)
    running(2, attempt=4)
    print(f"systemctl stop: {took_s:.1f} s, everybody saved")


def a_signal_to_everybody_blames_nobody() -> None:
    """`systemctl kill` tells jobd and children at once: one that dies before jobd has told it died of that."""
    sh("systemctl", "kill", "neverrest")
    running(1, attempt=5)
    running(2, attempt=5)
    assert failures() == [0, 0, 0], [job(n)["error"] for n in (1, 2, 3)]


def a_hung_jobd_is_replaced() -> None:
    short = drop_in("short", "WatchdogSec=8\nTimeoutAbortSec=20")
    sh("systemctl", "restart", "neverrest")
    running(1, attempt=6)
    running(2, attempt=6)
    saved, stopped = times("saved"), jobd()
    os.kill(stopped, signal.SIGSTOP)  # the watchdog's SIGCONT wakes it: it leaves by itself
    wait("the watchdog", lambda: jobd() not in (0, stopped), limit_s=60)
    running(1, attempt=7)
    running(2, attempt=7)
    assert times("saved") == saved + 1, "a hung supervisor must not cost its children their work"
    assert failures() == [0, 0, 0]
    assert "Watchdog timeout" in sh("journalctl", "-u", "neverrest", "--no-pager")
    short.unlink()
    sh("systemctl", "daemon-reload")


def reload_reads_the_settings_again() -> None:
    before = jobd()
    write_settings("cpu_slots = 3\n")
    sh("systemctl", "reload", "neverrest")
    wait("the new setting", lambda: "settings read again: cpu_slots = 3" in journal())
    write_settings("cpu_slots = 'many'\n")
    sh("systemctl", "reload", "neverrest")
    wait("the sentence", lambda: "the settings stay as they were" in journal())
    write_settings("")
    assert jobd() == before
    assert [is_running(1, 7), is_running(2, 7)] == [True, True], "a reload disturbs nobody"


def write_settings(text: str) -> None:
    (HOME / "settings.toml").write_text(text)
    os.chmod(HOME / "settings.toml", 0o644)


def journal() -> str:
    return sh("journalctl", "-u", "neverrest", "--no-pager", "-o", "cat")


def other_home_refused() -> None:
    other = Path("/srv/other")
    other.mkdir()
    sh("chown", USER, str(other))
    answer = subprocess.run([JOBCTL, "-C", other, "service", "install"], capture_output=True, text=True)
    assert answer.returncode == 1, answer
    assert f"already serves {HOME}" in answer.stderr, answer.stderr


def remember() -> None:
    Path("/srv/before.json").write_text(json.dumps({"attempt": job(1)["attempt"], "slept": slept()}))


def goes_on_by_itself(why: str) -> None:
    """Nobody said anything after the boot."""
    before = json.loads(Path("/srv/before.json").read_text())
    running(1, attempt=before["attempt"] + 1)
    running(2, attempt=before["attempt"] + 1)
    assert slept() >= before["slept"]
    assert failures() == [0, 0, 0]
    assert events(1)[-2] == ("queued", why), events(1)
    remember()


def uninstalled() -> None:
    sh("rm", "-r", "/etc/systemd/system/neverrest.service.d")
    print(sh(str(JOBCTL), "-C", str(HOME), "service", "uninstall"))
    assert shown("LoadState") == "not-found"
    assert not Path("/etc/systemd/system/multi-user.target.wants/neverrest.service").is_symlink()
    assert [job(n)["state"] for n in (1, 2, 3)] == ["queued"] * 3
    left = sh("sh", "-c", f"ps -u {USER} -o pid= || true")
    assert left == "", left
    assert "nothing to take out" in sh(str(JOBCTL), "-C", str(HOME), "service", "uninstall")


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────


def sh(*words: str) -> str:
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.returncode == 0, f"{words} ended with {answer.returncode}: {answer.stdout}{answer.stderr}"
    return answer.stdout.strip()


def drop_in(name: str, lines: str) -> Path:
    path = Path(f"/etc/systemd/system/neverrest.service.d/{name}.conf")
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"[Service]\n{lines}\n")
    sh("systemctl", "daemon-reload")
    return path


def jobctl(*words: str) -> str:
    """As the account a person would have: never as root."""
    return sh("runuser", "-u", USER, "--", str(JOBCTL), "-C", str(HOME), *words)


def job(number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(jobctl("--json", "show", str(number)))
    return found


def events(number: int) -> list[tuple[str, str]]:
    return [(event["what"], event["detail"]) for event in job(number)["events"]]


def failures() -> list[int]:
    return [job(number)["failures"] for number in (1, 2, 3)]


def slept() -> float:
    """How far job 1 is, by its own file."""
    path = HOME / "runs/1/slept.json"
    return float(json.loads(path.read_text())) if path.exists() else 0.0


def times(what: str) -> int:
    path = MARKS / "trainer"
    return path.read_text().split().count(what) if path.exists() else 0


def shown(what: str) -> str:
    return sh("systemctl", "show", "neverrest", "--property", what, "--value")


def jobd() -> int:
    return int(shown("MainPID"))


def child(number: int) -> int:
    """The leader of a running job."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f":{number}:".encode() in (entry / "environ").read_bytes():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"no process of job {number}")


def running(number: int, *, attempt: int) -> float:
    """Wait until a job is at work in this attempt; the seconds it took."""
    began = time.monotonic()
    wait(f"job {number} in attempt {attempt}", lambda: is_running(number, attempt), limit_s=60)
    if number == 1:
        at = slept()
        wait("job 1 to get on", lambda: slept() > at)
    return time.monotonic() - began


def is_running(number: int, attempt: int) -> bool:
    found = job(number)
    assert found["attempt"] <= attempt, f"job {number} is in attempt {found['attempt']}: one more than there should be"
    return (found["state"], found["attempt"]) == ("running", attempt)


def wait(for_what: str, look: Callable[[], Found], limit_s: float = 60.0) -> Found:
    until = time.monotonic() + limit_s
    while not (found := look()):
        assert time.monotonic() < until, f"waited {limit_s:.0f} s for {for_what}\n" + sh(
            "journalctl", "-u", "neverrest", "--no-pager", "-n", "30"
        )
        time.sleep(0.1)
    return found


if __name__ == "__main__":
    {"first": first, "reboot": reboot, "kill": kill}[sys.argv[1]]()
