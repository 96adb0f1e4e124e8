"""Text that a model wrote, made safe to print: whatever it holds, the terminal shows it and obeys none of it."""

import textwrap
import unicodedata

HIDDEN = frozenset(
    ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
)  # control, format (bidi too), surrogate, private, unknown
LONGEST = 280  # characters of one quoted text


def plain(text: str, longest: int = LONGEST) -> str:
    """The text on one line, in printable characters only, cut after `longest` of them.

    A line break is shown as ⏎, a tab as a space, anything else that would not show as its escape (\\x1b).
    """
    cut = text if len(text) <= longest else text[:longest]
    shown = "".join(_shown(letter) for letter in cut.replace("\r\n", "\n"))
    return shown if cut is text else f"{shown} … ({len(text):,} characters)"


def _shown(letter: str) -> str:
    if letter in "\n\t":
        return " ⏎ " if letter == "\n" else " "
    if unicodedata.category(letter) in HIDDEN:
        return letter.encode("unicode_escape").decode("ascii")
    return "\u00a0" if letter == "\u00a0" else letter


def row(label: str, text: str, *, indent: int, width: int) -> str:
    """'  label   text', wrapped under itself."""
    first = f"  {label}".ljust(indent)
    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False)
