"""The bundled sample: articles on the Second World War, and the facts that were checked between them."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("sample")


@dataclass(frozen=True)
class Fact:
    """A statement that several articles make, and the value they must agree on, as they write it."""

    statement: str
    value: str
    articles: tuple[str, ...]  # slugs: file names without .txt


def slugs() -> list[str]:
    """The articles there are, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(slug: str) -> str:
    """An article's file: '# Title', a blank line, paragraphs with blank lines between."""
    return (FOLDER / f"{slug}.txt").read_text(encoding="utf-8")


def facts() -> list[Fact]:
    """Every fact checked between articles. Raises KeyError or TOMLDecodeError for a damaged file."""
    tables = [
        table for path in sorted((FOLDER / "facts").glob("*.toml")) for table in tomllib.loads(path.read_text())["fact"]
    ]
    return [Fact(table["statement"], table["value"], tuple(table["articles"])) for table in tables]
