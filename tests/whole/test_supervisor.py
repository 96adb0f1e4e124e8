"""What jobd does with jobs: real processes, a real queue, real signals."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tower import Tower, bring_kind, until

from jobs.contract import EXIT_BAD_ARGS, EXIT_DONE, EXIT_OUT_OF_MEMORY, EXIT_UNFINISHED
from supervisor import ledger, meta, queue
from supervisor.children import tree


def say(tower: Tower, word: object) -> str:
    """A shell line that adds a word to the tower's `said` file."""
    return f"echo {word} >> {tower.path}/words"


def words(tower: Tower) -> list[str]:
    path = tower.path / "words"
    return path.read_text().split() if path.exists() else []


def slow(tower: Tower, word: object) -> str:
    """A script that says a word when it begins and then would sleep for long."""
    return f"{say(tower, word)}; exec sleep 600"


def gate(tower: Tower) -> tuple[str, Path]:
    """A script that waits until a file is there, and that file."""
    path = tower.path / "gate"
    return f"until [ -e {path} ]; do sleep 0.01; done", path


def slept(tower: Tower, job_id: int) -> float:
    """How much of its work a `sleep` job has saved, in seconds."""
    path = tower.home.workdir(job_id) / "slept.json"
    return json.loads(path.read_text()) if path.exists() else 0.0


def leader(tower: Tower, job_id: int) -> int:
    """The pid of a running job's newest attempt, from its log."""
    marks = [line for line in tower.log(job_id).splitlines() if line.startswith("── attempt ")]
    return int(marks[-1].split("pid ")[1].split()[0])


# ── order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_highest_priority_runs_first_and_equals_run_in_the_order_they_came(tower):
    low, first, second, high = (tower.sh("true", "--priority", p) for p in (-1, 0, 0, 5))
    tower.serve()
    assert tower.order() == [high, first, second, low]


def test_one_job_at_a_time_runs_on_the_gpu_lane(tower):
    busy = f"mkdir {tower.path}/busy && sleep 0.05 && rmdir {tower.path}/busy"
    ids = [tower.sh(busy) for _ in range(5)]
    tower.serve()
    assert [tower.job(i).state for i in ids] == ["succeeded"] * 5


def test_cpu_jobs_run_beside_the_gpu_job_and_beside_each_other(tower):
    tower.set(cpu_slots=2)
    meet = "import os,time,sys\nopen(f'{sys.argv[1]}/met.{sys.argv[2]}','w')\n"
    meet += "while len([n for n in os.listdir(sys.argv[1]) if n.startswith('met.')])<3: time.sleep(.01)"
    argv = (sys.executable, "-c", meet, tower.path)
    ids = [tower.add("command", "--lane", lane, argv=(*argv, n)) for n, lane in enumerate(("gpu", "cpu", "cpu"))]
    tower.serve()
    assert [tower.job(i).state for i in ids] == ["succeeded"] * 3


def test_a_job_waits_for_those_it_comes_after(tower):
    first = tower.sh("sleep 0.1")
    cpu = tower.sh("true", "--lane", "cpu")
    last = tower.sh("true", "--after", f"{first},{cpu}", "--priority", 9)
    tower.serve()
    assert tower.order()[-1] == last
    assert tower.job(last).started_at >= tower.job(first).finished_at


def test_a_job_whose_dependency_failed_waits_and_says_what_helps(tower):
    bad = tower.sh("exit 3", "--max-failures", 1)
    waits = tower.sh("true", "--after", bad)
    tower.serve()
    assert tower.job(bad).state == "failed"
    assert tower.job(waits).state == "queued"
    assert tower.shown(waits)["waiting_for"] == f"job {bad}, which failed: `jobctl retry {bad}`"


def test_a_job_retried_after_its_cause_is_mended_lets_its_dependants_go_on(tower):
    flag = tower.path / "mended"
    bad = tower.sh(f"test -e {flag}", "--max-failures", 1)
    waits = tower.sh("true", "--after", bad)
    tower.serve()
    flag.touch()
    tower.ctl("retry", bad)
    tower.serve()
    assert [tower.job(i).state for i in (bad, waits)] == ["succeeded"] * 2


