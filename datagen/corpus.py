"""Articles into the factory: read a source, clean it, cut it into snippets. One transaction per article.

Progress is kept in the factory beside what it speaks of, so a killed job goes on where it was and the result is the
one of a run that nobody disturbed. Reads dump files (dump.py, wikitext.py) and folders (folder.py); knows no job.
"""

import dataclasses
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datagen import dump, folder, sentences, wikitext
from datagen.dump import BadSource
from datagen.factory import get_meta, set_meta, transaction
from datagen.language import why_not_english

DUMP_SUFFIXES = (".xml", ".bz2")
NAMED = 5  # how many titles a sentence names
FINGERPRINT_BYTES = 1 << 20
JOINT = "\n\n"


@dataclass(frozen=True)
class Settings:
    """What to take from where, and how to cut it."""

    source: Path  # a dump, or a folder of .txt and .md
    titles: tuple[str, ...] = ()  # only these pages; () is all
    category: str | None = None  # only pages that link this category themselves
    limit: int | None = None  # at most this many articles
    snippet_sentences: int = 8
    stride: int = 4
    min_words: int = 50  # shorter articles are left out


@dataclass
class Counts:
    """What became of a source so far. Kept in the factory under its source's key, in each article's transaction."""

    read: int = 0  # candidate articles taken from the source, whatever became of them
    articles: int = 0
    snippets: int = 0
    sentences: int = 0
    already_there: int = 0  # the same title with the same text, from an earlier source
    title_taken: int = 0  # the same title with another text: the first one stays
    too_short: int = 0
    not_english: int = 0
    unreadable: int = 0  # pages the wikitext parser gave up on
    sentences_with_holes: int = 0  # dropped: a template or formula in them could not be rendered
    refused: list[str] = field(default_factory=list)  # the first few, with the reason
    unknown_templates: dict[str, int] = field(default_factory=dict)
    seen_titles: list[str] = field(default_factory=list)  # of those asked for
    finished: bool = False

    @property
    def kept(self) -> int:
        return self.articles + self.already_there

    def summary(self) -> str:
        """One sentence for the person who asked."""
        left_out = {
            "already there": self.already_there,
            "whose title another text has": self.title_taken,
            "too short": self.too_short,
            "not English": self.not_english,
            "unreadable": self.unreadable,
        }
        rest = "".join(f", {count:,} {why}" for why, count in left_out.items() if count)
        holes = f"; {self.sentences_with_holes:,} sentences with holes dropped" if self.sentences_with_holes else ""
        return f"{self.articles:,} articles, {self.sentences:,} sentences, {self.snippets:,} snippets{rest}{holes}"


@dataclass(frozen=True)
class Progress:
    """How far the source is read."""

    done: int
    total: int
    unit: str  # bytes of a dump, or files
    counts: Counts


@dataclass(frozen=True)
class Draft:
    """An article as its source has it."""

    title: str
    source: str
    sentences: list[list[str]]  # by paragraph; none empty
    holes: int = 0
    unknown_templates: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Snippet:
    """A window over an article's sentences."""

    first_sentence: int
    sentences: list[str]


def check_source(source: Path) -> None:
    """Raise BadSource for what can't be a source, without reading it."""
    if not source.exists():
        raise BadSource(
            f"there is no {source}: take a MediaWiki dump (.xml, .xml.bz2) or a folder of .txt and .md files"
        )
    if source.is_dir():
        if not folder.names(source):
            raise BadSource(
                f"the folder {source} holds no .txt or .md file: put articles there, or take another folder"
            )
    elif source.suffix.lower() not in DUMP_SUFFIXES:
        raise BadSource(
            f"{source} is neither a folder nor a dump: take a MediaWiki dump (.xml, .xml.bz2), "
            "or the folder that holds your .txt and .md files"
        )


