"""Articles into the factory: take a source's articles, clean them, cut them into snippets. One transaction each.

How far it came is kept in the factory beside what it speaks of, so a killed job goes on where it was, and the result
is that of a run nobody disturbed. Where articles come from is sources.py's business; knows no job.
"""

import dataclasses
import hashlib
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from datagen import folder, sentences, sources, wikitext
from datagen.dump import BadSource, BrokenOff
from datagen.factory import get_meta, set_meta, transaction
from datagen.language import why_not_english, why_not_latin
from datagen.sources import Candidate, Position, Settings, as_title
from datagen.templates import HOLE

NAMED = 5  # how many refused articles a sentence names
NO_WORD = re.compile(r"[!-~]{2000,}")  # a picture in base64, say: to look for sentences in it takes for ever


@dataclass
class Counts:
    """What became of a source so far. Kept in the factory, in the transaction of the article it counts."""

    read: int = 0  # articles asked for and read, whatever became of them
    articles: int = 0
    snippets: int = 0
    sentences: int = 0
    already_there: int = 0  # the same title with the same text, from an earlier source
    title_taken: int = 0  # the same title with another text: the first one stays
    too_short: int = 0
    not_english: int = 0
    unreadable: int = 0  # pages the wikitext parser gave up on
    sentences_with_holes: int = 0  # dropped: a template or formula in them could not be rendered, or NO_WORD
    refused: list[str] = field(default_factory=list)  # the first few, with the reason
    unknown_templates: dict[str, int] = field(default_factory=dict)
    found_titles: list[str] = field(default_factory=list)  # of those asked for
    missing_titles: list[str] = field(default_factory=list)  # known at the end
    finished: bool = False

    @property
    def kept(self) -> int:
        return self.articles + self.already_there

    def summary(self) -> str:
        """What became of it, for the person who asked."""
        left_out = {
            "already there": self.already_there,
            "whose title another text has": self.title_taken,
            "too short": self.too_short,
            "not English": self.not_english,
            "unreadable": self.unreadable,
        }
        parts = [f"{self.articles:,} articles, {self.sentences:,} sentences, {self.snippets:,} snippets"]
        parts += [f"{count:,} articles {why}" for why, count in left_out.items() if count]
        if self.sentences_with_holes:
            parts.append(f"{self.sentences_with_holes:,} sentences with holes dropped")
        if self.missing_titles:
            parts.append(f"not found: {', '.join(self.missing_titles)}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Progress:
    """How far the source is read, and what became of it so far."""

    position: Position
    counts: Counts


@dataclass(frozen=True)
class Draft:
    """An article as its source has it."""

    title: str
    source: str  # the file, and where in it
    paragraphs: list[list[str]]  # of sentences; none empty
    holes: int = 0  # sentences dropped
    unknown_templates: Counter[str] = field(default_factory=Counter)


def collect(db: sqlite3.Connection, settings: Settings) -> Iterator[Progress]:
    """Read a source into the factory, one transaction per article, and say how far it is after each page or file.

    Leaving it anywhere loses nothing; called again, it goes on. A source that is finished is not read again.
    Raises BadSource: it is no corpus, breaks off, or holds no English article of those asked for.
    """
    sources.check(settings)
    key = f"corpus {sources.fingerprint(settings)}"
    counts = load_counts(db, key)
    position = Position(1, 1, "sources")
    if not counts.finished:
        _hold_window(db, settings)
        try:
            for position in _read(db, key, counts, settings):
                yield Progress(position, counts)
        except BrokenOff as error:
            raise BadSource(f"{error}. In the factory by now: {counts.summary()}") from error
        _finish(db, key, counts, settings)
    yield Progress(Position(position.total, position.total, position.unit), counts)


def windows(count: int, size: int, stride: int) -> list[tuple[int, int]]:
    """(start, end) of each snippet over `count` sentences.

    All hold `size` sentences, or `count` when there are fewer. Starts are `stride` apart, the last one is moved back
    to the tail: no sentence is left out, neighbours share at least size - stride of them.
    """
    if count <= size:
        return [(0, count)] if count else []
    starts = [*range(0, count - size, stride), count - size]
    return [(start, start + size) for start in starts]


def load_counts(db: sqlite3.Connection, key: str) -> Counts:
    """What the factory knows of a source; zeros when it never saw it."""
    stored = get_meta(db, key)
    return Counts() if stored is None else Counts(**json.loads(stored))


def _save_counts(db: sqlite3.Connection, key: str, counts: Counts) -> None:
    set_meta(db, key, json.dumps(dataclasses.asdict(counts), ensure_ascii=False))


def _read(db: sqlite3.Connection, key: str, counts: Counts, settings: Settings) -> Iterator[Position]:
    """Take what an earlier attempt did not take. Stops early when the limit is reached or every title is found."""
    already, seen = counts.read, 0
    wanted = frozenset(map(as_title, settings.titles))
    for position, candidate in sources.candidates(settings):
        seen += candidate is not None
        if candidate is not None and seen > already:
            _take(db, key, counts, settings, candidate)
        yield position
        if counts.kept == settings.limit or (wanted and wanted <= set(counts.found_titles)):
            return


def _take(db: sqlite3.Connection, key: str, counts: Counts, settings: Settings, candidate: Candidate) -> None:
    """Store an article, or count why not: one transaction, with the counts."""
    counts.read += 1
    if settings.titles:
        counts.found_titles.append(as_title(candidate.title))
    draft = _draft(candidate, counts, settings.source.name)
    with transaction(db):
        if draft is not None:
            _store(db, counts, settings, draft)
        _save_counts(db, key, counts)


def _draft(candidate: Candidate, counts: Counts, source_name: str) -> Draft | None:
    """Sentences by paragraph, those with holes dropped. None for a page that can't be parsed."""
    if isinstance(candidate, folder.TextFile):
        whole, holes = _whole(candidate.paragraphs, lambda sentence: HOLE in sentence)
        return Draft(candidate.title, f"{source_name}/{candidate.name}", whole, holes)
    from mwparserfromhell.parser import ParserError

    try:
        rendered = wikitext.render(candidate.wikitext)
    except (ParserError, RecursionError) as error:
        counts.unreadable += 1
        _name_refused(counts, candidate.title, type(error).__name__)
        return None
    whole, holes = _whole(rendered.paragraphs, wikitext.has_hole)
    place = f"{source_name}#page={candidate.id}&revision={candidate.revision}"
    return Draft(candidate.title, place, whole, holes, rendered.unknown)


def _whole(paragraphs: Iterable[str], has_hole: Callable[[str], bool]) -> tuple[list[list[str]], int]:
    """The whole sentences by paragraph, none empty, and how many others there were."""
    split = [sentences.split(NO_WORD.sub(HOLE, paragraph)) for paragraph in paragraphs]
    whole = [kept for cut in split if (kept := [one for one in cut if not has_hole(one)])]
    return whole, sum(map(len, split)) - sum(map(len, whole))


def _store(db: sqlite3.Connection, counts: Counts, settings: Settings, draft: Draft) -> None:
    counts.sentences_with_holes += draft.holes
    counts.unknown_templates = dict(Counter(counts.unknown_templates) + draft.unknown_templates)
    flat = [sentence for paragraph in draft.paragraphs for sentence in paragraph]
    num_words = sum(len(sentence.split()) for sentence in flat)
    is_long = num_words >= max(1, settings.min_words)
    # Letters first: Chinese has few words by our count. Language last: a few words can't be told.
    if reason := why_not_latin(flat) or (why_not_english(flat) if is_long else None):
        counts.not_english += 1
        _name_refused(counts, draft.title, reason)
    elif not is_long:
        counts.too_short += 1
    elif (article_id := _insert_article(db, counts, draft, num_words)) is not None:
        _insert_snippets(db, counts, settings, article_id, flat)


def _insert_article(db: sqlite3.Connection, counts: Counts, draft: Draft, num_words: int) -> int | None:
    """The new article's id, or None when its title is there already."""
    text = "\n\n".join(" ".join(paragraph) for paragraph in draft.paragraphs)
    digest = hashlib.sha256(text.encode()).hexdigest()
    there = db.execute("select sha256 from article where title = ?", (draft.title,)).fetchone()
    if there is not None:
        counts.already_there += there["sha256"] == digest
        counts.title_taken += there["sha256"] != digest
        return None
    counts.articles += 1
    row = db.execute(
        "insert into article (title, source, sha256, num_words, text) values (?, ?, ?, ?, ?) returning id",
        (draft.title, draft.source, digest, num_words, text),
    ).fetchone()
    return int(row["id"])


def _insert_snippets(
    db: sqlite3.Connection, counts: Counts, settings: Settings, article_id: int, flat: Sequence[str]
) -> None:
    cut = windows(len(flat), settings.snippet_sentences, settings.stride)
    db.executemany(
        "insert into snippet (article_id, ordinal, text, first_sentence, num_sentences) values (?, ?, ?, ?, ?)",
        [
            (article_id, ordinal, " ".join(flat[start:end]), start, end - start)
            for ordinal, (start, end) in enumerate(cut)
        ],
    )
    counts.sentences += len(flat)
    counts.snippets += len(cut)


def _name_refused(counts: Counts, title: str, why: str) -> None:
    if len(counts.refused) < NAMED:
        counts.refused.append(f"{title}: {why}")


def _hold_window(db: sqlite3.Connection, settings: Settings) -> None:
    """One factory, one window: its snippets are comparable. Raises BadSource for another one."""
    asked = f"snippet_sentences={settings.snippet_sentences} stride={settings.stride}"
    held = get_meta(db, "window")
    if held is None:
        set_meta(db, "window", asked)
    elif held != asked:
        raise BadSource(f"this factory's snippets are cut with {held}, not {asked}: take those, or another factory")


def _finish(db: sqlite3.Connection, key: str, counts: Counts, settings: Settings) -> None:
    """Remember that the source is done. Raises BadSource when nothing of it could be used."""
    if not counts.kept:
        raise BadSource(_why_nothing(settings, counts))
    counts.missing_titles = [title for title in settings.titles if as_title(title) not in counts.found_titles]
    counts.finished = True
    _save_counts(db, key, counts)


def _why_nothing(settings: Settings, counts: Counts) -> str:
    source, asked = settings.source, [f"titles={','.join(settings.titles)}"] if settings.titles else []
    if settings.category is not None:
        asked.append(f"category={settings.category}")
    if not counts.read and asked:
        return (
            f"no article of {source} matches {' and '.join(asked)}: take titles as the pages spell them "
            "(redirects do not count), and categories that the pages link themselves"
        )
    if not counts.read:
        return f"{source} holds no article, only redirects, talk and other pages, if any: take another source"
    if counts.not_english:
        return (
            f"none of the {counts.read:,} articles of {source} can be used, {counts.not_english:,} are not English "
            f"({'; '.join(counts.refused)}): take English articles"
        )
    return (
        f"none of the {counts.read:,} articles of {source} can be used ({counts.summary()}): "
        f"take articles of at least {settings.min_words} words, or set min_words lower"
    )
