"""The unit: what is filled in, what systemd reads, what is refused. A real systemd runs it in tests/whole."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor import service
from supervisor.errors import Refused
from supervisor.home import Home
from supervisor.settings import Settings

MOST_EXPOSED = 32  # tenths, of systemd's own scale: ours was measured as 31, a bare service of the same account as 92
ME = pwd.getpwuid(os.geteuid())


def analyze_version() -> int:
    """Of systemd-analyze; 0 when there is none."""
    if shutil.which("systemd-analyze") is None:
        return 0
    answer = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True)
    return int(answer.stdout.split()[1])


needs_analyze = pytest.mark.skipif(analyze_version() < 250, reason="takes systemd 250: older ones verify no lone unit")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture(autouse=True)
def _temporary_homes_are_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FLEETING", ())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    folder = tmp_path / "home"
    folder.mkdir()
    return Home(folder)


def analyze(unit: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What systemd itself says to a unit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / service.NAME
        path.write_text(unit)
        return subprocess.run(["systemd-analyze", *words, str(path)], capture_output=True, text=True, check=False)


def verify(unit: str) -> subprocess.CompletedProcess[str]:
    return analyze(unit, "verify", "--man=no", "--recursive-errors=no")


# ── what systemd says ─────────────────────────────────────────────────────────────────────────────────────────────


@needs_analyze
def test_systemd_finds_nothing_wrong_with_the_unit(home: Home) -> None:
    answer = verify(service.fill(home, ME))
    assert (answer.returncode, answer.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("RestrictSUIDSGID=yes", "RestrictSUIDSIG=yes"),
        ("OOMPolicy=continue", "OOMPolicy=go-on"),
        ("ExecStart=", "ExecStart=no-slash"),
    ],
)
def test_systemd_finds_a_planted_mistake(home: Home, right: str, wrong: str) -> None:
    text = service.fill(home, ME)
    assert right in text
    answer = verify(text.replace(right, wrong))
    assert answer.returncode != 0 or answer.stderr


@needs_analyze
def test_the_unit_is_as_hardened_as_we_say(home: Home) -> None:
    unit = service.fill(home, ME).replace(f"User={ME.pw_name}", "User=somebody")
    measure = ("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager")
    assert analyze(unit, *measure).returncode == 0
    weaker = unit.replace("NoNewPrivileges=yes\n", "").replace("CapabilityBoundingSet=\n", "")
    assert analyze(weaker, *measure).returncode != 0


@needs_analyze
@settings(max_examples=20, deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/$\"'\\"), min_size=1, max_size=20)
)
@example(name="a b")
@example(name="100% of it {} ; # %h")
@example(name="-+!@")
def test_systemd_reads_the_path_we_meant_whatever_a_folder_is_called(name: str) -> None:
    """verify looks whether the program is there: a path that is read differently is a program that is not."""
    if name in (".", ".."):
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "FLEETING", ())
        place = Path(folder) / f"{name}x"
        place.mkdir()
        program = place / "jobd"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        patch.setattr(service, "beside_python", place.joinpath)
        text = service.fill(Home(place), ME)
        assert verify(text).stderr == ""
        program.unlink()
        assert "jobd is not executable" in verify(text).stderr


# ── what is filled in ─────────────────────────────────────────────────────────────────────────────────────────────


def lines(text: str) -> dict[str, str]:
    """The settings of a unit, comments apart; a name given twice keeps its last value."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_nothing_is_left_to_fill_in(home: Home) -> None:
    found = lines(service.fill(home, ME))
    assert not [name for name, value in found.items() if "@" in value.replace("@clock", "").split(" @")[0]]
    assert found["User"] == ME.pw_name
    assert found["WorkingDirectory"] == str(home.path)
    assert found["ExecStart"] == f'"{Path(sys.executable).parent / "jobd"}" -C "{home.path}"'


def test_a_dollar_in_the_home_means_itself(tmp_path: Path) -> None:
    folder = tmp_path / "$HOME"
    folder.mkdir()
    found = lines(service.fill(Home(folder), ME))
    assert found["ExecStart"].endswith('/$$HOME"'), "systemd expands variables in arguments"
    assert found["WorkingDirectory"].endswith("/$HOME")
    assert found["RequiresMountsFor"].endswith('/$HOME"')


def test_systemd_waits_longer_than_the_slowest_child_may_take(home: Home) -> None:
    (home.path / "settings.toml").write_text("grace_s = 500\nreclaim_s = 41.5\n")
    assert float(lines(service.fill(home, ME))["TimeoutStopSec"]) > 541.5
    assert service.stop_s(Settings()) > Settings().grace_s + Settings().reclaim_s


def test_the_sandbox_leaves_jobs_the_gpu_the_compiler_and_the_users_folders(home: Home) -> None:
    """ProtectClock belongs here: before systemd 253 it allows one device, and one allowed device denies all others."""
    found = lines(service.fill(home, ME))
    takes = ("PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock", "MemoryDenyWriteExecute", "ProtectHome",
             "PrivateTmp", "RemoveIPC", "ProtectControlGroups", "PrivateUsers")  # fmt: skip
    assert not [name for name in takes if name in found]
    assert found["Delegate"] == "yes"
    assert found["KillMode"] == "control-group"
    assert found["WatchdogSignal"] == "SIGTERM"


