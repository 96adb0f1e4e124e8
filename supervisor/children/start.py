"""How a child is started: `python -m jobs`, which stands by for its `go`, or a program, at work at once or held."""

import functools
import os
import signal
import sys
import time
from pathlib import Path

import jobs.kind
from jobs.contract import EXIT_UNFINISHED, MARK, REPORT_FD, Ticket
from supervisor import notify
from supervisor.children import cgroup, held, tree
from supervisor.children.child import Child, Phase, attempt_mark
from supervisor.children.lock import open_lock, take_lock
from supervisor.children.spawn import Leader, spawn
from supervisor.home import Home
from supervisor.job import Job


def start(job: Job, home: Home, home_id: str, cgroups: cgroup.Cgroups, *, ahead: bool = False) -> Child:
    """A child for a job. A kind's child stands by; a program is at work at once, and its lane must be free.

    ahead: it is not its turn yet: a program is loaded and held. job.attempt is the attempt it will be.
    Raises BadArgs, LaneHeld, and OSError when it can't be started at all or, ahead, when it can't be held.
    """
    workdir = home.workdir(job.id)
    workdir.mkdir(parents=True, exist_ok=True)
    lock = home.lane_lock(job.lane) if job.lane == "gpu" else None
    ticket = Ticket(job.id, job.attempt, job.kind, job.args, str(home.path), str(workdir), str(lock) if lock else None)
    mark = f"{home_id}:{job.id}:{job.attempt}"
    program = _program(job)
    line = ticket.to_line() if program is None else b""
    # a standby that was dropped had a cgroup of the same attempt: hence the time
    group = cgroups.make(f"neverrest-{home_id}-{job.id}-{job.attempt}-{time.monotonic_ns()}")
    reports, report_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.set_blocking(report_end, True)
    kept: dict[str, int] = {}  # descriptors for its `go`
    try:
        kept["log"] = os.open(home.log(job.id), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        if program is not None and lock is not None:
            kept["lock"] = open_lock(lock) if ahead else take_lock(lock)
        env = dict(os.environ if program is None else program.env)
        env |= {MARK: mark, REPORT_FD: str(report_end), "NEVERREST_WORKDIR": str(workdir)}
        given = [report_end, *([kept["lock"]] if "lock" in kept else [])]
        process = _begin(job, program, env, home, kept["log"], given, group, ahead)
    except BaseException:
        for descriptor in (reports, *kept.values()):
            os.close(descriptor)
        if group is not None:
            cgroup.remove(group)
        raise
    finally:
        os.close(report_end)
    child = Child(
        job, ticket, mark, process, reports, program is not None, group, log=kept["log"], lock=kept.get("lock")
    )
    if program is None:
        child.tell(line)
    elif not ahead:
        child.phase = Phase.RUNNING
        child.forget()  # its tree holds the lock now
    return child


def _begin(
    job: Job, program: "jobs.kind.Program | None", env: dict[str, str], home: Home, log: int, given: list[int],
    group: Path | None, ahead: bool,
) -> Leader:  # fmt: skip
    """The process of a child. given: the descriptors that it inherits."""
    if program is None:
        env.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a waiting thread sleeps: spinning took the browser's core
    with held.patience():
        leader = spawn(
            program.argv if program else [sys.executable, "-P", "-u", "-m", "jobs"],
            cwd=program.cwd if program else home.path,
            env=env,
            output=log,
            given=given,
            group=group,
            has_stdin=program is None,
            before_exec=functools.partial(
                _before_exec, os.getpid() if program else None, None if ahead else job.attempt
            ),
        )
    if program is not None and ahead:
        held.hold(leader)
    return leader


def _program(job: Job) -> "jobs.kind.Program | None":
    argv = getattr(jobs.kind.load(job.kind), "argv", None)
    if argv is None:
        return None
    program: jobs.kind.Program = argv(jobs.kind.parse(job.kind, job.args))
    return program


def _before_exec(supervisor_pid: int | None, attempt: int | None) -> None:
    """In the child, before exec. A program hears of the supervisor's death this way, and its log is marked before it
    can print; one that is started ahead (attempt is None) stops after exec instead."""
    if supervisor_pid is not None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until exec the supervisor's own handler would swallow it
        if not notify.is_service():  # systemd tells them all; a second SIGTERM would end what the first one started
            tree.die_with_parent(signal.SIGTERM)
        if os.getppid() != supervisor_pid:  # it died before we asked to be told
            os._exit(EXIT_UNFINISHED)
        if attempt is None:
            held.ask()
            return
        try:
            os.write(1, attempt_mark(attempt, os.getpid()))
        except OSError:
            pass  # a full disk must not stop the job that may free it
