"""The child: `python -m jobs`. Stands by without the GPU, waits for go, works; its exit code says how it went."""

import fcntl
import importlib
import json
import os
import selectors
import signal
import sys
import threading
import time
from typing import Any

import jobs.kind
from datagen.files import write_json
from jobs.contract import (
    EXIT_BAD_ARGS,
    EXIT_DONE,
    EXIT_OUT_OF_MEMORY,
    EXIT_UNFINISHED,
    REPORT_FD,
    BadArgs,
    OutOfGpuMemory,
    Run,
    Ticket,
    Unfinished,
)

LANE_WAIT_S = 10.0  # the lane should be free at go; a lock that is being let go of gets this long


class Supervisor:
    """The other end of our stdin. Its closing means: save and leave."""

    def __init__(self) -> None:
        self.gone = False
        self._buffer = b""

    def next_line(self) -> bytes | None:
        """The next line, waiting for it; None when the supervisor is gone."""
        while b"\n" not in self._buffer:
            piece = os.read(0, 1 << 16)
            if not piece:
                self.gone = True
                return None
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def watch(self, run: Run) -> None:
        """From now on, notice in the background when it goes."""

        def wait() -> None:
            with selectors.DefaultSelector() as selector:
                selector.register(0, selectors.EVENT_READ)
                while True:
                    selector.select()
                    if not os.read(0, 1 << 16):
                        self.gone = run.stop_requested = True
                        return

        threading.Thread(target=wait, name="supervisor-watch", daemon=True).start()


def main() -> int:
    supervisor = Supervisor()
    line = supervisor.next_line()
    if line is None:
        return EXIT_UNFINISHED
    ticket = Ticket.from_line(line)
    reports = int(os.environ[REPORT_FD]) if REPORT_FD in os.environ else None
    if reports is not None:
        os.set_inheritable(reports, False)  # a helper process must not keep the pipe open
    run = Run(ticket, reports)

    def leave(*_: object) -> None:
        run.stop_requested = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor; it tells us
    code = attempt(ticket, run, supervisor)
    if supervisor.gone:  # nobody reads our exit code: the next supervisor finds it here
        outcome = {"attempt": ticket.attempt, "exit": code, "submitted": run.submitted}
        write_json(run.workdir / "outcome.json", outcome)
    return code


def attempt(ticket: Ticket, run: Run, supervisor: Supervisor) -> int:
    """Stand by, wait for go, work. The exit code."""
    try:
        kind = jobs.kind.load(ticket.kind)
        args = jobs.kind.parse(ticket.kind, ticket.args)
        for module in getattr(kind, "WARM", ()):
            importlib.import_module(module)
        prepared = kind.prepare(args, run) if hasattr(kind, "prepare") else None
        run._send("ready")
        line = supervisor.next_line()
        if line is None or run.stop_requested:
            return EXIT_UNFINISHED
        run.take(json.loads(line)["go"])
        supervisor.watch(run)
        lock = hold_lane(ticket.lane_lock)
        kind.run(args, run, prepared)
        del lock
        return EXIT_DONE
    except Unfinished:
        return EXIT_UNFINISHED
    except BadArgs as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_ARGS
    except OutOfGpuMemory as error:
        print(error, file=sys.stderr)
        return EXIT_OUT_OF_MEMORY
    finally:
        run.flush()


def hold_lane(path: str | None) -> Any:
    """The lane's lock, held until this process and all it forks are gone. Unfinished when somebody else holds it."""
    if path is None:
        return None
    os.makedirs(os.path.dirname(path), exist_ok=True)
    lock = open(path, "a")  # noqa: SIM115 (it stays open as long as we live)
    os.set_inheritable(lock.fileno(), True)
    deadline = time.monotonic() + LANE_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                print(f"{path} is held by a process of an earlier attempt: not two on one GPU", file=sys.stderr)
                raise Unfinished from None
            time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
