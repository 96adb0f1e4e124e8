"""jobctl: the queue from the command line. It writes to queue.db and rings jobd's bell; with jobd down nothing is lost.

Exit 0: done. 1: refused, with a sentence that helps. 2: wrong usage. The commands are in supervisor/commands/.
"""

import argparse
import io
import os
import re
import sqlite3
import sys

from supervisor.commands import adding, changing, editing, fitting, house, idle, kinds, looking, now, shell, standing
from supervisor.commands.words import Act, everywhere
from supervisor.errors import Refused

TAKES_AWAY = re.compile(r"-(?!h$|C$)\w[\w.:/-]*")  # `jobctl tag 12 -bad`
WITH_PROGRAM = ("add", "evergreen", "schedule")


def main(argv: list[str] | None = None) -> int:
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
        from supervisor.screen import completion

        completion.answer(parser())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that can't show a letter gets a question mark
    given = sys.argv[1:] if argv is None else argv
    program: list[str] | None = None
    if "--" in given:  # what follows is a command's own argv: argparse must not read it
        cut = given.index("--")
        given, program = given[:cut], given[cut + 1 :]
    cut = _command_at(given)
    if given[cut : cut + 1] == ["tag"]:  # behind it -bad takes a tag away: argparse must not read it as an option
        given = given[:cut] + [" " + word if TAKES_AWAY.fullmatch(word) else word for word in given[cut:]]
    told = parser().parse_args(given)
    told.program = program
    told.said = list(sys.argv[1:] if argv is None else argv)
    if program is not None and told.command not in WITH_PROGRAM:
        parser().error("only `jobctl add command -- PROGRAM ...`, evergreen and schedule take a --")
    if told.command == "add" and told.kind is None and told.lines is None:
        parser().error("add takes a kind, as in `jobctl add sleep`, or --from FILE")
    from jobs.contract import BadArgs

    try:
        code = int(told.act(told) or 0)
        sys.stdout.flush()  # here, where what goes wrong with it is said
        return code
    except (Refused, BadArgs) as refusal:
        print(f"jobctl: {refusal}", file=sys.stderr)
    except sqlite3.OperationalError as error:
        busy = "locked" in str(error)
        what = "Somebody has been writing to it for long: try again" if busy else "Is the disk full?"
        print(f"jobctl: the queue can't be written ({error}): nothing was changed. {what}", file=sys.stderr)
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # a law of the schema broken: our mistake
            raise
        print(f"jobctl: the queue is damaged ({error}): restart jobd, it goes on from a backup", file=sys.stderr)
    except OverflowError as error:
        print(f"jobctl: one of the numbers is too large ({error}): nothing was changed", file=sys.stderr)
    except UnicodeEncodeError as error:
        print(f"jobctl: it takes text in UTF-8, not {error.object!a:.80}: nothing was changed", file=sys.stderr)
    except BrokenPipeError:  # `jobctl logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be said would fail again at our end
        where = error.filename if error.filename is not None else "what it has to say can't be written"
        print(f"jobctl: {where}: {error.strerror}. What it was told may be done: look first", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _command_at(given: list[str]) -> int:
    """Where the command stands: behind the options that may come before it."""
    at = 0
    while at < len(given) and given[at].startswith("-"):
        at += 2 if given[at] in ("-C", "--home") else 1
    return at


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="jobctl", description="The queue that never lets the GPU rest.", parents=[everywhere()]
    )
    top.set_defaults(home=None, json=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, act: Act, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[everywhere()])
        one.set_defaults(act=act)
        return one

    for group in (adding, kinds, standing, looking, now, idle, changing, editing, fitting, house, shell):
        group.register(command)
    return top


if __name__ == "__main__":
    sys.exit(main())
