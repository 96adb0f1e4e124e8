"""jobctl and jobd as a user meets them: commands, logs, waiting, files that are not what they should be, full disks."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tower import CHECKOUT, Tower, until

from supervisor import db as database
from supervisor import queue
from supervisor.home import Home
from supervisor.job import NewJob


def jobctl(tower: Tower, *words: object) -> "subprocess.Popen[str]":
    """jobctl as a process of its own, its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


# ── with jobd down ────────────────────────────────────────────────────────────────────────────────────────────────


def test_jobs_added_while_nobody_serves_run_when_somebody_does(tower):
    code, out, _ = end(jobctl(tower, "add", "command", "--", "true"))
    assert code == 0
    job = int(out)
    assert tower.shown(job)["waiting_for"] == "jobd, which does not run"
    tower.serve()
    assert tower.job(job).state == "succeeded"


def test_jobd_until_empty_leaves_when_nothing_can_run_any_more(tower):
    bad = tower.sh("exit 64")
    waits = tower.sh("true", "--after", bad)
    paused = tower.sh("true")
    tower.ctl("pause", paused)
    tower.serve()
    assert [tower.job(i).state for i in (bad, waits, paused)] == ["failed", "queued", "paused"]


def test_every_acknowledged_job_survives_the_kill_of_jobd_in_the_same_moment(tower):
    tower.start()
    tower.until(tower.sh("sleep 0.01"), "succeeded")
    blocker = tower.sh("sleep 600", "--priority", 9)
    tower.until(blocker, "running")
    ids = [tower.sh("true") for _ in range(10)]
    tower.kill_jobd()
    tower.ctl("cancel", blocker)
    tower.start("--until-empty").wait(60)
    assert [tower.job(i).state for i in ids] == ["succeeded"] * 10


def test_a_terminal_that_can_not_show_a_letter_gets_a_question_mark(tower):
    tower.sh("true", "--name", "Жук")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), "list"]
    said = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    assert "1   queued  command  ???" in said.stdout


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wait_tells_by_its_exit_how_the_jobs_ended(tower):
    good, bad = tower.sh("sleep 0.3"), tower.sh("echo no luck; exit 64")
    waits_for_good, waits_for_both = jobctl(tower, "wait", good), jobctl(tower, "wait", good, bad)
    tower.start()
    assert end(waits_for_good) == (0, "", "")
    code, _, said = end(waits_for_both)
    assert (code, said) == (1, f"jobctl: job {bad} failed: no luck\n")


def test_wait_gives_up_when_told_so(tower):
    job = tower.sh("true")
    began = time.monotonic()
    code, _, said = end(jobctl(tower, "wait", job, "--timeout", 0.2))
    assert (code, said) == (1, f"jobctl: not over after 0.2 s: {job} (queued)\n")
    assert time.monotonic() - began < 10


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_keeps_all_attempts_with_a_mark_between_them(tower):
    count = tower.path / "count"
    job = tower.sh(f"echo x >> {count}; echo run $(wc -l < {count}); [ $(wc -l < {count}) -ge 3 ] || exit 75")
    tower.serve()
    lines = tower.log(job).splitlines()
    assert [line.split(" · ")[0] for line in lines] == [
        "── attempt 1", "run 1", "── attempt 2", "run 2", "── attempt 3", "run 3",
    ]  # fmt: skip
    assert tower.ctl("logs", job, "--attempt", 2).splitlines()[1:] == ["run 2"]
    assert tower.ctl("logs", job, "-n", 1) == "run 3\n"
    assert "holds nothing of an attempt 4" in tower.ctl("logs", job, "--attempt", 4, code=1)


def test_logs_of_nobody_are_refused_with_a_sentence(tower):
    assert "nothing runs now" in tower.ctl("logs", code=1)
    assert "there is no job 7" in tower.ctl("logs", 7, code=1)


def test_what_a_job_prints_cannot_steer_the_terminal(tower):
    job = tower.python(r"print('\x1b[2J\x1b]0;owned\x07\x9b31m' + '10%\r20%\r' + '\u202e tail')")
    tower.serve()
    shown = tower.ctl("logs", job)
    assert all(c.isprintable() or c in "\n\t\N{REPLACEMENT CHARACTER}" for c in shown)
    assert "10%\n20%\n" in shown