def test_a_wheel_takes_the_template_along() -> None:
    """package-data copies supervisor/*.service; the one true file is in systemd/."""
    assert service.TEMPLATE.read_text() == Path(__file__).parents[2].joinpath("systemd", service.NAME).read_text()


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["two\nlines", "ends in space ", "ends in \\", "esc\x1b[2J"])
def test_a_path_that_a_unit_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(Refused, match="a unit can't name the path"):
        service.fill(Home(folder), ME)


@pytest.mark.parametrize("odd", ["$", "'", '"', "\\"])
def test_a_program_that_systemd_cannot_name_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    monkeypatch.setattr(service, "beside_python", Path(f"/opt/a{odd}venv/bin").joinpath)
    with pytest.raises(Refused, match="systemd starts no program from a path with") as refused:
        service.fill(home, ME)
    assert f"with {odd}:" in str(refused.value)


def test_a_home_that_services_may_not_write_or_that_a_reboot_empties_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refused, match="lies under /usr, which services may not write"):
        service.fill(Home(Path("/usr/share")), ME)
    monkeypatch.setattr(service, "FLEETING", ("/run",))
    with pytest.raises(Refused, match="lies under /run, which does not outlive a reboot"):
        service.fill(Home(Path("/run")), ME)


def test_wrong_settings_are_refused_before_anything_is_written(home: Home) -> None:
    (home.path / "settings.toml").write_text("grace_s = -1\n")
    with pytest.raises(Refused, match="grace_s"):
        service.fill(home, ME)


def test_an_account_that_is_not_there_is_refused(home: Home) -> None:
    with pytest.raises(Refused, match="there is no account 'nobody-at-all'"):
        service.find_account(home, "nobody-at-all")


@needs_root
def test_a_home_of_roots_does_not_make_jobs_run_as_root_unasked(home: Home) -> None:
    with pytest.raises(Refused, match="belongs to root, and jobs run any program"):
        service.find_account(home, None)
    assert service.find_account(home, "root").pw_uid == 0
    os.chown(home.path, 65534, 65534)
    assert service.find_account(home, None).pw_uid == 65534


def test_who_is_not_root_is_told_the_exact_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my home"
    folder.mkdir()
    monkeypatch.setattr(service, "BOOTED", tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    jobctl = Path(sys.executable).parent / "jobctl"
    for act, what in ((service.install, "install"), (service.uninstall, "uninstall")):
        with pytest.raises(Refused) as refused:
            act(Home(folder), user=ME.pw_name, dry_run=False)
        said = f"Say: sudo {jobctl} -C '{folder}' service {what} --user {ME.pw_name}"
        assert said in str(refused.value)


def test_without_systemd_there_is_a_sentence(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "BOOTED", home.path / "nothing")
    with pytest.raises(Refused, match="systemd does not run this machine"):
        service.install(home, user=ME.pw_name, dry_run=False)


def test_a_dry_run_tells_the_unit_and_changes_nothing(home: Home) -> None:
    was = service.UNIT.exists()
    assert service.install(home, user=ME.pw_name, dry_run=True) == service.fill(home, ME)
    assert service.UNIT.exists() == was
    assert list(home.path.iterdir()) == []


def test_one_machine_has_one_service(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unit = tmp_path / service.NAME
    monkeypatch.setattr(service, "UNIT", unit)
    service._require_ours(home)
    unit.write_text(service.fill(home, ME))
    service._require_ours(home)
    assert (service.served_home(), service.served_as()) == (home.path, ME.pw_name)
    with pytest.raises(Refused, match=f"already serves {home.path}, and one machine has one"):
        service._require_ours(Home(tmp_path))


def test_who_serves_must_be_able_to_write_all_of_the_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.path / "queue.db").touch()
    assert service.hindrance(home.path) == "ok"
    monkeypatch.setattr(service, "_writable", lambda path: path.name != "queue.db")
    assert f"may not write {home.path / 'queue.db'}" in service.hindrance(home.path)
    monkeypatch.setattr(service, "beside_python", home.path.joinpath)
    assert "there is no program" in service.hindrance(home.path)


@needs_root
def test_an_account_that_cannot_serve_the_home_is_refused_with_the_reason(home: Home) -> None:
    os.chmod(home.path, 0o700)
    with pytest.raises(Refused, match=f"nobody can't serve {home.path}: .+"):
        service._require_usable(home, pwd.getpwnam("nobody"))


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_unit_is_written_whole_and_readable_by_all(tmp_path: Path) -> None:
    unit = tmp_path / service.NAME
    before = os.umask(0o077)
    try:
        service.write_whole(unit, "old\n")
        service.write_whole(unit, "new\n")
    finally:
        os.umask(before)
    assert unit.read_text() == "new\n"
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == [service.NAME]


def test_a_unit_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = tmp_path / service.NAME
    unit.write_text("old\n")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(Refused, match="can't be written: No space left on device"):
        service.write_whole(unit, "new\n")
    assert unit.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == [service.NAME]
