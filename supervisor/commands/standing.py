"""What gives work by itself: evergreen and schedule, each with add, list, edit, enable, disable, remove."""

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from supervisor import home as homes
from supervisor.commands.adding import args_of_new, given_args, limits, stall_s
from supervisor.commands.words import Act, Register, everywhere, positive, settings, show_json, whole
from supervisor.errors import Refused
from supervisor.job import MAX_FAILURES

if TYPE_CHECKING:
    from supervisor.standing import Standing


def add(told: argparse.Namespace) -> None:
    """A new template. Its args are looked at now, as for `jobctl add`."""
    import jobs.kind
    from supervisor import cron, origin, standing
    from supervisor.card import vram

    home = homes.find(told.home)
    args = jobs.kind.parse(told.kind, args_of_new(told), cwd=Path.cwd())
    jobs.kind.check(told.kind, args, home.path)
    evergreen = told.command == "evergreen"
    if evergreen and jobs.kind.lane(told.kind) != "gpu":
        raise Refused(f"{told.kind} runs on the cpu lane: an evergreen keeps the gpu lane busy")
    priority = standing.EVERGREEN_PRIORITY if evergreen else 0
    new = standing.Standing(
        what=told.command, name=told.name, kind=told.kind, args=jobs.kind.as_given(args),
        lane=jobs.kind.lane(told.kind), priority=priority if told.priority is None else told.priority,
        preemptible=evergreen or jobs.kind.is_preemptible(told.kind, args),
        max_failures=told.max_failures or MAX_FAILURES, weight=getattr(told, "weight", None) or 1.0,
        cron=getattr(told, "cron", None), timezone=None if evergreen else told.timezone or cron.local_zone(),
        needs_vram_mib=told.vram, stall_s=stall_s(told),
        origin=origin.of_add(told.said, told.kind, jobs.kind.as_given(args)),
    )  # fmt: skip
    db = home.connect()
    if told.vram is not None:
        vram.refuse_more_than_all(db, told.vram)
    standing.add(db, new, now=time.time())
    home.ring()
    _show(told, db, standing.get(db, told.command, told.name))


def edit(told: argparse.Namespace) -> None:
    """From its next job on. The one it has stays as it is."""
    import jobs.kind
    from supervisor import origin, standing
    from supervisor.card import vram

    home = homes.find(told.home)
    db = home.connect()
    one = standing.get(db, told.command, told.name)
    changes: dict[str, Any] = {
        name: value
        for name in ("priority", "max_failures", "weight", "cron", "timezone")
        if (value := getattr(told, name, None)) is not None
    }
    if told.set or told.args or told.program:
        told.kind = one.kind
        given = given_args(told)
        if told.program is None:  # where a program runs does not change because its settings do
            given = {name: value for name, value in given.items() if name not in ("cwd", "env")} | settings(told.set)
        args = jobs.kind.parse(one.kind, one.args | given, cwd=Path.cwd())
        jobs.kind.check(one.kind, args, home.path)
        plain = jobs.kind.as_given(args)
        changes |= {"args": plain, "origin": origin.of_add(told.said, one.kind, plain)}
        changes["preemptible"] = one.what == "evergreen" or jobs.kind.is_preemptible(one.kind, args)
    if told.vram is not None:
        vram.refuse_more_than_all(db, told.vram)
        changes["needs_vram_mib"] = told.vram
    if told.stall is not None:
        changes["stall_s"] = stall_s(told)
    if not changes:
        raise Refused(f"edit {told.name}: what? Give --set key=value, --priority or another option of add")
    standing.edit(db, dataclasses.replace(one, **changes), now=time.time())
    home.ring()
    _show(told, db, standing.get(db, told.command, told.name))


def switch(told: argparse.Namespace) -> None:
    """enable, disable, remove."""
    from supervisor import standing

    home = homes.find(told.home)
    db = home.connect()
    one = standing.get(db, told.command, told.name)
    job = standing.live_job(db, one)
    if told.act_on == "enable":
        standing.enable(db, one, now=time.time())
    elif told.act_on == "disable":
        standing.disable(db, one)
    else:
        standing.remove(db, one)
    home.ring()
    if told.act_on != "enable" and job is not None and not told.json:
        print(f"its job {job.id} goes on ({job.state}): `jobctl cancel {job.id}` ends it")