def test_a_name_or_an_error_cannot_steer_the_terminal_either(tower):
    job = tower.sh(r"printf '\033[31mred\n'; exit 64", "--name", "n\x1b[2J\nforged line")
    tower.serve()
    for words in (["list"], ["show", job], ["status"]):
        said = tower.ctl(*words)
        assert "\x1b" not in said
        assert "\nforged" not in said


def read_until(process: "subprocess.Popen[str]", wanted: str) -> str:
    """What a process prints until a line holds `wanted`."""
    assert process.stdout is not None
    said = ""
    while wanted not in said:
        line = process.stdout.readline()
        assert line, f"it ended without {wanted!r}: {said}"
        said += line
    return said


def test_logs_f_follows_what_runs_and_then_whatever_comes_next_however_short(tower):
    gate = tower.path / "gate"
    first = tower.sh(f"echo first begins; until [ -e {gate} ]; do sleep 0.01; done; echo first ends")
    ids = [tower.sh(f"echo this is {n}") for n in range(5)]
    tower.start()
    tower.until(first, "running")
    follows = jobctl(tower, "logs", "-f")
    read_until(follows, "first begins")
    gate.touch()
    said = read_until(follows, "this is 4")
    follows.send_signal(signal.SIGINT)
    assert end(follows)[0] in (0, 130)
    assert said.index("first ends") < said.index("this is 0")
    for n, job in enumerate(ids):
        assert said.count(f"this is {n}") == 1
        assert f"━━ job {job} " in said


def test_logs_f_of_one_job_goes_on_over_its_attempts_and_ends_with_it(tower):
    count = tower.path / "count"
    job = tower.sh(
        f"echo x >> {count}; echo run $(wc -l < {count}); sleep 0.3; [ $(wc -l < {count}) -ge 3 ] || exit 75"
    )
    tower.start()
    until(lambda: count.exists())
    code, said, _ = end(jobctl(tower, "logs", job, "-f"))
    assert code == 0
    assert [line for line in said.splitlines() if line.startswith("run")] == ["run 1", "run 2", "run 3"]


