"""Read articles into the factory: the bundled sample, a MediaWiki dump, or a folder of text files.

Resumes: each article is one transaction, and a source that is finished is not read again.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.contract import BadArgs, HomePath, InputPath, Run

if TYPE_CHECKING:
    from datagen.sources import Settings

LANE = "cpu"
FACTORY = HomePath("factory.db")


@dataclass(frozen=True)
class Args:
    source: InputPath | None = None  # a dump (.xml, .xml.bz2) or a folder of .txt and .md; none: the bundled sample
    factory: HomePath = FACTORY
    titles: tuple[str, ...] = ()  # only these pages
    category: str | None = None  # only pages that link this category
    limit: int | None = None  # at most this many articles
    snippet_sentences: int = 8
    stride: int = 4
    min_words: int = 50  # shorter articles are left out

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.snippet_sentences:
            raise BadArgs(
                f"corpus takes 1 <= stride <= snippet_sentences, not {self.stride} and {self.snippet_sentences}: "
                "a larger stride would leave sentences out"
            )
        if self.limit is not None and self.limit < 1:
            raise BadArgs(f"corpus takes a limit of at least 1 article, or none, not {self.limit}")
        if self.min_words < 0:
            raise BadArgs(f"corpus takes min_words >= 0, not {self.min_words}")


def check(args: Args, home: Path) -> None:
    from datagen.dump import BadSource
    from datagen.sources import check as check_source

    try:
        check_source(_settings(args))
    except BadSource as error:
        raise BadArgs(str(error)) from error


def content(args: Args) -> str:
    """A digest of what the source holds: articles put into a folder later make a recipe begin anew."""
    from datagen.dump import BadSource
    from datagen.sources import check as check_source
    from datagen.sources import fingerprint

    try:
        check_source(_settings(args))
        return fingerprint(_settings(args))
    except BadSource as error:
        raise BadArgs(str(error)) from error


def run(args: Args, job: Run, prepared: object = None) -> None:
    from datagen.corpus import collect
    from datagen.dump import BadSource
    from datagen.factory import BadFactory, open_factory

    try:
        job.path(args.factory).parent.mkdir(parents=True, exist_ok=True)
        with closing(open_factory(job.path(args.factory))) as db:
            for now in collect(db, _settings(args)):
                at, counts = now.position, now.counts
                job.progress(at.done, at.total, at.unit, articles=counts.articles, snippets=counts.snippets)
                if not counts.finished:
                    job.stop_if_asked()
            job.note(counts.summary())
    except (BadSource, BadFactory) as error:
        raise BadArgs(str(error)) from error


def _settings(args: Args) -> "Settings":
    from datagen.sample import FOLDER
    from datagen.sources import Settings

    return Settings(
        source=FOLDER if args.source is None else Path(args.source),
        titles=args.titles,
        category=args.category,
        limit=args.limit,
        snippet_sentences=args.snippet_sentences,
        stride=args.stride,
        min_words=args.min_words,
    )