def test_a_job_is_not_started_before_its_time(tower):
    job = tower.sh("true", "--in", "1s")
    tower.serve()
    assert tower.job(job).started_at >= tower.job(job).created_at + 1


def test_a_job_added_to_an_idle_jobd_starts_at_once(tower):
    tower.start()
    until(lambda: (tower.path / "jobd.bell").exists())
    tower.until(tower.sh("true"), "succeeded")
    waits_s = []
    for _ in range(5):
        job = tower.until(tower.sh("true"), "succeeded")
        waits_s.append(job.started_at - job.created_at)
    assert min(waits_s) < 0.3  # the bell, not the tick of two seconds


# ── leaving: preemption, pause, cancel, drain ─────────────────────────────────────────────────────────────────────


def test_a_higher_priority_takes_the_gpu_and_the_job_before_it_loses_no_work(tower):
    long = tower.add("sleep", seconds=600, tick_s=0.05)
    tower.start()
    until(lambda: slept(tower, long) > 0.2, "the long job is at work")
    urgent = tower.sh(f"cp {tower.home.workdir(long)}/slept.json {tower.path}/before", "--priority", 5)
    tower.until(urgent, "succeeded")
    before = json.loads((tower.path / "before").read_text())
    assert before > 0.2
    until(lambda: slept(tower, long) > before + 0.1, "it goes on where it was")
    job = tower.job(long)
    assert (job.state, job.attempt, job.failures) == ("running", 2, 0)
    assert "a higher priority needs the GPU" in [e["detail"] for e in tower.shown(long)["events"]]
    assert slept(tower, long) < before + 60  # no jump either: it is this very work that goes on


def test_a_job_has_its_minimum_slice_before_it_is_preempted(tower):
    tower.set(min_slice_s=1.0)
    long = tower.add("sleep", seconds=1.5, tick_s=0.05)
    tower.start("--until-empty")
    tower.until(long, "running")
    urgent = tower.sh("true", "--priority", 5)
    tower.until(urgent, "succeeded")
    assert tower.job(urgent).started_at - tower.db.execute(
        "select at from event where job_id = ? and what = 'claimed'", (long,)
    ).fetchone()["at"] >= 1.0  # fmt: skip


def test_a_program_is_not_preempted_unless_its_user_says_that_it_can_go_on(tower):
    first = tower.sh("sleep 0.5")
    tower.start("--until-empty")
    tower.until(first, "running")
    urgent = tower.sh("true", "--priority", 5)
    tower.until(urgent, "succeeded")
    assert tower.job(first).attempt == 1
    assert tower.job(urgent).started_at >= tower.job(first).finished_at


def test_equal_priority_never_preempts(tower):
    long = tower.add("sleep", seconds=0.6, tick_s=0.05)
    tower.start("--until-empty")
    tower.until(long, "running")
    other = tower.sh("true")
    tower.until(other, "succeeded")
    assert tower.job(long).attempt == 1


def test_pause_ends_the_process_and_resume_goes_on_where_it_was(tower):
    job = tower.add("sleep", seconds=600, tick_s=0.05)
    tower.start()
    until(lambda: slept(tower, job) > 0.1)
    pid = leader(tower, job)
    tower.ctl("pause", job)
    assert tower.until(job, "paused").failures == 0
    assert tree.read(pid) is None  # gone, and with it its VRAM
    before = slept(tower, job)
    tower.ctl("edit", job, "--set", f"seconds={before + 0.2}")
    tower.ctl("resume", job)
    tower.until(job, "succeeded")
    assert slept(tower, job) == pytest.approx(before + 0.2, abs=0.06)


def test_pausing_the_queue_frees_the_gpu_and_nothing_starts_until_it_is_resumed(tower):
    job = tower.add("sleep", seconds=600, tick_s=0.05)
    tower.start()
    until(lambda: slept(tower, job) > 0)
    tower.ctl("pause", "--all")
    tower.until(job, "queued")
    other = tower.sh("true", "--priority", 9)
    assert tower.shown(other)["waiting_for"] == "you: the queue is paused, `jobctl resume --all`"
    assert tower.job(other).state == "queued"
    tower.ctl("resume", "--all")
    tower.until(other, "succeeded")
    tower.until(job, "running")


def test_cancel_ends_a_running_job_for_good(tower):
    job = tower.sh(slow(tower, "began"))
    tower.start()
    until(lambda: words(tower))
    pid = leader(tower, job)
    tower.ctl("cancel", job)
    assert tower.until(job, "cancelled").finished_at is not None
    assert tree.read(pid) is None


def test_a_job_deaf_to_sigterm_is_killed_after_its_grace(tower):
    tower.set(grace_s=0.3)
    job = tower.sh(f"trap '' TERM; {say(tower, 'began')}; while :; do sleep 0.05; done")
    tower.start()
    until(lambda: words(tower))
    tower.ctl("cancel", job)
    tower.until(job, "cancelled")
    assert "did not leave within" in tower.said


def test_a_stopped_job_is_woken_to_leave(tower):
    tower.set(grace_s=30.0)
    job = tower.add("sleep", seconds=60)
    tower.start()
    until(lambda: slept(tower, job) > 0)
    os.kill(leader(tower, job), signal.SIGSTOP)
    asked = time.monotonic()
    tower.ctl("pause", job)
    tower.until(job, "paused")
    assert time.monotonic() - asked < 20  # by its own will, not by SIGKILL
    assert "killed" not in tower.said


def test_a_program_told_to_leave_has_its_grace_for_its_whole_tree(tower):
    """The leader is a shell that dies at once; what it runs in the background may still save."""
    save = f"trap '{say(tower, 'saved')}; exit' TERM; {say(tower, 'up')}; while :; do sleep 0.02; done"
    job = tower.sh(f'(trap "" HUP; sh -c "{save}") & wait')
    tower.start()
    until(lambda: words(tower) == ["up"])
    tower.ctl("cancel", job)
    tower.until(job, "cancelled")
    assert words(tower) == ["up", "saved"]


def test_sigterm_lets_the_children_save_and_the_next_jobd_goes_on(tower):
    job = tower.add("sleep", seconds=600, tick_s=0.05)
    tower.start()
    until(lambda: slept(tower, job) > 0.1)
    assert tower.stop_jobd() == 0
    left, before = tower.job(job), slept(tower, job)
    assert (left.state, left.failures) == ("queued", 0)
    tower.ctl("edit", job, "--set", f"seconds={before + 0.2}")
    tower.serve()
    assert tower.job(job).state == "succeeded"
    assert slept(tower, job) == pytest.approx(before + 0.2, abs=0.06)


def test_a_jobd_told_to_leave_claims_nothing_more(tower):
    ids = [tower.sh("sleep 0.2") for _ in range(5)]
    tower.start()
    tower.until(ids[0], "running")
    tower.stop_jobd()
    assert tower.job(ids[-1]).attempt == 0
    assert {tower.job(i).state for i in ids} <= {"queued", "succeeded"}


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_exit_0_is_success(tower):
    job = tower.sh(f"exit {EXIT_DONE}")
    tower.serve()
    assert tower.job(job).state == "succeeded"


def test_exit_64_fails_at_once_however_many_failures_are_allowed(tower):
    job = tower.sh(f"echo the steps are wrong; exit {EXIT_BAD_ARGS}", "--max-failures", 5)
    tower.serve()
    found = tower.job(job)
    assert (found.state, found.attempt, found.error) == ("failed", 1, "the steps are wrong")


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("echo Error: disk on fire; exit 3", "exit code 3: Error: disk on fire"),
        ("exit 3", "exit code 3: it printed nothing"),
        (f"echo 14 GiB wanted; exit {EXIT_OUT_OF_MEMORY}", "out of GPU memory: 14 GiB wanted"),
        ("kill -9 $$", "killed by signal 9 (the kernel kills so when memory is short)"),
        ("kill -6 $$", "killed by signal 6"),
    ],
)
def test_any_other_end_is_blamed_with_its_last_words_and_tried_again_later(tower, end, error):
    job = tower.sh(end, "--max-failures", 2)
    tower.start()
    until(lambda: tower.job(job).failures == 1)
    found = tower.job(job)
    assert (found.state, found.error) == ("queued", error)
    assert queue.BACKOFF_S * 0.5 < found.available_at - time.time() < queue.BACKOFF_S * 1.2
    assert tower.shown(job)["waiting_for"].startswith("another try after failure 1, in ")
    tower.ctl("retry", job)  # spares it the wait, and forgives
    until(lambda: tower.job(job).attempt == 2 and tower.job(job).failures == 1)