def show_all(told: argparse.Namespace) -> None:
    """Those there are."""
    from supervisor import standing
    from supervisor.screen import view

    db = homes.find(told.home).connect()
    found = standing.all_of(db, told.command)
    if show_json(told, [_facts(db, one) for one in found] if told.json else None):
        return
    if not found:
        print(f"there is no {told.command} yet: `jobctl {told.command} add`")
        return
    rows = [("NAME", "KIND", "WHEN", "PRIO", "MADE", "NOW"), *(_row(db, one) for one in found)]
    widths = [max(map(view.columns, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(view.pad, row, widths)).rstrip())


def _show(told: argparse.Namespace, db: Any, one: "Standing") -> None:
    from supervisor.screen import view

    show_json(told, _facts(db, one) if told.json else None) or print(
        f"{view.safe(one.name)}: "
        + (f"first at {view.moment(one.next_at)}" if one.cron else "when nothing else is due")
    )


def _facts(db: Any, one: "Standing") -> dict[str, Any]:
    """As --json prints it: without what sounds secret, as `show` has its jobs."""
    from supervisor import standing
    from supervisor.screen import view

    facts = standing.as_dict(db, one)
    return facts | {"args": view.redacted(facts["args"])}


def _row(db: Any, one: "Standing") -> tuple[str, ...]:
    from supervisor import standing
    from supervisor.screen import view

    job = standing.live_job(db, one)
    when = f"weight {one.weight:g}" if one.cron is None else f"{one.cron} {one.timezone}"
    now = f"job {job.id} {job.state}" if job else f"next {view.moment(one.next_at)}" if one.cron else "ready"
    if not one.enabled:
        now = f"off: {one.why}" + (f", {now}" if job else "")
    return view.safe(one.name), one.kind, when, str(one.priority), str(one.made), view.safe(now)


def weight(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it takes a number, not {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def register(command: Register) -> None:
    for what, text in (
        ("evergreen", "work for when nothing else is due, in turn by weight"),
        ("schedule", "work for when its time comes, by a cron line"),
    ):
        acts = command(what, show_all, text).add_subparsers(dest="act_on", required=True, metavar="ACT")
        _act(acts, "list", show_all, "those there are")
        one = _act(acts, "add", add, "a new one: a name, a kind, and its args as in `jobctl add`")
        one.add_argument("name")
        one.add_argument("kind", help="what sort of job: `jobctl kinds` names them")
        one.usage = f"jobctl {what} add NAME KIND [options] [-- PROGRAM ARGUMENTS..]"
        _template(one, what)
        one = _act(acts, "edit", edit, "from its next job on")
        one.add_argument("name")
        _template(one, what, new=False)
        for act_on, help_text in (
            ("enable", "give work again, what failed is forgotten"),
            ("disable", "no more jobs until it is enabled; the one it has goes on"),
            ("remove", "forget it; the job it has goes on"),
        ):
            _act(acts, act_on, switch, help_text).add_argument("name")


def _act(acts: Any, name: str, act: Act, text: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = acts.add_parser(name, help=text, description=text, parents=[everywhere()])
    one.set_defaults(act=act)
    return one


def _template(one: argparse.ArgumentParser, what: str, *, new: bool = True) -> None:
    """The options that say what its jobs are like."""
    if what == "evergreen":
        one.add_argument("--weight", type=weight, metavar="W", help="its share of the idle lane (default 1)")
    else:
        one.add_argument("--cron", required=new, metavar="'0 3 * * *'", help="minute hour day month weekday")
        one.add_argument("--timezone", metavar="NAME", help="such as Europe/Berlin (default: this machine's)")
    one.add_argument("--priority", type=whole, metavar="N", help="who may interrupt its job: any of a higher one")
    one.add_argument("--max-failures", type=positive, metavar="N", help="a job is given up after so many (default 3)")
    limits(one)
    one.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="key=value", help="see `jobctl kinds KIND`"
    )
    one.add_argument("--args", metavar="FILE", help="args from a JSON file; --set goes over it")
