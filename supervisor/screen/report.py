"""`jobctl status`: the house at a glance."""

import json
import sqlite3
import time
from typing import Any

from supervisor import counts, ledger, meta, queue
from supervisor.card import gpu
from supervisor.home import Home
from supervisor.outside import notices
from supervisor.screen import view

DAY_S = 86400.0


def status(home: Home, *, as_json: bool) -> None:
    db, now = home.connect(), time.time()
    running = [view.as_dict(db, job, home, now=now) for job in queue.running(db)]
    went = ledger.shares(db, since=now - DAY_S, until=now)
    facts = state(home, db) | {
        "jobs": counts.by_state(db), "running": running, "last_day_s": [vars(share) for share in went],
        "new_notices": notices.unseen(db),
    }  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print("\n".join(state_lines(facts)))
    print("jobs     " + count_line(facts["jobs"]))
    for job in running:
        done = job["progress"]
        share = done["done"] / done["total"] if done["total"] else None
        far = "" if share is None else f"  {view.bar(share)} {view.percent(share)}"
        left = f"  {view.duration(job['eta_at'] - now)} left" if job["eta_at"] else ""
        print(f"{job['lane']:8} job {job['id']} {view.safe(job['name'])}{far}{left}")
    if went:
        print("last day " + ", ".join(time_line(went)))
    if new := facts["new_notices"]:
        print(f"NEW      {new} {'notice' if new == 1 else 'notices'} since you looked: `jobctl notices`")


def state(home: Home, db: sqlite3.Connection) -> dict[str, Any]:
    """How the house is: what is asked in a moment, however many jobs there are."""
    return {
        "home": str(home.path), "jobd": view.serving(home), "device": meta.read(db, "device"),
        "paused": queue.is_paused(db), "lane_closed": meta.read(db, "lane_closed") or None,
        "disk_low": meta.read(db, "disk_low") or None,
        "card": gpu.last_seen(db) or None, "lane_waits": meta.read(db, "lane_waits") or None,
    }  # fmt: skip


def state_lines(facts: dict[str, Any]) -> list[str]:
    """The same in words, what is wrong in capitals."""
    lines = [
        f"home     {view.safe(facts['home'])}",
        f"jobd     {'serves' if facts['jobd'] else 'does not run: start it with `jobd -C ' + facts['home'] + '`'}",
        f"device   {facts['device'] or 'not known yet'}",
    ]
    if facts["card"]:
        lines.append(f"card     {view.safe(card_line(facts['card']))}")
    if facts["paused"]:
        lines.append("PAUSED   by hand: `jobctl resume --all`")
    if facts["lane_closed"]:
        lines.append(f"CLOSED   {view.safe(str(facts['lane_closed']))}")
    if facts["disk_low"]:
        lines.append(f"DISK LOW {view.safe(str(facts['disk_low']))}")
    return lines


def count_line(counted: dict[str, int]) -> str:
    """'3 queued, 1 running, 40 succeeded'."""
    return ", ".join(f"{counted[state]} {state}" for state in queue.STATES if state in counted) or "none"


def card_line(card: dict[str, Any]) -> str:
    """'GeForce RTX 4080, 300 of 16376 MiB used, 61 °C, 285 W, kernels ran 98 % of the time; Xid 79'."""
    found = gpu.Gpu.from_json(json.dumps({key: value for key, value in card.items() if key != "at"}))
    words = [found.name, f"{found.used_mib} of {found.memory_mib} MiB used", *filter(None, [found.health])]
    words += [f"kernels ran {100 * found.busy_s / found.known_s:.0f} % of the time"] if found.known_s else []
    return ", ".join(words) + "".join(f"; Xid {xid}" for xid in found.xids)


def time_line(shares: list[ledger.Share]) -> list[str]:
    """'92.1 % train (3h02m)' and so on, of the GPU lane."""
    total = sum(share.seconds for share in shares)
    return [
        f"{share.seconds / total:.1%} {share.kind or ledger.CLASSES.get(share.what, share.what)}"
        f" ({view.duration(share.seconds)})"
        for share in shares
    ]
