"""`jobctl doctor`: look for what would hinder jobs, and say what to do. It changes nothing.

A check is a function from the home to a Finding, in a room of checks/; CHECKS names them in the order they are told.
They know nothing of each other and run side by side, so the slowest one (torch's import) is what the whole takes.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from supervisor.checks import graphics, house, machine, place, telling
from supervisor.checks.finding import Finding
from supervisor.home import Home

CHECKS: tuple[Callable[[Home], Finding], ...] = (
    machine.python, machine.kernel, machine.memory, machine.clock, machine.clock_source, machine.events,
    place.folder, place.disk, place.log_files, place.queue_db, place.settings_toml,
    house.jobd, house.systemd, house.session, house.cgroup, telling.notices,
    graphics.graphics, graphics.torch,
)  # fmt: skip


def examine(home: Home, *, as_json: bool) -> int:
    """Print what all checks found. 1 when something is bad, else 0."""
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        found = list(pool.map(lambda check: check(home), CHECKS))
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    else:
        print("\n".join(finding.line() for finding in found))
    return int(any(finding.mark == "bad" for finding in found))
