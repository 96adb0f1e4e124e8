"""`jobctl doctor`: each trouble is planted for real where a machine lets us, and the finding says what to do."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor import db as database
from supervisor import doctor, queue, service
from supervisor.card import gpu
from supervisor.card.gpu import Gpu
from supervisor.checks import graphics, house, machine, place, telling
from supervisor.checks.finding import Finding, asked
from supervisor.home import Home
from supervisor.house import logs
from supervisor.job import NewJob

PYTHON = [sys.executable, "-P", "-m"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    database.create(tmp_path / "queue.db")
    return Home(tmp_path)


def told(home: Home, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = doctor.examine(home, as_json=False)
    return code, capsys.readouterr().out


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_answers_within_seconds_says_a_line_for_each_check_and_leaves_torch_out_of_jobctl(home: Home) -> None:
    ask = (
        "import sys; from supervisor import jobctl; code = jobctl.main(); sys.exit(code + 9 * ('torch' in sys.modules))"
    )
    began = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-P", "-c", ask, "-C", home.path, "doctor"], capture_output=True, text=True, check=False
    )
    assert time.monotonic() - began < 3 or graphics.DRIVER.exists()  # with a driver torch itself is asked
    assert answer.stderr == ""
    lines = answer.stdout.splitlines()
    assert len(lines) == len(doctor.CHECKS)
    assert {line[:4].strip() for line in lines} <= {"ok", "warn", "bad"}
    assert answer.returncode == int(any(line.startswith("bad") for line in lines))


@pytest.mark.parametrize(("marks", "code"), [(["ok", "warn"], 0), (["warn", "bad", "ok"], 1)])
def test_only_what_is_bad_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], marks: list[str], code: int
) -> None:
    def check(mark: str) -> Callable[[Home], Finding]:
        return lambda _: Finding(mark, mark, "found")

    monkeypatch.setattr(doctor, "CHECKS", [check(mark) for mark in marks])
    assert told(home, capsys)[0] == code
    assert doctor.examine(home, as_json=True) == code
    assert [one["mark"] for one in json.loads(capsys.readouterr().out)] == marks


def test_what_is_not_ok_says_what_to_do(home: Home) -> None:
    for check in doctor.CHECKS:
        found = check(home)
        assert found.mark == "ok" or found.todo, found


def test_a_finding_cannot_harm_a_terminal(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.path / "settings.toml").write_text('"\x1b[2J\\u009b31m\\u202e" = 1\n'.replace("\x1b", "\\u001b"))
    code, out = told(home, capsys)
    assert code == 1
    assert all(c.isprintable() or c == "\n" for c in out)
    assert "there is no setting" in out
    assert len(out.splitlines()) == len(doctor.CHECKS)


# ── the home ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_queue_is_bad_and_is_left_as_it_is(home: Home) -> None:
    with closing(home.connect()) as db:
        db.executemany("insert into meta values (?, ?)", [(f"k{n}", "v" * 500) for n in range(400)])
        db.execute("pragma wal_checkpoint(truncate)")
    assert place.queue_db(home).mark == "ok"
    content = bytearray(home.queue_db.read_bytes())
    content[-60_000:-40_000] = b"\xff" * 20_000
    home.queue_db.write_bytes(content)
    found = place.queue_db(home)
    assert (found.mark, found.finding.split(":")[0]) == ("bad", "damaged")
    assert "puts the file aside whole" in found.todo
    assert home.queue_db.read_bytes() == content


def test_a_queue_that_is_no_database_that_is_newer_or_that_is_not_there_is_bad(home: Home) -> None:
    with closing(home.connect()) as db:
        db.execute(f"pragma user_version = {database.VERSION + 1}")
    assert "newer Neverrest" in place.queue_db(home).finding
    for path in home.path.glob("queue.db*"):
        path.unlink()
    assert "there is no queue" in place.queue_db(home).finding
    home.queue_db.write_bytes(b"this is no database, but it is long enough to be read as one" * 20)
    assert place.queue_db(home).mark == "bad"


def test_wrong_settings_are_bad_and_own_ones_are_shown(home: Home) -> None:
    (home.path / "settings.toml").write_text("grace_s = 90\ncgroups = false\n")
    assert place.settings_toml(home).finding == "grace_s = 90, cgroups = False"
    assert "switched off" in house.cgroup(home).finding
    (home.path / "settings.toml").write_text("log_mib = 9\n[notify]\nwebhook = 'https://secret.example.org'\n")
    assert place.settings_toml(home).finding == "log_mib = 9, notify by webhook"
    (home.path / "settings.toml").write_text("grace_s = 'long'\n")
    assert place.settings_toml(home).mark == "bad"
    assert machine.memory(home).mark in ("ok", "warn"), "the other checks go on with the defaults"


def test_a_disk_that_is_nearly_full_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(home.path).f_bavail * os.statvfs(home.path).f_frsize
    monkeypatch.setattr(place, "DISK_WARN_BYTES", free * 2)
    assert place.disk(home).mark == "warn"
    monkeypatch.setattr(place, "DISK_BAD_BYTES", free * 2)
    assert place.disk(home).mark == "bad"


def test_a_disk_below_the_floor_is_bad(home: Home) -> None:
    (home.path / "settings.toml").write_text(f"disk_floor_mib = {1 << 40}\n")
    found = place.disk(home)
    assert (found.mark, f"Below disk_floor_mib = {1 << 40} nothing starts" in found.todo) == ("bad", True)


def test_a_disk_that_cannot_cap_logs_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.path / "settings.toml").write_text("log_mib = 7\n")
    monkeypatch.setattr(logs, "can_be_capped", lambda folder: True)
    assert place.log_files(home).finding == "each keeps its newest 7 MiB"
    monkeypatch.setattr(logs, "can_be_capped", lambda folder: False)
    assert "knows no holes" in place.log_files(home).finding


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="/dev/shm is no file system of its own here")
def test_a_home_in_memory_is_told() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        found = place.folder(Home(Path(folder)))
    assert (found.mark, "which a reboot empties" in found.finding) == ("warn", True)


def test_a_home_on_another_machines_disk_is_bad(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.folder(home).mark in ("ok", "warn")
    monkeypatch.setattr(place, "NOT_LOCAL", (place.file_system(home.path),))
    found = place.folder(home)
    assert (found.mark, "another machine's" in found.finding) == ("bad", True)


def test_the_nearest_mount_says_what_a_path_lies_on() -> None:
    assert place.file_system(Path("/proc/self/fd")) == "proc"
    assert place.file_system(Path("/")) != "unknown"


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_behind_what_was_already_done_is_bad(home: Home) -> None:
    assert machine.clock(home).mark == "ok"
    with closing(home.connect()) as db:
        queue.add(db, NewJob(kind="sleep", args={}, lane="gpu"), now=time.time() + 7200)
    found = machine.clock(home)
    assert found.mark == "bad"
    assert "2h00m before something already done" in found.finding


def test_an_old_kernel_or_an_old_sqlite_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.kernel(home).mark == "ok"
    assert machine.python(home).mark == "ok"
    monkeypatch.setattr(machine, "KERNEL_OLDEST", (999, 0))
    monkeypatch.setattr(machine, "SQLITE_OLDEST", (999, 0, 0))
    assert machine.kernel(home).mark == "warn"
    assert "SQLite 999.0.0 or newer" in machine.python(home).todo


def test_too_little_memory_for_a_standby_is_told(home: Home) -> None:
    (home.path / "settings.toml").write_text("standby_min_free_mib = 1000000000\n")
    assert machine.memory(home).mark == "warn"


def test_a_clock_that_nobody_sets_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.clock_source(home).mark in ("ok", "warn")
    for answer, mark in ((machine.TIME_ERROR, "warn"), (0, "ok")):
        libc = SimpleNamespace(adjtimex=lambda timex, answer=answer: answer)
        monkeypatch.setattr("ctypes.CDLL", lambda name, libc=libc: libc)
        assert machine.clock_source(home).mark == mark


def test_an_account_without_events_left_is_told(home: Home) -> None:
    """In a process of its own: the descriptors it may have are fewer than inotify takes."""
    ask = (
        "import os, resource, sys; from pathlib import Path\n"
        "from supervisor.checks import machine; from supervisor.home import Home\n"
        "before = machine.events(Home(Path(sys.argv[1]))).mark\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(before, machine.events(Home(Path(sys.argv[1]))).mark)"
    )
    answer = subprocess.run([sys.executable, "-P", "-c", ask, home.path], capture_output=True, text=True, check=True)
    assert answer.stdout == "ok warn\n"


# ── who is told ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("notify", "mark", "words"),
    [
        ("", "warn", "nobody is told"),
        ("command = ['/bin/cat']\non = ['held']", "ok", "by command, on held"),
        ("command = ['no-such-program']", "bad", "there is no program 'no-such-program'"),
        ("webhook = 'https://hooks.example.org/T0'", "warn", "others may read the webhook"),
    ],
)
def test_ways_that_do_not_work_are_told_before_they_are_needed(home: Home, notify: str, mark: str, words: str) -> None:
    (home.path / "settings.toml").write_text(f"[notify]\n{notify}\n")
    (home.path / "settings.toml").chmod(0o644)
    found = telling.notices(home)
    assert found.mark == mark
    assert words in found.line()
    assert "hooks.example.org" not in found.line()


def test_a_webhook_nobody_else_can_read_is_fine_and_notices_that_are_stuck_are_not(home: Home) -> None:
    (home.path / "settings.toml").write_text("[notify]\nwebhook = 'https://hooks.example.org/T0'\n")
    (home.path / "settings.toml").chmod(0o600)
    assert telling.notices(home).mark == "ok"
    with closing(home.connect()) as db:
        db.execute("insert into notice (at, what, text, tries, next_try_at) values (1, 'held', 'x', 3, 9e9)")
    assert telling.notices(home).finding == "1 could not be told"


def test_mail_without_a_sendmail_is_bad(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.path / "settings.toml").write_text("[notify]\nmail = 'me'\n")
    monkeypatch.setattr("supervisor.outside.deliver.SENDMAIL_PATH", str(home.path))
    assert telling.notices(home).finding == "there is no sendmail"
    (home.path / "sendmail").write_text("#!/bin/sh\n")
    (home.path / "sendmail").chmod(0o755)
    assert telling.notices(home).mark == "ok"


# ── the supervisor ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_jobd_that_serves_is_seen_and_one_that_does_not_is_told_how_to_start(home: Home) -> None:
    assert f"jobd -C {home.path}" in house.jobd(home).todo
    jobd = subprocess.Popen([*PYTHON, "supervisor.daemon", "-C", home.path], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while house.jobd(home).mark != "ok" and time.monotonic() < until:
            time.sleep(0.02)
        while asked(home, graphics.ASK_DEVICE) is None and time.monotonic() < until:
            time.sleep(0.02)
        assert house.jobd(home) == Finding("ok", "jobd", f"serves, pid {jobd.pid}")
        assert house.cgroup(home).mark in ("ok", "warn")
    finally:
        jobd.terminate()
        jobd.wait(20)
    assert house.jobd(home).mark == "warn"


def test_the_service_is_looked_at_too(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(service, "FLEETING", ())
    monkeypatch.setattr(service, "UNIT", units / service.NAME)
    monkeypatch.setattr(service, "WANTED", units / "wanted")
    monkeypatch.setattr(service, "BOOTED", tmp_path / "nothing")
    assert "does not run here" in house.systemd(home).finding
    monkeypatch.setattr(service, "BOOTED", tmp_path)
    assert "is not installed" in house.systemd(home).finding
    assert "service install" in house.systemd(home).todo
    service.UNIT.write_text(service.fill(home, service.find_account(home, "root")))
    assert "does not start at boot" in house.systemd(home).finding
    service.WANTED.symlink_to(service.UNIT)
    assert house.systemd(home).mark == "ok"
    assert "systemctl start neverrest" in house.jobd(home).todo
    (home.path / "settings.toml").write_text("grace_s = 600\n")
    assert "not what this version and settings.toml would write" in house.systemd(home).finding
    assert "serves" in house.systemd(Home(units)).finding


def test_a_jobd_that_ends_with_its_users_login_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert house.session(home).mark in ("ok", "warn")
    monkeypatch.setattr(house, "PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(house, "LINGERS", tmp_path / "linger")
    group = tmp_path / "proc" / str(os.getpid()) / "cgroup"
    group.parent.mkdir(parents=True)
    group.write_text("0::/system.slice/neverrest.service/main\n")
    assert house.session(home).mark == "ok"
    group.write_text("0::/user.slice/user-0.slice/user@0.service/app.slice/jobd.service\n")
    found = house.session(home)
    assert (found.mark, "sudo loginctl enable-linger root" in found.todo) == ("warn", True)
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / "root").touch()
    assert house.session(home).mark == "ok"


# ── the GPU ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("found", "mark", "words"),
    [
        (Gpu("healthy", "GeForce RTX 4080", 16376, 15800), "ok", "GeForce RTX 4080, 15800 of 16376 MiB free"),
        (Gpu("no-nvml", why="NVML Shared Library Not Found"), "warn", "no NVIDIA card. Jobs run on the CPU"),
        (Gpu("mismatch", why="Driver/library version mismatch"), "bad", "reboot"),
        (Gpu("lost", why="GPU is lost"), "bad", "fell off the bus"),
        (Gpu("hung", why="NVML did not answer within 10 s"), "bad", "does not answer"),
        (Gpu("reset", why="GPU requires reset"), "bad", "nvidia-smi --gpu-reset"),
        (Gpu("healthy", "GeForce RTX 4080", 16376, 15800, persistent=False), "warn", "sudo nvidia-smi -pm 1"),
        (Gpu("healthy", "GeForce RTX 4080", 16376, 15800, temperature_c=61, power_w=285), "ok", "free, 61 °C, 285 W"),
    ],
)
def test_every_state_of_a_gpu_has_its_words(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Gpu, mark: str, words: str
) -> None:
    monkeypatch.setattr(gpu, "probe", lambda: found)
    monkeypatch.setattr(gpu, "BUS", tmp_path / "no devices")
    said = graphics.graphics(home)
    assert said.mark == mark
    assert words in said.line()


def test_a_card_without_a_driver_is_no_machine_without_a_card(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, vendor, kind in (("0000:00:1f.3", "0x8086", "0x040300"), ("0000:01:00.0", "0x10de", "0x030000"),
                               ("0000:01:00.1", "0x10de", "0x040300")):  # fmt: skip
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "pci" / name / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(gpu, "BUS", tmp_path / "pci")
    monkeypatch.setattr(gpu, "probe", lambda: Gpu("no-nvml", why="Driver Not Loaded"))
    assert gpu.cards() == ["0000:01:00.0"], "its sound device is not a card"
    found = graphics.graphics(home)
    assert (found.mark, "0000:01:00.0, but no driver" in found.finding) == ("bad", True)


def test_a_jobd_that_started_before_the_driver_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "probe", lambda: Gpu("healthy", "GeForce RTX 4080", 16376, 15800))
    monkeypatch.setattr("supervisor.screen.view.serving", lambda home: True)
    with closing(home.connect()) as db:
        db.execute("insert into meta values ('device', 'cpu')")
    assert "but jobs run on the CPU" in graphics.graphics(home).finding
    with closing(home.connect()) as db:
        db.execute("update meta set value = 'cuda:0' where key = 'device'")
    assert graphics.graphics(home).mark == "ok"
    (home.path / "settings.toml").write_text("device = 'cpu'\n")
    assert graphics.graphics(home).mark == "ok", "who wants the CPU gets it"


FAKE_TORCH = """
import warnings
__version__ = "2.13.0+cu130"
class version: cuda = {cuda!r}
class cuda:
    @staticmethod
    def is_available():
        {act}
        return {sees}
"""


@pytest.mark.parametrize(
    ("fake", "mark", "words"),
    [
        (FAKE_TORCH.format(cuda="13.0", sees=True, act="pass"), "ok", "sees the GPU (CUDA 13.0)"),
        (FAKE_TORCH.format(cuda=None, sees=False, act="pass"), "bad", "built without CUDA"),
        (FAKE_TORCH.format(cuda="13.0", sees=False, act="warnings.warn('too old')"), "bad", "sees no GPU. too old"),
        (FAKE_TORCH.format(cuda="13.0", sees=True, act="import os; os._exit(139)"), "bad", "imported: no word"),
        ("raise ImportError('libcudart.so.13: no such file')", "bad", "libcudart.so.13: no such file"),
    ],
)  # fmt: skip
def test_torch_is_asked_in_a_process_of_its_own(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fake: str, mark: str, words: str
) -> None:
    driver = tmp_path / "driver"
    driver.touch()
    (tmp_path / "torch.py").write_text(fake)
    monkeypatch.setattr(graphics, "DRIVER", driver)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = graphics.torch(home)
    assert found.mark == mark
    assert words in found.line()


def test_a_torch_that_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert graphics.ask_torch(deadline_s=0.3) == "it did not come up within 0 s"


def test_without_torch_the_extra_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "neverrest[gpt]" in graphics.torch(home).todo
