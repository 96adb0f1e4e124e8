"""Kill jobd and its children at random moments, again and again: every job ends once, none is lost, no two overlap.

The jobs are their own witness: each takes a lock of the test's (not of Neverrest's) while it works, and says so loudly
when another one holds it. NEVERREST_CHAOS_KILLS and NEVERREST_CHAOS_SEED turn the knobs.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from tower import Tower, until

from supervisor import queue
from supervisor.children import tree
from supervisor.errors import Refused

KILLS = int(os.environ.get("NEVERREST_CHAOS_KILLS", "100"))
SEED = int(os.environ.get("NEVERREST_CHAOS_SEED", "0"))
JOBS = 40
AT_WORK_S = 1.0  # how long a child to be killed is waited for
DEADLINE_S = 120.0 + 2.0 * KILLS

WITNESS = '''
import atexit, fcntl, os

def say(*words):
    with open(os.path.join(FOLDER, "said"), "ab", buffering=0) as file:  # O_APPEND: one write, one line
        file.write((" ".join([*map(str, words), os.environ["NEVERREST_JOB"], str(os.getpid())]) + "\\\\n").encode())

def testify():
    """Hold the witness's lock as long as this process lives."""
    global lock
    lock = os.open(os.path.join(FOLDER, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("OVERLAP")
        raise
    say("start")
    atexit.register(say, "end")
'''

COMMAND = """
import signal, time
if {deaf}:  # it saves for long: whoever starts beside it is seen
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
testify()
time.sleep({seconds})
"""

# For kinds of our own the witness comes in as sitecustomize: when `sleep` first saves its work, it testifies.
SITECUSTOMIZE = """
import sys
if "jobs" in sys.orig_argv:
    def hook(event, args, done=[]):
        if event == "open" and not done and str(args[0]).endswith("slept.tmp"):
            done.append(True)
            testify()
    sys.addaudithook(hook)
"""


def make_witness(tower: Tower) -> tuple[Path, str]:
    folder = tower.path / "witness"
    folder.mkdir()
    code = WITNESS.replace("\\\\n", "\\n").replace("FOLDER", repr(str(folder)))
    (folder / "sitecustomize.py").write_text(code + SITECUSTOMIZE)
    return folder, code


def add_job(tower: Tower, dice: random.Random, code: str, known: list[int]) -> int:
    options: list[object] = ["--max-failures", 1000, "--priority", dice.choice((0, 0, 0, 1, 2))]
    if known and dice.random() < 0.3:
        options += ["--after", dice.choice(known)]
    if dice.random() < 0.35:
        return tower.add("sleep", *options, seconds=round(dice.uniform(0.0, 0.6), 2), tick_s=dice.choice((0.02, 0.6)))
    deaf = dice.random() < 0.5
    script = code + COMMAND.format(deaf=deaf, seconds=round(dice.uniform(0.0, 0.8 if deaf else 0.1), 3))
    return tower.add("command", *options, argv=(sys.executable, "-I", "-S", "-c", script))


def kill_someone(tower: Tower, dice: random.Random, env: dict[str, str]) -> str | None:
    """jobd or one of its children, SIGKILL. Who it was; None when there was nobody."""
    if dice.random() < 0.45:
        tower.kill_jobd()
        if dice.random() < 0.5:
            time.sleep(dice.uniform(0.0, 0.1))  # children find themselves alone
        tower.start(env=env)
        return "jobd"
    give_up = time.monotonic() + AT_WORK_S
    while not (victims := tree.marked(f"{tower.home_id}:")) and time.monotonic() < give_up:
        time.sleep(0.01)  # a jobd that is killed before it has started anybody would be most of the kills
    if not victims:
        return None
    time.sleep(dice.uniform(0.0, 0.1))
    dice.choice(victims).kill(signal.SIGKILL)
    return "child"


def spare_the_wait(tower: Tower, ids: list[int]) -> None:
    """A user who retries what backs off: the test has no hours to spend."""
    for job_id in ids:
        if tower.job(job_id).available_at > time.time():
            try:
                queue.again(tower.db, job_id, now=time.time())
            except Refused:
                pass  # it runs meanwhile
    tower.home.ring()


def serve(tower: Tower, env: dict[str, str]) -> None:
    """Start jobd again if it left by itself, as systemd does: a slow machine may not be through with the one before."""
    if tower.jobd.poll() is not None:
        tower.start(env=env)


def all_over(tower: Tower, ids: list[int], env: dict[str, str]) -> bool:
    serve(tower, env)
    spare_the_wait(tower, ids)
    return all(tower.job(job_id).state in queue.OVER for job_id in ids)


def test_whoever_is_killed_whenever_every_job_ends_once_and_no_two_overlap(tower):
    dice = random.Random(SEED)
    tower.set(standby=True, standby_min_free_mib=0, grace_s=5.0)
    folder, code = make_witness(tower)
    env = dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    ids: list[int] = []
    for _ in range(JOBS):
        ids.append(add_job(tower, dice, code, ids))
    kills: Counter[str] = Counter()
    tower.start(env=env)
    give_up = time.monotonic() + DEADLINE_S
    while kills.total() < KILLS:
        assert time.monotonic() < give_up, f"only {kills} so far"
        time.sleep(dice.uniform(0.0, 0.1))
        if (victim := kill_someone(tower, dice, env)) is not None:
            kills[victim] += 1
        serve(tower, env)
        spare_the_wait(tower, ids)
        if all(tower.job(job_id).state in queue.OVER for job_id in ids):
            ids += [add_job(tower, dice, code, ids) for _ in range(10)]
            tower.home.ring()
    until(lambda: all_over(tower, ids, env), "every job ends", DEADLINE_S)
    assert tower.stop_jobd() == 0
    print(f"{len(ids)} jobs, kills: {dict(kills)}")
    assert min(kills["jobd"], kills["child"]) > KILLS // 5, "most kills struck the same"
    check_queue(tower, ids)
    check_witness(tower, folder, ids)


def check_queue(tower: Tower, ids: list[int]) -> None:
    """Every job that was acknowledged is there, and ended exactly once, in success."""
    assert [row["id"] for row in tower.db.execute("select id from job order by id")] == ids
    assert {tower.job(job_id).state for job_id in ids} == {"succeeded"}
    ends = Counter(
        row["job_id"] for row in tower.db.execute("select job_id from event where what in ('succeeded', 'failed')")
    )
    assert ends == Counter(ids)
    claims = tower.db.execute("select job_id, attempt, count(*) as n from event where what = 'claimed' group by 1, 2")
    assert all(row["n"] == 1 for row in claims)
    assert tower.db.execute("pragma integrity_check").fetchone()[0] == "ok"


def check_witness(tower: Tower, folder: Path, ids: list[int]) -> None:
    """Nobody met another one; who ended says so."""
    lines = [line.split() for line in (folder / "said").read_text().splitlines()]
    assert [line for line in lines if line[0] == "OVERLAP"] == []
    working: str | None = None
    for what, mark, pid in lines:
        if what == "start":
            working = f"{mark} {pid}"  # whoever began before was killed, or has ended
        else:
            assert working == f"{mark} {pid}", f"{mark} ended while {working} was at work"
    ended = {int(mark.split(":")[1]) for what, mark, _ in lines if what == "end"}
    started = {int(mark.split(":")[1]) for what, mark, _ in lines if what == "start"}
    # one that was killed behind its last save finds nothing left to do, and so does one of no seconds
    slept = {i for i in ids if tower.job(i).kind == "sleep" and (i in started or tower.job(i).args.get("seconds") == 0)}
    assert ended | slept == set(ids)
