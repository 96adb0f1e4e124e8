"""jobd under a real systemd: installed, killed, stopped, hung, rebooted, its power cut. One boot for all of it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
BOOT = CHECKOUT.parent / "shared" / "tools" / "boot_systemd.py"
INSIDE = Path(__file__).with_name("under_systemd.py")


def needs_a_machine() -> str | None:
    """Why no systemd can be booted here, or None."""
    if os.geteuid() != 0:
        return "only root can boot a systemd in namespaces"
    if not BOOT.exists():
        return f"there is no {BOOT} to boot one with"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed (Debian: apt-get install systemd)"
    if subprocess.run(["unshare", "--pid", "--fork", "--mount", "--cgroup", "true"], check=False).returncode != 0:
        return "this machine lets nobody make namespaces"
    return None


def binds() -> list[str]:
    """What the machine must see at the same place: our code, our venv, its Python. /usr is there already."""
    places: list[Path] = []
    for place in sorted({CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)}):
        if not place.is_relative_to("/usr") and not any(place.is_relative_to(other) for other in places):
            places.append(place)
    return [word for place in places for word in ("--bind-ro", str(place))]


@pytest.mark.timeout(900)
def test_under_systemd_jobs_survive_kills_stops_hangs_reboots_and_power_cuts(tmp_path: Path) -> None:
    if why := needs_a_machine():
        pytest.skip(why)
    payload = tmp_path / "payload"
    payload.mkdir()
    shutil.copy(INSIDE, payload)
    stage = f"{shlex.quote(sys.executable)} -P /opt/payload/{INSIDE.name}"
    answer = subprocess.run(
        [sys.executable, BOOT, "--payload", payload, *binds(), "--restarts", "reboot,kill", "--timeout", "400",
         "--test", f"{stage} first", "--after", f"{stage} $RESTART"],
        env=os.environ | {"SDBOOT": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout + answer.stderr
