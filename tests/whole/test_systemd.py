"""jobd under a real systemd: installed, killed, stopped, hung, reloaded, rebooted, its power cut. In one machine."""

import shlex
import sys
from pathlib import Path

import boot_systemd
import pytest

CHECKOUT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("under_systemd.py")
STAGE_S = 400.0


def what_it_must_see() -> list[Path]:
    """Our code, our venv, its Python, at the same place. /usr is there already."""
    places: list[Path] = []
    for place in sorted({CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)}):
        if not place.is_relative_to("/usr") and not any(place.is_relative_to(other) for other in places):
            places.append(place)
    return places


@pytest.mark.timeout(900)
def test_under_systemd_jobs_survive_kills_stops_hangs_reboots_and_power_cuts(tmp_path: Path) -> None:
    if why := boot_systemd.why_not():
        pytest.skip(why)
    machine = boot_systemd.Machine(tmp_path, what_it_must_see())
    try:
        machine.boot()
        stage(machine, "first")
        machine.reboot()
        stage(machine, "reboot")
        machine.lose_power()
        stage(machine, "kill")
    finally:
        machine.close()


def stage(machine: boot_systemd.Machine, name: str) -> None:
    """One stage of under_systemd.py, inside the machine."""
    answer = machine.run(shlex.join([sys.executable, "-P", str(INSIDE), name]), STAGE_S)
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout
