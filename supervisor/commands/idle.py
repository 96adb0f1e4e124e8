"""Where every second of the GPU lane went: idle."""

import argparse
import time
from typing import Any

from supervisor import home as homes
from supervisor.commands.words import Register, seconds, show_json


def idle(told: argparse.Namespace) -> None:
    """The lane's time by class, with reasons, and one line that sums it up."""
    from supervisor import ledger
    from supervisor.card import gpu

    until = time.time()
    since = until - seconds("--since", told.since)
    db = homes.find(told.home).connect()
    lines = ledger.account(db, since=since, until=until)
    summary = ledger.summary([ledger.Share(line.what, line.kind, line.seconds) for line in lines])
    busy_s, known_s = gpu.busy_share(db, since=since, until=until)
    facts: dict[str, Any] = {
        "since": since, "until": until, "seconds": sum(line.seconds for line in lines), "summary": summary,
        "classes": [vars(line) for line in lines], "card": {"busy_s": busy_s, "known_s": known_s},
    }  # fmt: skip
    if not show_json(told, facts):
        print("\n".join([*_table(lines), summary, *_samples(busy_s, known_s)]))


def _table(lines: list[Any]) -> list[str]:
    """One line a class, most time first."""
    from supervisor import ledger
    from supervisor.screen import view

    total_s = sum(line.seconds for line in lines)
    rows = [("", "TIME", "SHARE", "TIMES", "LONGEST", "WHY, THE LONGEST TIME")]
    for line in lines:
        name = f"{line.what} {line.kind}" if line.kind else ledger.CLASSES.get(line.what, line.what)
        share = f"{line.seconds / total_s:.1%}"
        times = (view.duration(line.seconds), share, str(line.times), view.duration(line.longest_s))
        rows.append((name, *times, view.safe(line.why)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if lines else []


def _samples(busy_s: float, known_s: float) -> list[str]:
    """What the card says beside it; nothing where there is none."""
    from supervisor.screen import view

    if not known_s:
        return []
    return [f"the card's own samples: kernels ran {busy_s / known_s:.1%} of {view.duration(known_s)}"]


def register(command: Register) -> None:
    one = command("idle", idle, "where every second of the GPU lane went, and why")
    one.add_argument("--since", default="7d", metavar="7d", help="so long back (default 7d)")
