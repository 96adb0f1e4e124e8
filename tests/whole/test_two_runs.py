"""Two terminals, a `jobctl run` in each: one jobd serves both, and who ends first leaves nobody behind."""

import signal
import subprocess
import sys
from pathlib import Path

from tower import Tower, until

from supervisor.screen import view

RUN = """
import sys
from supervisor import jobctl
from supervisor.screen import view, watch
watch.GONE_S = 0.2
if sys.argv.pop(1) == "blind":  # it looked just before the other one's jobd was there
    real, looked = view.serving, []
    view.serving = lambda home: bool(looked.append(1) or len(looked) > 1) and real(home)
sys.exit(jobctl.main())
"""


def recipe(tower: Tower, name: str) -> str:
    """A recipe of one job, which ends when there is a file `gate`."""
    path = tower.path / f"{name}.toml"
    script = f"until [ -e {tower.path}/gate ]; do sleep 0.01; done"
    path.write_text(
        f'name = "{name}"\n[[job]]\nname = "{name}"\nkind = "command"\n'
        f'args = {{ argv = ["/bin/sh", "-c", "{script}"], cwd = "/", env = {{ PATH = "/bin:/usr/bin" }} }}\n'
    )
    return str(path)


def run(tower: Tower, path: str, how: str = "sees") -> "subprocess.Popen[bytes]":
    """`jobctl run` of it; what it says goes beside the recipe."""
    with open(f"{path}.said", "wb") as said:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", RUN, how, "-C", str(tower.path), "run", path], stdout=said, stderr=said
        )


def said(path: str) -> str:
    return Path(f"{path}.said").read_text()


def end(process: "subprocess.Popen[bytes]") -> int:
    """Its exit code; nobody is left of one that does not end."""
    try:
        return process.wait(30)
    finally:
        process.kill()


def test_when_the_run_that_serves_is_over_the_other_one_serves_itself(tower):
    ours, others = recipe(tower, "second"), recipe(tower, "first")
    first = run(tower, others)
    until(lambda: view.serving(tower.home))
    second = run(tower, ours)
    until(lambda: "· second" in said(ours))
    first.send_signal(signal.SIGINT)
    assert end(first) == 130
    (tower.path / "gate").touch()
    assert end(second) == 0
    assert "The jobd that served this home has left; starting one." in said(ours)


def test_a_run_whose_own_jobd_came_too_late_watches_the_other_one(tower):
    tower.start()
    until(lambda: view.serving(tower.home))
    late = run(tower, path := recipe(tower, "late"), "blind")
    log = tower.path / "jobd.log"
    until(lambda: log.exists() and "already serves" in log.read_text())
    children = Path(f"/proc/{late.pid}/task/{late.pid}/children")
    until(lambda: not children.read_text() or "starting it again" in said(path))  # it has seen that its own one left
    (tower.path / "gate").touch()
    assert end(late) == 0
    assert "starting it again" not in said(path)
    assert view.serving(tower.home)
