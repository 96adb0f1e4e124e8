"""What commands share: how their options are read, and how an answer is printed."""

import argparse
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from supervisor.errors import Refused

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Act = Callable[[argparse.Namespace], Any]  # returns the exit code, or None for 0


def everywhere() -> argparse.ArgumentParser:
    """The options that stand before or after the command. New each time: set_defaults would reach into it."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-C", "--home", default=argparse.SUPPRESS, help="the folder with queue.db")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    return common


class Register(Protocol):
    """Adds a command to jobctl; its options go onto the parser that comes back."""

    def __call__(self, name: str, act: Act, text: str) -> argparse.ArgumentParser: ...


def show_json(told: argparse.Namespace, value: Any) -> bool:
    """Print it as JSON when asked so. Whether it was."""
    if told.json:
        text = json.dumps(value, ensure_ascii=False, indent=1)
        try:
            text.encode()
        except UnicodeEncodeError:  # bytes of an environment that are no text: no terminal would take them
            text = json.dumps(value, indent=1)
        print(text)
    return bool(told.json)


def settings(pairs: list[str]) -> dict[str, str]:
    """--set key=value ..., as a dict."""
    for pair in pairs:
        if "=" not in pair:
            raise Refused(f"--set takes key=value, not {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def seconds(option: str, text: str) -> float:
    """A duration like 90s, 10m, 1h30m or 7d, in seconds. Raises Refused naming the option."""
    if re.fullmatch(r"(?:\d{1,9}(?:\.\d{1,9})?[smhd])+", text) is None:
        raise Refused(f"{option} takes a duration like 90s, 10m, 1h30m or 2d, not {text!r}")
    return sum(float(number) * UNITS_S[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))


def filters(parser: argparse.ArgumentParser) -> None:
    """The options that choose jobs, the same for every command; supervisor/filters.py reads them."""
    parser.add_argument("--state", metavar="S,..", help="only these, with commas between")
    parser.add_argument("--kind", metavar="K,..", help="only these, with commas between")
    parser.add_argument("--name", metavar="GLOB", help="with * and ?, in quotes")
    parser.add_argument("--tag", metavar="TAG", help="only those that have it")
    parser.add_argument("--since", metavar="1d", help="added, started or ended no longer ago")
    parser.add_argument("--text", metavar="TEXT", help="in the name, args, memo, note or error")


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"it takes a whole number, not {text!r}") from None


def positive(text: str) -> int:
    number = whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def id_list(text: str) -> list[int]:
    return [whole(part) for part in text.split(",") if part]


def patience(text: str) -> float:
    """Seconds, as a number or as a duration like 10m."""
    try:
        return seconds("it", f"{text}s" if text[-1:].isdecimal() else text)
    except Refused as refusal:
        raise argparse.ArgumentTypeError(str(refusal)) from None
