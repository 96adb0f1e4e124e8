"""Where every second of the GPU lane went: idle."""

import argparse
import time

from supervisor import home as homes
from supervisor.commands.words import Register, seconds, show_json


def idle(told: argparse.Namespace) -> None:
    """The lane's time by class, with reasons, and one line that sums it up."""
    from supervisor import ledger

    now = time.time()
    db = homes.find(told.home).connect()
    found = ledger.account(db, since=now - seconds("--since", told.since), until=now)
    if not show_json(told, ledger.as_dict(found) if told.json else None):
        print("\n".join(ledger.table(found)))


def register(command: Register) -> None:
    one = command("idle", idle, "where every second of the GPU lane went, and why")
    one.add_argument("--since", default="7d", metavar="7d", help="so long back (default 7d)")