def test_failures_spent_fail_the_job(tower):
    job = tower.sh("exit 1", "--max-failures", 1)
    tower.serve()
    assert (tower.job(job).state, tower.job(job).failures) == ("failed", 1)


def test_exit_75_is_blameless_and_runs_again_at_once(tower):
    count = tower.path / "count"
    job = tower.sh(f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ] || exit {EXIT_UNFINISHED}", "--max-failures", 1)
    tower.serve()
    found = tower.job(job)
    assert (found.state, found.attempt, found.failures) == ("succeeded", 3, 0)


def test_a_job_that_leaves_unfinished_for_ever_without_progress_is_stopped(tower):
    job = tower.sh(f"exit {EXIT_UNFINISHED}")
    tower.serve()
    assert tower.job(job).state == "failed"
    assert tower.job(job).attempt == queue.MAX_IDLE_RELEASES


def test_a_kind_whose_file_is_broken_by_its_turn_fails_with_the_reason_and_the_lane_goes_on(
    tower, tmp_path, monkeypatch
):
    source = (
        "from dataclasses import dataclass\nLANE = 'gpu'\n@dataclass(frozen=True)\nclass Args:\n    some: int = 1\n"
    )
    bring_kind(monkeypatch, tmp_path, "mine", source)
    mine, next_one = tower.add("mine"), tower.sh("true")
    (tmp_path / "kinds" / "mine.py").write_text(f"{source}def run(:\n")
    tower.serve()
    assert [tower.job(one).state for one in (mine, next_one)] == ["failed", "succeeded"]
    assert "the kind 'mine' can't be loaded (SyntaxError: invalid syntax (mine.py, line 6))" in tower.job(mine).error


def test_a_program_that_is_gone_by_its_turn_is_blamed_with_the_reason(tower):
    program = tower.path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    job = tower.add("command", "--max-failures", 1, argv=(program,))
    program.unlink()
    tower.serve()
    assert tower.job(job).state == "failed"
    assert "could not be started" in tower.job(job).error
    assert str(program) in tower.job(job).error


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────


def report(*reports: dict) -> str:
    """Python that writes report lines the way any program may."""
    lines = "".join(json.dumps(one) + "\n" for one in reports)
    return f"import os; os.write(int(os.environ['NEVERREST_REPORT_FD']), {lines.encode()!r})"


def test_any_program_may_report_progress_on_the_descriptor_it_is_given(tower):
    job = tower.python(report({"report": "progress", "done": 3, "total": 10, "unit": "epochs", "metrics": {"l": 2.5}}))
    tower.serve()
    assert tower.shown(job)["progress"] == {"done": 3.0, "total": 10.0, "unit": "epochs", "metrics": {"l": 2.5}}


def test_progress_forgives_the_failures_before_it(tower):
    flag = tower.path / "second"
    progress = report({"report": "progress", "done": 1, "total": 2})
    script = f"import sys\nif not os.path.exists({str(flag)!r}): open({str(flag)!r}, 'w'); sys.exit(1)\n"
    job = tower.python(f"import os\n{script}{progress}\nsys.exit(1)", "--max-failures", 3)
    tower.start()
    until(lambda: tower.job(job).failures == 1)
    tower.db.execute("update job set available_at = 0 where id = ?", (job,))  # as if the wait were over
    tower.home.ring()
    until(lambda: tower.job(job).attempt == 2 and tower.job(job).state == "queued")
    assert tower.job(job).failures == 1  # not 2: it came further than ever before


@pytest.mark.parametrize(
    "line",
    [
        '{"report": "progress", "done": NaN, "total": 1}',
        '{"report": "progress", "done": 1, "total": Infinity}',
        f'{{"report": "progress", "done": 1{"0" * 400}, "total": 1}}',
        '{"report": "progress", "done": 1, "total": 1, "metrics": 7}',
        '{"report": "progress"}',
        '{"report": "submit", "kind": "no such kind", "args": {}, "key": "k"}',
        '{"report": "submit", "kind": "sleep", "args": {"seconds": -1}, "key": "k"}',
        '{"report": "submit", "kind": "sleep", "args": {}, "key": "k", "after": ["nobody"]}',
        f'{{"report": "submit", "kind": "sleep", "args": {{}}, "key": "k", "priority_above": 1{"0" * 30}}}',
        '{"report": "submit", "kind": "sleep", "args": {}, "key": "k", "name": [1]}',
    ],
)
def test_a_report_that_cannot_be_taken_is_named_and_harms_nobody(tower, line):
    job = tower.python(f"import os; os.write(int(os.environ['NEVERREST_REPORT_FD']), {line.encode()!r} + b'\\n')")
    tower.serve()
    assert tower.job(job).state == "succeeded"
    assert f"job {job} reported what can't be taken" in tower.said
    assert tower.db.execute("select count(*) as n from job").fetchone()["n"] == 1


@pytest.mark.parametrize(
    "line",
    [
        "not json", "[" * 100_000, '"text"', "{}", '{"report": 7}', '{"report": "unheard of"}', "\\ud800",
        '{"report": "note", "text": "\\ud800"}',
        '{"report": "progress", "done": 1, "total": 2, "unit": "\\ud800", "metrics": {"\\ud800": 1, "s": "x"}}',
    ],
)  # fmt: skip
def test_noise_on_the_report_pipe_harms_nobody(tower, line):
    job = tower.python(f"import os; os.write(int(os.environ['NEVERREST_REPORT_FD']), {line.encode()!r} + b'\\n')")
    tower.serve()
    assert tower.job(job).state == "succeeded"
    tower.shown(job)


def test_a_loss_that_is_not_a_number_any_more_is_shown_as_none(tower):
    first = {"report": "progress", "done": 1, "total": 2, "metrics": {"loss": 2.0}}
    second = {"report": "progress", "done": 2, "total": 2, "metrics": {"loss": float("nan")}}
    job = tower.python(report(first, second))
    tower.serve()
    assert tower.shown(job)["progress"]["metrics"] == {"loss": None}


def test_a_job_submits_follow_ups_once_however_often_it_says_so(tower):
    one = {"report": "submit", "kind": "sleep", "args": {"seconds": 0}, "key": "follow/1", "priority_above": 3}
    job = tower.python(report(one, one, one | {"key": "follow/2", "after": ["follow/1"], "name": "second"}))
    tower.serve()
    rows = [queue.get(tower.db, i) for i in (2, 3)]
    assert [(r.key, r.parent_id, r.priority, r.state) for r in rows] == [
        ("follow/1", job, 3, "succeeded"), ("follow/2", job, 3, "succeeded"),
    ]  # fmt: skip
    assert rows[1].name == "second"
    assert tower.db.execute("select count(*) as n from job").fetchone()["n"] == 3


def test_a_job_that_closes_its_report_pipe_costs_jobd_nothing(tower):
    wait, opened = gate(tower)
    shut = (
        "import os, sys; os.close(int(os.environ['NEVERREST_REPORT_FD'])); os.execvp('sh', ['sh', '-c', sys.argv[1]])"
    )
    tower.add("command", argv=(sys.executable, "-c", shut, f"{say(tower, 'shut')}; {wait}"))
    tower.start("--until-empty")
    until(lambda: words(tower))
    before = cpu_s(tower.jobd.pid)
    time.sleep(1.0)
    spent = cpu_s(tower.jobd.pid) - before
    opened.touch()
    assert tower.jobd.wait(20) == 0
    assert spent < 0.3, f"jobd spent {spent} s of one second: it spins"


def cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_jobd_costs_next_to_nothing(tower):
    tower.start()
    tower.until(tower.sh("true"), "succeeded")
    time.sleep(0.3)
    before = cpu_s(tower.jobd.pid)
    time.sleep(2.5)  # past a tick
    assert cpu_s(tower.jobd.pid) - before <= 0.05
    status = Path(f"/proc/{tower.jobd.pid}/status").read_text()
    rss_kib = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert rss_kib < 60 * 1024


# ── the environment of a program ──────────────────────────────────────────────────────────────────────────────────


def test_a_program_runs_in_the_folder_and_environment_of_the_add(tower, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_TASTE", "sweet; rm -rf $HOME")
    job = tower.add("command", argv=("/bin/sh", "-c", 'echo "$PWD|$A_TASTE|$NEVERREST_WORKDIR|$1"', "sh", "$(id) *"))
    tower.serve()
    assert f"{tmp_path}|sweet; rm -rf $HOME|{tower.home.workdir(job)}|$(id) *" in tower.log(job).splitlines()


# ── standby ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_job_stands_by_while_the_one_before_it_runs(tower):
    tower.set(standby=True, standby_min_free_mib=0)
    wait, opened = gate(tower)
    first = tower.sh(wait)
    second = tower.add("sleep", seconds=0.05)
    tower.start("--until-empty")
    mark = f"{tower.home_id}:{second}:1"
    [standby] = until(lambda: tree.marked(mark), "the next job's child was started")
    assert tower.job(first).state == "running"
    assert tower.job(second).state == "queued"
    opened.touch()
    tower.until(second, "succeeded")
    assert leader(tower, second) == standby.pid


def test_a_standby_makes_room_for_a_job_that_must_go_first(tower):
    tower.set(standby=True, standby_min_free_mib=0)
    wait, opened = gate(tower)
    first, second = tower.sh(wait), tower.add("sleep", seconds=0.05)
    tower.start("--until-empty")
    [standby] = until(lambda: tree.marked(f"{tower.home_id}:{second}:1"))
    third = tower.add("sleep", "--priority", 0, seconds=0.05)
    tower.ctl("priority", third, 7)
    [other] = until(lambda: tree.marked(f"{tower.home_id}:{third}:1"), "the urgent one stands by instead")
    assert tree.read(standby.pid) is None
    opened.touch()
    assert tower.jobd.wait(30) == 0
    assert tower.order() == [first, third, second]
    assert leader(tower, third) == other.pid
    assert tower.job(second).attempt == 1


def test_a_standby_with_old_args_is_not_used(tower):
    tower.set(standby=True, standby_min_free_mib=0)
    wait, opened = gate(tower)
    tower.sh(wait)
    second = tower.add("sleep", seconds=60)
    tower.start("--until-empty")
    until(lambda: tree.marked(f"{tower.home_id}:{second}:1"))
    tower.ctl("edit", second, "--set", "seconds=0.05")
    opened.touch()
    assert tower.jobd.wait(30) == 0
    assert tower.job(second).state == "succeeded"


def test_a_standby_that_dies_costs_the_job_nothing(tower):
    tower.set(standby=True, standby_min_free_mib=0)
    wait, opened = gate(tower)
    tower.sh(wait)
    second = tower.add("sleep", "--max-failures", 1, seconds=0.05)
    tower.start("--until-empty")
    [standby] = until(lambda: tree.marked(f"{tower.home_id}:{second}:1"))
    standby.kill(signal.SIGKILL)
    until(lambda: tree.read(standby.pid) is None)
    opened.touch()
    assert tower.jobd.wait(30) == 0
    found = tower.job(second)
    assert (found.state, found.attempt, found.failures) == ("succeeded", 1, 0)


# ── the supervisor dies ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_goes_on_after_its_supervisor_was_killed(tower):
    job = tower.add("sleep", seconds=600, tick_s=0.05)
    tower.start()
    until(lambda: slept(tower, job) > 0.1)
    pid = leader(tower, job)
    tower.kill_jobd()
    until(lambda: tree.read(pid) is None, "the child saw that its supervisor is gone, saved and left")
    before = slept(tower, job)
    tower.start()
    until(lambda: slept(tower, job) > before + 0.1, "it goes on where it was")
    found = tower.job(job)
    assert (found.state, found.attempt, found.failures) == ("running", 2, 0)


def test_work_finished_while_nobody_supervised_is_not_done_again(tower):
    job = tower.add("sleep", seconds=0.6, tick_s=0.6)  # one tick: it looks up only when it is done
    tower.start()
    until(lambda: tower.home.log(job).exists() and "attempt 1" in tower.log(job))
    until(lambda: tree.holders(tower.home.lane_lock("gpu")), "it is at work")
    tower.kill_jobd()
    tower.serve()
    found = tower.job(job)
    assert (found.state, found.attempt) == ("succeeded", 1)


def test_a_program_hears_of_its_supervisors_death(tower):
    tower.sh(f"trap '{say(tower, 'saved')}; exit 75' TERM; {say(tower, 'up')}; while :; do sleep 0.02; done")
    tower.start()
    until(lambda: words(tower))
    tower.kill_jobd()
    until(lambda: words(tower) == ["up", "saved"])


def test_a_deaf_child_of_a_dead_supervisor_is_killed_before_anything_else_starts(tower):
    tower.set(grace_s=0.5)
    deaf = tower.sh(f"trap '' TERM; {say(tower, 'up')}; [ -e {tower.path}/free ] || while :; do sleep 0.02; done")
    tower.start()
    until(lambda: words(tower))
    pid = leader(tower, deaf)
    tower.kill_jobd()
    next_one = tower.sh(f"readlink /proc/{pid}/exe && {say(tower, 'alive')}; {say(tower, 'next')}", "--priority", 5)
    (tower.path / "free").touch()
    tower.serve()
    assert words(tower) == ["up", "next", "up"]
    assert [tower.job(i).state for i in (deaf, next_one)] == ["succeeded"] * 2


@pytest.mark.parametrize(("wish", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_wish_is_kept_over_the_death_of_the_supervisor(tower, wish, state):
    job = tower.sh(slow(tower, "up"))
    tower.start()
    until(lambda: words(tower))
    tower.kill_jobd()
    tower.ctl(wish, job)
    tower.start()
    tower.until(job, state)


def test_a_reboot_under_a_job_three_times_without_progress_holds_it(tower):
    job = tower.sh(slow(tower, "up"))
    for boot in range(1, 4):
        tower.start()
        until(lambda boot=boot: len(words(tower)) == boot)
        tower.kill_jobd()
        meta.write(tower.db, "boot_id", f"an earlier boot, {boot}")
    tower.start()
    held = tower.until(job, "paused")
    assert held.losses == queue.MAX_LOSSES
    assert f"`jobctl resume {job}` to dare" in tower.shown(job)["waiting_for"]


def test_a_second_jobd_on_one_home_refuses_with_a_sentence(tower):
    tower.start()
    tower.until(tower.sh("true"), "succeeded")
    first = tower.jobd
    assert tower.start().wait(20) == 1
    assert f"another jobd (pid {first.pid}) already serves {tower.path}: one is enough" in tower.said
    tower.jobd = first
    tower.until(tower.sh("true"), "succeeded")


def test_jobctl_looking_at_the_moment_jobd_starts_does_not_keep_it_from_starting(tower):
    import fcntl

    with open(tower.path / "jobd.lock", "a+") as look:
        fcntl.flock(look, fcntl.LOCK_SH)  # as `jobctl list` does for a moment, to see whether jobd serves
        tower.start("--until-empty")
        until(lambda: (tower.path / "jobd.out").exists())
        time.sleep(0.15)  # less than jobd waits
    assert tower.jobd.wait(20) == 0, tower.said


# ── where the time went ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_ledger_tells_work_from_waiting_for_work(tower):
    tower.start()
    tower.until(tower.sh("sleep 0.3"), "succeeded")
    time.sleep(0.6)  # the lane is empty
    tower.until(tower.sh("sleep 0.3"), "succeeded")
    tower.stop_jobd()
    went = {share.what: share.seconds for share in ledger.shares(tower.db, since=0, until=time.time() + 1)}
    assert went["running"] > 0.5
    assert went["empty"] > 0.5
    assert went.get("switching", 0.0) < 0.3  # it had no work: that is no switching
