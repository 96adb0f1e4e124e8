"""The house around the queue: the service, the archive of models, a talk with one."""

import argparse
import os
import sys
from collections.abc import Callable

from supervisor import home as homes
from supervisor.commands.words import Register, show_json

SAMPLING = {  # what jobs.chat takes and checks; it has them again, since we import nothing of it
    "max-new-tokens": "an answer's longest",
    "temperature": "0, the default: always the likeliest token",
    "top-k": "draw from so many likeliest tokens",
    "top-p": "draw from the fewest that together have this probability",
    "min-p": "draw from those at least so likely, as a share of the likeliest",
    "repetition-penalty": "above 1: what was said becomes less likely",
    "seed": "the same seed draws the same",
}


def service(told: argparse.Namespace) -> None:
    """Put jobd under systemd, or take it out."""
    from supervisor import service as units

    home = homes.find(told.home)
    act = units.install if told.what == "install" else units.uninstall
    said = act(home, user=told.user, dry_run=told.dry_run)
    show_json(told, {"unit": str(units.UNIT), "said": said}) or print(said, end="")


def back_up(told: argparse.Namespace) -> None:
    """A copy of the queue now; prints its path."""
    import time

    from supervisor.house import backup

    path = backup.make(homes.find(told.home), now=time.time())
    show_json(told, {"path": str(path)}) or print(path)


def pass_on(module: str) -> Callable[[argparse.Namespace], int]:
    """models, ask and chat: another process, since jobctl never imports torch."""

    def apply(told: argparse.Namespace) -> int:
        home = homes.find(told.home)
        more = ["--json"] if told.json else []
        os.execv(sys.executable, [sys.executable, "-P", "-m", module, "--home", str(home.path), *_passed(told), *more])

    return apply


def _passed(told: argparse.Namespace) -> list[str]:
    if told.command == "models":
        return [told.what, *told.rest]
    questions = [word for question in getattr(told, "question", []) for word in ("--question", question)]
    device = ["--device", told.device] if told.device else []
    given = [(option, getattr(told, option.replace("-", "_"))) for option in SAMPLING]
    return [told.model, *questions, *device, *(f"--{option}={value}" for option, value in given if value is not None)]


def register(command: Register) -> None:
    one = command("service", service, "put jobd under systemd, or take it out")
    one.add_argument("what", choices=("install", "uninstall"))
    one.add_argument("--user", help="the account jobd runs as (default: the home's owner)")
    one.add_argument("--dry-run", action="store_true", help="print the unit, change nothing")
    command("backup", back_up, "copy the queue now; jobd does so every hour")
    one = command("models", pass_on("jobs.models"), "the archive: list, show NAME, note NAME TEXT")
    one.add_argument("what", choices=("list", "show", "note"))
    one.add_argument("rest", nargs="*")
    for name, text in (("ask", "put one question to a model"), ("chat", "talk with a model")):
        one = command(name, pass_on("jobs.chat"), text)
        one.add_argument("model")
        if name == "ask":
            one.add_argument("question", nargs="+")
        one.add_argument("--device", help="where it runs (default: the CPU, never in the way of the GPU's work)")
        for option, text in SAMPLING.items():
            one.add_argument(f"--{option}", metavar="N", help=text)
