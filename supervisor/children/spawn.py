"""A process of ours, from fork to exec: born in its cgroup, and with nothing of ours but what it is given.

subprocess can't do the first; what it does beside is done here in its order.
"""

import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from supervisor.children.cgroup import fork_into

LAST_DESCRIPTOR = 2**31 - 1


@dataclass
class Leader:
    """The first process of a child's tree. stdin: our end of its pipe. returncode: as subprocess has it."""

    pid: int
    stdin: BinaryIO | None = None
    returncode: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet: the pid is its own

    def wait(self) -> None:
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)


def spawn(
    argv: Sequence[str], *, cwd: str | Path, env: Mapping[str, str], output: int, given: Sequence[int],
    group: Path | None, has_stdin: bool, before_exec: Callable[[], None],
) -> Leader:  # fmt: skip
    """A program, in a session of its own. It has `output` for stdout and stderr, and the descriptors in `given`.

    has_stdin: it reads what we write; else there is nothing to read. before_exec: what the child does last before it
    is the program. Raises OSError when it can't be started.
    """
    news, told = os.pipe2(os.O_CLOEXEC)  # the exec closes it, or the child says in it what is wrong
    theirs, ours = os.pipe2(os.O_CLOEXEC) if has_stdin else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None)
    try:
        pid = fork_into(group)
        if pid == 0:
            _become(argv, cwd, env, (theirs, output, output), given, before_exec, told)
    except BaseException:
        for descriptor in (news, ours):
            if descriptor is not None:
                os.close(descriptor)
        raise
    finally:
        os.close(told)
        os.close(theirs)
    leader = Leader(pid, None if ours is None else os.fdopen(ours, "wb"))
    with os.fdopen(news, "rb") as file:
        wrong = file.read()
    if wrong:
        leader.wait()
        if leader.stdin is not None:
            leader.stdin.close()
        number, _, what = wrong.decode(errors="replace").partition(" ")
        raise OSError(int(number), os.strerror(int(number)), what)
    return leader


def _become(
    argv: Sequence[str], cwd: str | Path, env: Mapping[str, str], standard: tuple[int, int, int], given: Sequence[int],
    before_exec: Callable[[], None], told: int,
) -> NoReturn:  # fmt: skip
    """In the child: the program, or what is wrong, through `told`. Nothing of ours may run on."""
    what = str(cwd)
    try:
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        for descriptor in given:
            os.set_inheritable(descriptor, True)
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and who is executed would go on to
            signal.signal(signum, signal.SIG_DFL)
        os.chdir(cwd)
        what = argv[0]
        os.setsid()
        before_exec()
        _close_all_but(*given, told)
        os.execvpe(argv[0], list(argv), env)
    except (OSError, ValueError) as error:  # ValueError: a word with a zero byte in it
        number = getattr(error, "errno", None) or errno.EINVAL
        os.write(told, f"{number} {what}".encode(errors="replace"))
    finally:
        os._exit(127)


def _close_all_but(*kept: int) -> None:
    """Whatever came to us from who started us, too."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, LAST_DESCRIPTOR)
