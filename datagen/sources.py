"""Where articles come from: a dump or a folder, which of its articles are asked for, and how far it is read.

The only file that knows that there are two sorts of source; a third one begins here.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datagen import dump, folder, wikitext
from datagen.dump import BadSource

DUMP_SUFFIXES = (".xml", ".bz2")
ENDS_BYTES = 1 << 20  # of a dump's start and of its end are looked at to know it again

Candidate = dump.Page | folder.TextFile


@dataclass(frozen=True)
class Settings:
    """What to take from where, and how to cut it."""

    source: Path  # a dump, or a folder of .txt and .md
    titles: tuple[str, ...] = ()  # only these; () is all
    category: str | None = None  # only pages that link this category themselves
    limit: int | None = None  # at most this many articles
    snippet_sentences: int = 8
    stride: int = 4
    min_words: int = 50  # shorter articles are left out


@dataclass(frozen=True)
class Position:
    """How far a source is read."""

    done: int
    total: int
    unit: str  # bytes of a dump, or files


def check(settings: Settings) -> None:
    """Raise BadSource for what can't be a source, without reading it."""
    source = settings.source
    takes = "take a MediaWiki dump (.xml, .xml.bz2) or a folder of .txt and .md files"
    if not source.exists():
        raise BadSource(f"there is no {source}: {takes}")
    if not os.access(source, os.R_OK):
        raise BadSource(f"{source} may not be read by this user: change its permissions, or take another source")
    if source.is_dir():
        if not folder.names(source):
            raise BadSource(f"the folder {source} holds no .txt or .md file: put articles there, or {takes}")
        if settings.category is not None:
            raise BadSource(
                f"files in a folder have no category: leave category={settings.category} out, or take a dump"
            )
    elif source.suffix.lower() not in DUMP_SUFFIXES:
        raise BadSource(f"{source} is neither a folder nor a dump: {takes}")


def candidates(settings: Settings) -> Iterator[tuple[Position, Candidate | None]]:
    """Every page or file in the source's order; None in place of those that are not asked for.

    Raises BadSource where the source can't be read, BrokenOff after the last whole page of a damaged dump.
    """
    wanted = frozenset(map(as_title, settings.titles))
    return _files(settings.source, wanted) if settings.source.is_dir() else _pages(settings, wanted)


def _files(source: Path, wanted: frozenset[str]) -> Iterator[tuple[Position, Candidate | None]]:
    names = folder.names(source)
    for done, name in enumerate(names, start=1):
        file = folder.read(source, name)
        yield Position(done, len(names), "files"), file if not wanted or as_title(file.title) in wanted else None


def _pages(settings: Settings, wanted: frozenset[str]) -> Iterator[tuple[Position, Candidate | None]]:
    total = settings.source.stat().st_size
    for page in dump.pages(settings.source):
        is_asked = page.namespace == 0 and not page.is_redirect and (not wanted or page.title in wanted)
        if is_asked and settings.category is not None:
            is_asked = wikitext.is_in_category(page.wikitext, settings.category)
        yield Position(page.read_bytes, total, "bytes"), page if is_asked else None


def as_title(asked: str) -> str:
    """'battle_of France' is the page 'Battle of France'."""
    spaced = " ".join(asked.replace("_", " ").split())
    return spaced[:1].upper() + spaced[1:]


def fingerprint(settings: Settings) -> str:
    """The same for the same settings and the same content, wherever the source lies."""
    asked = dataclasses.asdict(settings) | {"source": _content_digest(settings.source)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _content_digest(source: Path) -> str:
    """Of a folder: every name and content. Of a dump: its size, start and end, since it may be tens of gigabytes."""
    digest = hashlib.sha256()
    if source.is_dir():
        for name in folder.names(source):
            digest.update(name.encode() + b"\0" + hashlib.sha256(folder.read_bytes(source, name)).digest())
        return digest.hexdigest()
    size = source.stat().st_size
    with open(source, "rb") as file:
        digest.update(str(size).encode() + b"\0" + file.read(ENDS_BYTES))
        file.seek(max(0, size - ENDS_BYTES))
        digest.update(file.read())
    return digest.hexdigest()
