"""`jobctl status`: the house at a glance."""

import json
import time
from typing import Any

from supervisor import ledger, meta, queue
from supervisor.card import gpu
from supervisor.home import Home
from supervisor.screen import view

DAY_S = 86400.0


def status(home: Home, *, as_json: bool) -> None:
    db, now = home.connect(), time.time()
    counts = {row["state"]: row["n"] for row in db.execute("select state, count(*) as n from job group by state")}
    running = [view.as_dict(db, job, home, now=now) for job in queue.running(db)]
    went = ledger.shares(db, since=now - DAY_S, until=now)
    card = gpu.last_seen(db)
    facts = {
        "home": str(home.path), "jobd": view.serving(home), "device": meta.read(db, "device"),
        "paused": queue.is_paused(db), "lane_closed": meta.read(db, "lane_closed") or None,
        "disk_low": meta.read(db, "disk_low") or None,
        "card": card or None, "lane_waits": meta.read(db, "lane_waits") or None,
        "jobs": counts, "running": running, "last_day_s": [vars(share) for share in went],
    }  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    print(f"home     {facts['home']}")
    print(f"jobd     {'serves' if facts['jobd'] else 'does not run: start it with `jobd -C ' + str(home.path) + '`'}")
    print(f"device   {facts['device'] or 'not known yet'}")
    if card:
        print(f"card     {view.safe(card_line(card))}")
    if facts["paused"]:
        print("PAUSED   by hand: `jobctl resume --all`")
    if facts["lane_closed"]:
        print(f"CLOSED   {view.safe(str(facts['lane_closed']))}")
    if facts["disk_low"]:
        print(f"DISK LOW {view.safe(str(facts['disk_low']))}")
    print("jobs     " + (", ".join(f"{counts[state]} {state}" for state in queue.STATES if state in counts) or "none"))
    for job in running:
        done = job["progress"]
        share = done["done"] / done["total"] if done["total"] else 0.0
        left = f"  {view.duration(job['eta_at'] - now)} left" if job["eta_at"] else ""
        print(f"{job['lane']:8} job {job['id']} {view.safe(job['name'])}  {view.bar(share)} {share:.0%}{left}")
    if went:
        print("last day " + ", ".join(time_line(went)))


def card_line(card: dict[str, Any]) -> str:
    """'GeForce RTX 4080, 300 of 16376 MiB used, 61 °C, 285 W; Xid 79'."""
    found = gpu.Gpu.from_json(json.dumps({key: value for key, value in card.items() if key != "at"}))
    words = [found.name, f"{found.used_mib} of {found.memory_mib} MiB used", *filter(None, [found.health])]
    return ", ".join(words) + "".join(f"; Xid {xid}" for xid in found.xids)


def time_line(shares: list[ledger.Share]) -> list[str]:
    """'92.1 % train (3h02m)' and so on, of the GPU lane."""
    total = sum(share.seconds for share in shares)
    return [
        f"{share.seconds / total:.1%} {share.kind or ledger.CLASSES.get(share.what, share.what)}"
        f" ({view.duration(share.seconds)})"
        for share in shares
    ]