def test_logs_into_a_pipe_that_closes_are_no_error(tower):
    job = tower.sh("seq 100000")
    tower.serve()
    words = f"{sys.executable} -P -m supervisor.jobctl -C {tower.path} logs {job} -n 100000 | head -1"
    done = subprocess.run(["/bin/sh", "-c", words], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_short_answer_into_a_pipe_that_is_closed_is_no_error_either(tower):
    tower.add("sleep")
    words = f"{sys.executable} -P -m supervisor.jobctl -C {tower.path} list"
    reading, writing = os.pipe()
    os.close(reading)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(words.split(), stdout=writing, stderr=subprocess.PIPE, text=True, env=env, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_answer_that_cannot_be_written_is_said_in_a_sentence(tower, unbuffered):
    words = f"{sys.executable} -P -m supervisor.jobctl -C {tower.path} add sleep"
    reading, writing = os.pipe()
    os.close(writing)
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(words.split(), stdout=reading, stderr=subprocess.PIPE, text=True, env=env, check=False)
    os.close(reading)
    assert done.returncode == 1
    assert re.fullmatch(
        r"jobctl: what it has to say can't be written: .*\. What it was told may be done.*\n", done.stderr
    )
    assert tower.job(1).state == "queued"


# ── a queue that is not what it should be ─────────────────────────────────────────────────────────────────────────


def bare_tower(path: Path) -> Tower:
    """A tower without a queue.db."""
    tower = Tower.__new__(Tower)
    tower.path, tower.home, tower.jobd = path, Home(path), None
    return tower


def refused_by_both(tower: Tower, sentence: str) -> None:
    """jobctl and jobd both refuse, with exit 1 and a sentence, no traceback, and leave every byte as it was."""
    before = tower.home.queue_db.read_bytes()
    assert sentence in tower.ctl("list", code=1)
    assert sentence in tower.ctl("add", "sleep", code=1)
    assert tower.start().wait(20) == 1
    assert sentence in tower.said
    assert "Traceback" not in tower.said
    assert tower.home.queue_db.read_bytes() == before


def test_a_queue_of_a_newer_version_is_refused_and_left_as_it_is(tower):
    tower.sh("true")
    tower.db.execute(f"pragma user_version = {database.VERSION + 1}")
    tower.db.execute("pragma wal_checkpoint(truncate)")
    refused_by_both(tower, f"made by a newer Neverrest (version {database.VERSION + 1}; this one knows")


def test_a_newer_queue_whose_journal_was_left_by_a_crash_is_refused_and_left_as_it_is(tower):
    tower.sh("true")
    tower.db.execute(f"pragma user_version = {database.VERSION + 1}")  # in the journal, the connection still open
    wal = tower.home.queue_db.with_name("queue.db-wal")
    before = wal.read_bytes()
    refused_by_both(tower, "made by a newer Neverrest")
    assert wal.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database " * 500, b"SQLite format 3\0" + b"\xff" * 5000], ids=["text", "head"]
)
def test_a_queue_that_is_garbage_is_refused_and_left_as_it_is(tmp_path, content):
    tower = bare_tower(tmp_path)
    tower.home.queue_db.write_bytes(content)
    refused_by_both(tower, "can't be read as a database")


@pytest.mark.parametrize("foreign", [True, False], ids=["another program's", "empty file"])
def test_a_database_that_is_no_queue_is_refused_and_left_as_it_is(tmp_path, foreign):
    tower = bare_tower(tmp_path)
    if foreign:
        other = sqlite3.connect(tower.home.queue_db)
        other.execute("create table recipes (cake text)")
        other.close()
    else:
        tower.home.queue_db.touch()
    refused_by_both(tower, "is no queue of Neverrest's")


def test_settings_that_are_wrong_are_named_before_anything_starts(tower):
    tower.set(grace_s="long")
    assert tower.start().wait(20) == 1
    assert "grace_s = 'long', but it takes something like 60.0" in tower.said


# ── a full disk ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_queue_that_may_not_grow_refuses_an_add_and_keeps_what_it_has(tower):
    ids = [tower.sh("true") for _ in range(3)]
    pages = tower.db.execute("pragma page_count").fetchone()[0]
    full = tower.home.connect()
    full.execute(f"pragma max_page_count = {pages + 4}")
    with pytest.raises(sqlite3.OperationalError, match="full"):  # noqa: PT012
        while True:
            ids.append(queue.add(full, NewJob("sleep", {"note": "x" * 3000}, "cpu"), now=time.time()))
    full.close()
    assert [row["id"] for row in tower.db.execute("select id from job")] == ids
    assert tower.db.execute("pragma integrity_check").fetchone()[0] == "ok"


IN_A_ROOM = """
import os, signal, sys, time, subprocess
home = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", home], check=True)
sys.path[:0] = sys.argv[2:4]
from pathlib import Path
from tower import Tower, until
from supervisor import queue
from supervisor.home import Home

tower = Tower(Path(home))
tower.set(disk_floor_mib=0)  # the guard would not let it come so far
try:
    tower.start()
    tower.until(tower.sh("true"), "succeeded")
    runs = tower.sh("exec sleep 600")
    tower.until(runs, "running")
    acknowledged = [tower.sh("true") for _ in range(3)]
    with open(tower.path / "ballast", "wb", buffering=0) as ballast:  # now the disk is full
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            pass
        try:
            while True:
                ballast.write(b"0")
        except OSError:
            pass
    refused, size = [], 1 << 16  # the queue has a megabyte of room of its own: long ones first, then what still fits
    for _ in range(200):
        before = tower.db.execute("select count(*) as n from job").fetchone()["n"]
        out = subprocess.run([sys.executable, "-P", "-m", "supervisor.jobctl", "-C", home, "add", "command", "--",
                              "true", "x" * size], capture_output=True, text=True)
        if out.returncode == 0:
            acknowledged.append(int(out.stdout))
        else:
            assert out.returncode == 1, out
            assert "Traceback" not in out.stderr, out.stderr
            assert tower.db.execute("select count(*) as n from job").fetchone()["n"] == before
            refused.append(out.stderr.strip())
            size //= 8
            if len(refused) >= 8:
                break
    assert refused, "the disk never became full"
    print("REFUSED", refused[0])
    # the running job ends while there is no room to write that down
    pid = int(tower.log(runs).split("pid ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "jobd has seen its end")
    time.sleep(2.5)
    assert tower.jobd.poll() is None, "jobd died of a full disk"
    print("STILL", tower.job(runs).state)
    os.unlink(tower.path / "ballast")
    for job in acknowledged:
        tower.until(job, "succeeded", 60)
    until(lambda: tower.job(runs).failures == 1 or tower.job(runs).attempt > 1)
    assert tower.jobd.poll() is None
    assert tower.db.execute("pragma integrity_check").fetchone()[0] == "ok"
    print("ALL", len(acknowledged))
finally:
    tower.sweep()
"""


def test_on_a_full_disk_nothing_acknowledged_is_lost_and_jobd_goes_on_when_there_is_room(tmp_path):
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a full disk of our own needs a mount namespace: run as root, with util-linux")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("the kernel gives no mount namespace here: run where unshare -m works")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", IN_A_ROOM, str(tmp_path), str(CHECKOUT / "tests"), str(CHECKOUT)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert "Is the disk full?" in said["REFUSED"] or "disk has room" in said["REFUSED"]
    assert said["STILL"] == "running"  # so the end could not be written, and yet it is not lost
    assert int(said["ALL"]) >= 3


def test_starting_up(tmp_path: Path):
    """No home yet: a sentence. `init`: a home. Then everything works from its folder, without -C."""
    run = [sys.executable, "-P", "-m", "supervisor.jobctl"]
    env = {key: value for key, value in os.environ.items() if key != "NEVERREST_HOME"}

    def tell(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*run, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    lost = tell("list")
    assert (lost.returncode, lost.stdout) == (1, "")
    assert f"no home: {tmp_path} holds no queue.db" in lost.stderr
    assert tell("init").stdout == f"{tmp_path}\n"
    assert json.loads(tell("--json", "init").stdout) == {"home": str(tmp_path)}
    assert tell("add", "sleep").stdout == "1\n"
    assert (tmp_path / "queue.db").stat().st_mode & 0o777 == 0o600  # it holds environments
    assert tell("list", "--state", "queued").returncode == 0


# ── very many, and the past ───────────────────────────────────────────────────────────────────────────────────────


def test_killed_while_it_adds_very_many_the_queue_has_all_of_them_or_none(tower, tmp_path):
    many = 20_000
    path = tmp_path / "jobs.jsonl"
    path.write_text("".join(f'{{"kind": "sleep", "name": "nap-{number}"}}\n' for number in range(many)))
    command = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(tower.path), "add", "--from", str(path)]
    wal, counts = tower.path / "queue.db-wal", []
    for _ in range(3):
        adding, before = subprocess.Popen(command, stdout=subprocess.DEVNULL), wal.stat().st_size
        until(lambda at=before, it=adding: it.poll() is not None or wal.stat().st_size > at + (1 << 20), "it writes")
        adding.kill()
        adding.wait()
        counts.append(tower.db.execute("select count(*) from job").fetchone()[0])
    assert all(count % many == 0 for count in counts)
    assert counts[0] == 0  # it was killed in the midst of its one transaction, once at least
    assert tower.db.execute("pragma integrity_check").fetchone()[0] == "ok"


def test_list_says_when_the_next_ones_start_and_end(tower):
    tower.start()
    nap = ("--name", "nap")
    tower.until(tower.add("sleep", *nap, seconds=0.5), "succeeded")
    runs, waits = tower.add("sleep", *nap, seconds=600), tower.add("sleep", *nap, seconds=600)
    until(lambda: tower.shown(runs)["eta_at"], "it has a pace")
    soon = tower.shown(waits)["expected"]
    assert soon["before"] == 0
    assert soon["starts_at"] == pytest.approx(tower.shown(runs)["eta_at"], abs=60)
    assert soon["ends_at"] > soon["starts_at"]
    assert " to ~" in tower.ctl("list")
    tower.ctl("cancel", "--name", "nap", "--state", "queued,running")
    tower.until(runs, "cancelled")
