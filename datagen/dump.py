"""A MediaWiki XML dump in, its pages out, one at a time: memory stays flat however large the dump is.

Knows the file format, nothing of what wikitext means. Source: the export schema, mediawiki.org/xml/export-0.11.
"""

import bz2
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

CHUNK_BYTES = 1 << 16
BZ2_MAGIC = b"BZh"


class BadSource(Exception):
    """What was given can't be read as a corpus. Told to a person: what we got, what we take, what to do."""


class BrokenOff(BadSource):
    """A dump that ends or is damaged in the middle. The pages before it were whole."""


@dataclass(frozen=True)
class Page:
    """One page of a dump, its newest revision in the file."""

    title: str
    namespace: int  # 0: an article
    id: str
    revision: str
    is_redirect: bool
    wikitext: str
    read_bytes: int  # of the file, compressed as it is, when this page was complete


def pages(path: Path) -> Iterator[Page]:
    """Every page of a dump (.xml or .xml.bz2), in its order.

    Raises BadSource at once for what is no MediaWiki XML; BrokenOff after the last whole page of a file that ends or
    is damaged in the middle.
    """
    count = 0
    reader = _PageReader(path)
    with open(path, "rb") as raw:
        try:
            for chunk in _chunks(raw):
                for page in reader.feed(chunk, raw.tell()):
                    count += 1
                    yield page
            reader.close()
        except (ElementTree.ParseError, EOFError, OSError) as error:
            if isinstance(error, ElementTree.ParseError) and not reader.saw_root:
                raise BadSource(
                    f"{path} is not XML ({error}): take a MediaWiki export, .xml or .xml.bz2, "
                    "or a folder of .txt and .md files"
                ) from error
            raise BrokenOff(
                f"{path} ends or is damaged in the middle, after {count:,} whole pages and {raw.tell():,} bytes "
                f"({error}): fetch the file again and add the job again, what was read so far is kept"
            ) from error


def _chunks(raw: BinaryIO) -> Iterator[bytes]:
    packed = raw.read(len(BZ2_MAGIC)) == BZ2_MAGIC
    raw.seek(0)
    if not packed:
        while chunk := raw.read(CHUNK_BYTES):
            yield chunk
        return
    with bz2.BZ2File(raw) as unpacked:  # read1: what was unpacked before a break is not lost with it
        while chunk := unpacked.read1(CHUNK_BYTES):
            yield chunk


class _PageReader:
    """Turns XML into pages, and forgets each page's tree."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
        self._root: ElementTree.Element | None = None
        self._revision: tuple[str, str] = ("", "")

    @property
    def saw_root(self) -> bool:
        return self._root is not None

    def feed(self, chunk: bytes, read_bytes: int) -> Iterator[Page]:
        self._parser.feed(chunk)
        events = cast("Iterator[tuple[str, ElementTree.Element]]", self._parser.read_events())
        for event, element in events:
            name = _local(element.tag)
            if event == "start":
                if self._root is None:
                    self._root = element
                    self._check_root(element)
            elif name == "revision":
                self._revision = (_text(element, "id"), _text(element, "text"))
                element.clear()  # a full-history dump has thousands in one page
            elif name == "page":
                yield self._page(element, read_bytes)
                assert self._root is not None
                self._root.clear()

    def close(self) -> None:
        self._parser.close()

    def _check_root(self, root: ElementTree.Element) -> None:
        if _local(root.tag) != "mediawiki":
            raise BadSource(
                f"{self._path} is XML, but no MediaWiki export: it opens with <{_local(root.tag)}>, not <mediawiki>: "
                "take one from dumps.wikimedia.org or from a wiki's Special:Export page"
            )

    def _page(self, element: ElementTree.Element, read_bytes: int) -> Page:
        revision, wikitext = self._revision
        self._revision = ("", "")
        return Page(
            title=_text(element, "title"),
            namespace=int(_text(element, "ns") or 0),
            id=_text(element, "id"),
            revision=revision,
            is_redirect=_child(element, "redirect") is not None or wikitext.lstrip()[:9].lower() == "#redirect",
            wikitext=wikitext,
            read_bytes=read_bytes,
        )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next((child for child in element if _local(child.tag) == name), None)


def _text(element: ElementTree.Element, name: str) -> str:
    child = _child(element, name)
    return "" if child is None else child.text or ""
