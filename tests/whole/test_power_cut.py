"""The power goes at any moment: what jobctl had printed by then is in the queue that the disk gives back.

No machine is switched off here. Every write and every sync of queue.db, by jobd and by jobctl, is written down by
disk.c in their order; for a moment of that record the disk is made anew from what was synced by then, and from any
sectors of what was not; that queue is opened.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from disk import Call, Disk, Trace, library, with_disk
from tower import until

from supervisor import db as database
from supervisor import meta
from supervisor.children import tree

CUTS = int(os.environ.get("NEVERREST_POWER_CUTS", "60"))
SEED = int(os.environ.get("NEVERREST_FAULTS_SEED", "0"))
ADDED = 8


def jobctl(tower, trace: Trace, *words: object) -> str:
    """jobctl as a process of its own, its disk written down."""
    argv = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), *map(str, words)]
    return subprocess.run(argv, env=with_disk(trace.env), capture_output=True, text=True, check=True).stdout


def busy_tower(tower, folder: Path) -> tuple[dict[str, bytes], list[Call]]:
    """A jobd at work while jobs are added: what lay on the disk before, and every call since."""
    tower.db.close()  # nobody else: the log is folded in and gone
    before = {"queue.db": tower.home.queue_db.read_bytes()}
    assert [path.name for path in tower.path.glob("queue.db*")] == ["queue.db"]
    trace = Trace(folder / "trace")
    tower.start(env=with_disk(trace.env))
    ids = [int(jobctl(tower, trace, "add", "command", "--", "/bin/true")) for _ in range(ADDED)]
    tower.db = tower.home.connect()
    until(lambda: all(tower.job(job_id).state == "succeeded" for job_id in ids[: ADDED // 2]))
    tower.kill_jobd()
    return before, list(trace.calls())


def is_acknowledgement(call: Call) -> bool:
    """Whether a call is jobctl printing an id: jobd prints nothing to its stdout."""
    return call.what == "p" and call.data.strip().isdigit()


def test_what_jobctl_printed_survives_a_power_cut_at_any_moment(tower, tmp_path):
    before, calls = busy_tower(tower, tmp_path)
    dice = random.Random(SEED)
    printed = [n for n, call in enumerate(calls, 1) if is_acknowledgement(call)]
    assert len(printed) == ADDED
    moments = sorted({*printed, len(calls), *(dice.randint(1, len(calls)) for _ in range(CUTS))})
    disk, promised, lost = Disk(before), 0, 0
    for n, call in enumerate(calls, 1):
        disk.take(call)
        promised += is_acknowledgement(call)
        lost += bool(call.what == "w" and disk.on_the_way["queue.db-wal"])
        if n in moments:
            home = tmp_path / f"after {n}"
            disk.lose_power(home, dice)
            with closing(database.connect(home / "queue.db")) as db:
                assert db.execute("pragma integrity_check").fetchone()[0] == "ok"
                ids = [row["id"] for row in db.execute("select id from job order by id")]
                assert ids[:promised] == list(range(1, promised + 1)), f"call {n} of {len(calls)}"
    assert lost > ADDED, "nothing was ever on its way: there was nothing to lose"


def test_the_test_itself_sees_a_promise_that_is_not_kept(tower, tmp_path):
    """Had nobody synced, ids would be gone: the record of the same calls without its syncs loses them."""
    before, calls = busy_tower(tower, tmp_path)
    disk, dice = Disk(before), random.Random(SEED)
    for call in calls:
        if call.name == "(folder)" or call.what not in "Ss":
            disk.take(call)
    for cut in range(20):
        disk.lose_power(tmp_path / f"cut {cut}", dice)
        try:
            with closing(database.connect(tmp_path / f"cut {cut}" / "queue.db")) as db:
                if db.execute("select count(*) from job").fetchone()[0] < ADDED:
                    return
        except Exception:  # noqa: BLE001 (torn in a way that can't even be opened: seen as well)
            return
    raise AssertionError("twenty power cuts without any sync lost nothing: this test can't see a loss")


def test_a_job_under_which_the_machine_goes_down_three_times_is_held_and_the_others_go_on(tower, tmp_path):
    """Nothing is switched off: everybody is killed, and the next boot has another id."""
    job, other = tower.sh("sleep 600"), tower.sh("true")
    for boot in range(4):
        (tmp_path / f"boot {boot}").write_text(f"boot {boot}\n")
        tower.start(env=with_disk({"LD_PRELOAD": str(library()), "DISK_BOOT": str(tmp_path / f"boot {boot}")}))
        if boot < 3:
            until(lambda: tower.job(job).attempt == boot + 1 and tower.job(job).state == "running", "by itself")  # noqa: B023
            tower.kill_jobd()
            for process in tree.marked(f"{tower.home_id}:"):
                process.kill(signal.SIGKILL)
            assert meta.read(tower.db, "boot_id") == f"boot {boot}"
    tower.until(other, "succeeded")
    held = tower.job(job)
    assert (held.state, held.losses, held.attempt, held.failures) == ("paused", 3, 3, 0)
    assert "the machine went down 3 times under this job without progress" in held.note
    tower.ctl("resume", job)
    tower.until(job, "running")
