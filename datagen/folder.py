"""A folder of .txt and .md files in, articles out: the title is the first heading, else the file's name."""

import re
from dataclasses import dataclass
from pathlib import Path

from datagen.dump import BadSource

SUFFIXES = (".txt", ".md")
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
TITLE = re.compile(r"\A\s*#[ \t]+(.+?)\s*#*\s*$", re.MULTILINE)
# Markdown's blocks that are not prose, then its marks inside prose.
BLOCKS = (
    re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE),
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"^#{1,6}\s.*$", re.MULTILINE),
    re.compile(r"^[^\n]+\n(?:={3,}|-{3,})\s*$", re.MULTILINE),
    re.compile(r"^[ \t]*\|.*$", re.MULTILINE),
    re.compile(r"^[ \t]*(?:[-*_][ \t]*){3,}$", re.MULTILINE),
    re.compile(r"^\[[^\]]+\]:\s.*$", re.MULTILINE),
)
LIST_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]", re.MULTILINE)
MARKS = (
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),
    (re.compile(r"^[ \t]*(?:>[ \t]?)+", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*(?:[-*+]|\d+[.)])[ \t]+", re.MULTILINE), ""),
    (re.compile(r"(\*\*\*|\*\*|\*|__|`)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
)


@dataclass(frozen=True)
class TextFile:
    """One file of a folder."""

    title: str
    name: str  # relative to the folder
    paragraphs: list[str]


def names(folder: Path) -> list[str]:
    """The files of a folder and its subfolders that may be articles, sorted. Hidden ones are left out.

    Raises BadSource for a name that is no text.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    inside = (path.relative_to(folder) for path in found if path.is_file() or path.is_symlink())
    shown = sorted(str(name) for name in inside if not any(part.startswith(".") for part in name.parts))
    for name in shown:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise BadSource(
                f"the name of {str(folder)!a}/{name!a} is not UTF-8, and it would be a title: rename the file"
            ) from error
    return shown


def read_bytes(folder: Path, name: str) -> bytes:
    """What a file holds. Raises BadSource where it can't be read, as a link that leads nowhere."""
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise BadSource(f"{folder / name} can't be read ({error.strerror}): mend it, or take it away") from error


def read(folder: Path, name: str) -> TextFile:
    """One file. Raises BadSource when it can't be read, or is not UTF-8."""
    try:
        text = read_bytes(folder, name).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{folder / name} is not UTF-8 text (byte {error.start}): save it as UTF-8, or take it out of the folder"
        ) from error
    text = FRONT_MATTER.sub("", text)
    heading = TITLE.match(text)
    title = heading.group(1) if heading else Path(name).stem.replace("_", " ")
    body = text[heading.end() :] if heading else text
    return TextFile(title, name, paragraphs(plain(body) if name.lower().endswith(".md") else body))


def plain(markdown: str) -> str:
    """Markdown's prose without its marks; headings, code, tables and rules go. Each list item is a paragraph."""
    for block in BLOCKS:
        markdown = block.sub("", markdown)
    markdown = LIST_ITEM.sub(r"\n\g<0>", markdown)
    for mark, kept in MARKS:
        markdown = mark.sub(kept, markdown)
    return markdown


def paragraphs(text: str) -> list[str]:
    """Blocks between blank lines, each on one line."""
    return [joined for block in re.split(r"\n\s*\n", text) if (joined := " ".join(block.split()))]