def collect(db: sqlite3.Connection, settings: Settings) -> Iterator[Progress]:
    """Read the source into the factory, one article per transaction, and say how far it is after each page.

    Leaving it anywhere loses nothing; called again, it goes on. A finished source is not read again.
    Raises BadSource: the source is no corpus, breaks off, or holds no English article of those asked for.
    """
    check_source(settings.source)
    key = f"corpus {fingerprint(settings)}"
    counts = load_counts(db, key)
    if counts.finished:
        yield Progress(1, 1, "", counts)
        return
    _hold_window(db, settings)
    candidates = 0
    for progress, candidate in _candidates(settings, counts):
        if candidate is not None:
            candidates += 1
            if candidates > counts.read:
                _take(db, key, counts, settings, candidate)
        yield progress
        if settings.limit is not None and counts.kept >= settings.limit:
            break
        if settings.titles and len(counts.seen_titles) == len(set(settings.titles)):
            break
    _refuse_nothing(settings, counts)
    counts.finished = True
    set_meta(db, key, _to_json(counts))
    yield Progress(1, 1, "", counts)


def fingerprint(settings: Settings) -> str:
    """The same for the same settings and the same source content, wherever the source lies."""
    asked = dataclasses.asdict(settings) | {"source": _content_digest(settings.source)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def windows(count: int, size: int, stride: int) -> list[tuple[int, int]]:
    """(start, end) of each snippet over `count` sentences.

    All hold `size` sentences, or `count` when there are fewer. Starts are `stride` apart; the last one is moved back
    to the tail, so neighbours share at least size - stride sentences and none is left out.
    """
    if count <= size:
        return [(0, count)] if count else []
    starts = [*range(0, count - size, stride), count - size]
    return [(start, start + size) for start in starts]


def snippets(article: Sequence[str], size: int, stride: int) -> list[Snippet]:
    """An article's sentences, cut into windows."""
    return [Snippet(start, list(article[start:end])) for start, end in windows(len(article), size, stride)]


def load_counts(db: sqlite3.Connection, key: str) -> Counts:
    """What the factory knows of a source; zeros when it never saw it."""
    stored = get_meta(db, key)
    return Counts() if stored is None else Counts(**json.loads(stored))


def _to_json(counts: Counts) -> str:
    return json.dumps(dataclasses.asdict(counts), ensure_ascii=False)


def _hold_window(db: sqlite3.Connection, settings: Settings) -> None:
    """One factory, one window: its snippets are comparable. Raises BadSource for another one."""
    asked = json.dumps({"snippet_sentences": settings.snippet_sentences, "stride": settings.stride})
    held = get_meta(db, "window")
    if held is None:
        set_meta(db, "window", asked)
    elif held != asked:
        raise BadSource(f"this factory cuts its snippets with {held}, not {asked}: take the same, or another factory")


# ---- sources ----

Candidate = dump.Page | folder.TextFile


def _candidates(settings: Settings, counts: Counts) -> Iterator[tuple[Progress, Candidate | None]]:
    """Every page or file; None where the settings leave it out."""
    if settings.source.is_dir():
        names = folder.names(settings.source)
        for done, name in enumerate(names, start=1):
            file = folder.read(settings.source, name)
            yield Progress(done, len(names), "files", counts), file if _is_asked(settings, counts, file.title) else None
        return
    total = settings.source.stat().st_size
    for page in dump.pages(settings.source):
        wanted = page.namespace == 0 and not page.is_redirect and _is_asked(settings, counts, page.title)
        if wanted and settings.category is not None:
            wanted = wikitext.is_in_category(page.wikitext, settings.category)
        yield Progress(page.read_bytes, total, "bytes", counts), page if wanted else None


def _is_asked(settings: Settings, counts: Counts, title: str) -> bool:
    return not settings.titles or title in {_as_title(asked) for asked in settings.titles}


def _as_title(asked: str) -> str:
    """'battle_of_France' is the page 'Battle of France'."""
    spaced = " ".join(asked.replace("_", " ").split())
    return spaced[:1].upper() + spaced[1:]


def _content_digest(source: Path) -> str:
    """Of a folder: every name and content. Of a dump: its size, start and end, since it may be tens of gigabytes."""
    digest = hashlib.sha256()
    if source.is_dir():
        for name in folder.names(source):
            digest.update(name.encode() + b"\0" + hashlib.sha256((source / name).read_bytes()).digest())
        return digest.hexdigest()
    size = source.stat().st_size
    with open(source, "rb") as file:
        digest.update(str(size).encode() + b"\0" + file.read(FINGERPRINT_BYTES))
        file.seek(max(0, size - FINGERPRINT_BYTES))
        digest.update(file.read())
    return digest.hexdigest()


# ---- one article ----


def _take(db: sqlite3.Connection, key: str, counts: Counts, settings: Settings, candidate: Candidate) -> None:
    """Store a candidate, or count why not; the counts are in the same transaction."""
    counts.read += 1
    if settings.titles:
        counts.seen_titles.append(candidate.title)
    draft = _draft(candidate, counts, settings.source.name)
    with transaction(db):
        if draft is not None:
            _store(db, counts, settings, draft)
        set_meta(db, key, _to_json(counts))


def _draft(candidate: Candidate, counts: Counts, source_name: str) -> Draft | None:
    if isinstance(candidate, folder.TextFile):
        split = [cut for paragraph in candidate.paragraphs if (cut := sentences.split(paragraph))]
        return Draft(candidate.title, f"{source_name}/{candidate.name}", split)
    from mwparserfromhell.parser import ParserError

    try:
        rendered = wikitext.render(candidate.wikitext)
    except (ParserError, RecursionError) as error:
        counts.unreadable += 1
        _refuse(counts, f"{candidate.title}: {type(error).__name__}")
        return None
    split = [sentences.split(paragraph) for paragraph in rendered.paragraphs]
    whole = [kept for cut in split if (kept := [one for one in cut if not wikitext.has_hole(one)])]
    holes = sum(map(len, split)) - sum(map(len, whole))
    place = f"{source_name}#page={candidate.id}&revision={candidate.revision}"
    return Draft(candidate.title, place, whole, holes, rendered.unknown)


def _store(db: sqlite3.Connection, counts: Counts, settings: Settings, draft: Draft) -> None:
    counts.sentences_with_holes += draft.holes
    for name, times in draft.unknown_templates.items():
        counts.unknown_templates[name] = counts.unknown_templates.get(name, 0) + times
    text = JOINT.join(" ".join(paragraph) for paragraph in draft.sentences)
    flat = [sentence for paragraph in draft.sentences for sentence in paragraph]
    num_words = len(text.split())
    if num_words < max(1, settings.min_words):
        counts.too_short += 1
        return
    if (reason := why_not_english(flat)) is not None:
        counts.not_english += 1
        _refuse(counts, f"{draft.title}: {reason}")
        return
    digest = hashlib.sha256(text.encode()).hexdigest()
    if (there := db.execute("select sha256 from article where title = ?", (draft.title,)).fetchone()) is not None:
        if there["sha256"] == digest:
            counts.already_there += 1
        else:
            counts.title_taken += 1
        return
    article_id = db.execute(
        "insert into article (title, source, sha256, num_words, text) values (?, ?, ?, ?, ?) returning id",
        (draft.title, draft.source, digest, num_words, text),
    ).fetchone()["id"]
    cut = snippets(flat, settings.snippet_sentences, settings.stride)
    db.executemany(
        "insert into snippet (article_id, ordinal, text, first_sentence, num_sentences) values (?, ?, ?, ?, ?)",
        [
            (article_id, ordinal, " ".join(one.sentences), one.first_sentence, len(one.sentences))
            for ordinal, one in enumerate(cut)
        ],
    )
    counts.articles += 1
    counts.snippets += len(cut)
    counts.sentences += len(flat)


def _refuse(counts: Counts, why: str) -> None:
    if len(counts.refused) < NAMED:
        counts.refused.append(why)


def _refuse_nothing(settings: Settings, counts: Counts) -> None:
    """Raise BadSource when nothing is left, saying which of our own doors it failed at."""
    source = settings.source
    if counts.kept:
        return
    if not counts.read and (settings.titles or settings.category is not None):
        asked = " and ".join(
            part
            for part in (
                f"titles={','.join(settings.titles)}" if settings.titles else "",
                f"category={settings.category}" if settings.category is not None else "",
            )
            if part
        )
        raise BadSource(
            f"no article of {source} matches {asked}: take titles as the pages spell them (redirects do not count), "
            "and categories that the pages link themselves"
        )
    if not counts.read:
        raise BadSource(f"{source} holds no article: only redirects, talk or other pages, if any; take another source")
    if counts.not_english:
        raise BadSource(
            f"none of the {counts.read:,} articles of {source} can be used, {counts.not_english:,} are not English "
            f"({'; '.join(counts.refused)}): take English articles"
        )
    raise BadSource(
        f"none of the {counts.read:,} articles of {source} can be used ({counts.summary()}): "
        f"take articles of at least {settings.min_words} words, or set min_words lower"
    )
