"""Snippets in, records out: every work item (one prompt on one snippet) is done once, however often this is killed.

    plan    items for all snippets x prompts, one transaction; a prompt whose version or settings changed starts afresh
    look    two passes over the articles: which words are names, and what wrong values there are
    work    items in order; an item's records, rejects and finished_at are in one transaction

Several items share a transaction (a flush to the disk costs more than an item), each of them whole in it. What is
written depends on the articles and the settings only, not on when the work was stopped and started again.
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from datagen import families
from datagen.factory import BadFactory, get_meta, set_meta, transaction
from datagen.facts import Fact, Refusal, facts_of, unusable
from datagen.families import Draft, Dropped, Group, Work
from datagen.features import extract
from datagen.guards import Pair, refused
from datagen.names import Census, Gazetteer
from datagen.phrasings import MIN_TRAIN, Choice
from datagen.plainest import plainest
from datagen.pools import Pools, Sample, add_features
from datagen.records import FAMILIES, Reference

BATCH_S = 0.25  # of work in one transaction, so that a stop is answered soon
CHUNK_ITEMS = 256


@dataclass(frozen=True)
class Settings:
    """What to make. choice: which phrasings. facts_per_article: None for all; else the plainest first."""

    prompts: tuple[str, ...] = FAMILIES
    choice: Choice = field(default_factory=Choice)
    facts_per_article: int | None = None


class Progress(NamedTuple):
    """How far the work is. done and total count items; records and rejects those made by this call."""

    done: int
    total: int
    records: int
    rejects: int


def generate(db: sqlite3.Connection, settings: Settings) -> Iterator[Progress]:
    """Do all open items. Yields at least every second, with nothing half done: stop by not asking for more.

    Raises BadFactory when there are no articles.
    """
    if not db.execute("select exists(select 1 from snippet)").fetchone()[0]:
        raise BadFactory("the factory holds no snippets: run corpus on it first")
    plan(db, settings)
    done, total = count_items(db, settings)
    records = rejects = 0
    yield Progress(done, total, records, rejects)
    if done == total:
        return
    looker = Looker(db, settings)
    for _ in looker.look():
        yield Progress(done, total, records, rejects)
    while batch := _work_for_a_while(db, settings, looker):
        done, records, rejects = done + batch.done, records + batch.records, rejects + batch.rejects
        yield Progress(done, total, records, rejects)
    if done < total:  # another generate did the rest
        yield Progress(*count_items(db, settings), records, rejects)


# --- plan


def plan(db: sqlite3.Connection, settings: Settings) -> None:
    """Make the items there should be. A prompt that changed loses what it made; the others keep theirs."""
    with transaction(db):
        for prompt in settings.prompts:
            wanted = fingerprint(prompt, settings)
            if get_meta(db, f"generate/{prompt}") != wanted:
                _forget(db, prompt)
                set_meta(db, f"generate/{prompt}", wanted)
        versions = {prompt: families.load(prompt).VERSION for prompt in settings.prompts}
        db.execute(
            "insert into item (snippet_id, prompt, prompt_version)"
            " select snippet.id, prompt.key, prompt.value from snippet cross join json_each(?) prompt"
            " where true order by snippet.id, prompt.id on conflict do nothing",
            (json.dumps(versions),),
        )


def fingerprint(prompt: str, settings: Settings) -> str:
    """All that decides what a prompt makes of a corpus."""
    choice = {**asdict(settings.choice), "facts_per_article": settings.facts_per_article}
    return json.dumps({"version": families.load(prompt).VERSION, **choice}, sort_keys=True)


def _forget(db: sqlite3.Connection, prompt: str) -> None:
    for table in ("record", "reject"):
        db.execute(f"delete from {table} where item_id in (select id from item where prompt = ?)", (prompt,))
    db.execute("delete from item where prompt = ?", (prompt,))


def count_items(db: sqlite3.Connection, settings: Settings) -> tuple[int, int]:
    """How many items of these prompts are finished, and how many there are."""
    marks = ",".join("?" * len(settings.prompts))
    row = db.execute(f"select count(finished_at), count(*) from item where prompt in ({marks})", settings.prompts)
    done, total = row.fetchone()
    return done, total


# --- look


def own_sentences(db: sqlite3.Connection, article_id: int) -> dict[int, list[str]]:
    """An article's sentences by snippet id, each given to the first snippet that holds it.

    Neighbours overlap: a snippet begins with words that the one before it ends with, and those are not its own.
    """
    from datagen.sentences import split

    own: dict[int, list[str]] = {}
    before: list[str] = []
    for row in db.execute("select id, text from snippet where article_id = ? order by ordinal", (article_id,)):
        words = row["text"].split(" ")
        own[row["id"]] = split(" ".join(words[overlap(before, words) :]))
        before = words
    return own


def overlap(before: Sequence[str], after: Sequence[str]) -> int:
    """How many words `after` begins with that `before` ends with, the most there can be."""
    for count in range(min(len(before), len(after)), 0, -1):
        if before[-count] == after[0] and before[-count:] == after[:count]:
            return count
    return 0


class Looker:
    """What is known of the whole corpus, and of the article that is being worked on."""

    def __init__(self, db: sqlite3.Connection, settings: Settings) -> None:
        self.db = db
        self.settings = settings
        self.gazetteer = Gazetteer()
        self.pools = Pools({})
        self._article: ArticleFacts | None = None

    def look(self) -> Iterator[None]:
        """Two passes over all articles. Yields after each article."""
        census = Census()
        for sentences in self._articles():
            for sentence in sentences:
                census.add(sentence)
            yield
        self.gazetteer = census.gazetteer()
        samples: dict[tuple[str, str], Sample] = {}
        for sentences in self._articles():
            for sentence in sentences:
                if unusable(sentence) is None:
                    add_features(samples, extract(sentence, self.gazetteer))
            yield
        self.pools = Pools(samples)

    def _articles(self) -> Iterator[list[str]]:
        for (id,) in self.db.execute("select id from article order by id").fetchall():
            yield [sentence for sentences in own_sentences(self.db, id).values() for sentence in sentences]

    def work(self, snippet_id: int) -> tuple[Work, int]:
        """What a prompt may know about a snippet, and its article's id."""
        row = self.db.execute("select * from snippet where id = ?", (snippet_id,)).fetchone()
        if self._article is None or self._article.id != row["article_id"]:
            self._article = ArticleFacts(self.db, row["article_id"], self.gazetteer, self.settings)
        return self._article.work(row, self.pools, self.settings.choice), self._article.id


class ArticleFacts:
    """One article's facts, by the snippet whose own sentence they stand in."""

    def __init__(self, db: sqlite3.Connection, id: int, gazetteer: Gazetteer, settings: Settings) -> None:
        self.id = id
        row = db.execute("select title, text from article where id = ?", (id,)).fetchone()
        self.title, self.text = row["title"], row["text"]
        self.facts: dict[int, list[Fact]] = {}
        self.refusals: dict[int, list[Refusal]] = {}
        for snippet_id, sentences in own_sentences(db, id).items():
            found = [facts_of(self.title, sentence, gazetteer) for sentence in sentences]
            self.facts[snippet_id] = [fact for facts, _ in found for fact in facts]
            self.refusals[snippet_id] = [refusal for _, refusals in found for refusal in refusals]
        all_facts = [fact for facts in self.facts.values() for fact in facts]
        self.asked = plainest(self.title, all_facts, settings.facts_per_article, settings.choice.seed)

    def work(self, snippet: sqlite3.Row, pools: Pools, choice: Choice) -> Work:
        facts = tuple(fact for fact in self.facts[snippet["id"]] if fact.key in self.asked)
        refusals = tuple(self.refusals[snippet["id"]])
        return Work(self.title, snippet["text"], self.text, facts, refusals, pools, choice)


# --- work


def _work_for_a_while(db: sqlite3.Connection, settings: Settings, looker: Looker) -> Progress | None:
    """The next open items, in one transaction. None when there are none left.

    They are looked for inside it: another generate may be at work on this factory, and an item is done once.
    """
    marks = ",".join("?" * len(settings.prompts))
    done = records = rejects = 0
    started = time.monotonic()
    with transaction(db):
        _still_ours(db, settings)
        items = db.execute(
            f"select id, snippet_id, prompt from item where finished_at is null and prompt in ({marks})"
            " order by id limit ?",
            (*settings.prompts, CHUNK_ITEMS),
        ).fetchall()
        for item in items:
            made = _do(db, item, looker)
            done, records, rejects = done + 1, records + made.records, rejects + made.rejects
            if time.monotonic() - started > BATCH_S:
                break
    return Progress(done, len(items), records, rejects) if items else None


def _still_ours(db: sqlite3.Connection, settings: Settings) -> None:
    """Raises BadFactory when another generate has begun anew with other settings: the open items are its own."""
    for prompt in settings.prompts:
        if get_meta(db, f"generate/{prompt}") != fingerprint(prompt, settings):
            raise BadFactory(
                f"another generate makes the {prompt} records of this factory anew, with other settings: give each its "
                "own factory, and the articles as corpus"
            )


class _Made(NamedTuple):
    records: int
    rejects: int


def _do(db: sqlite3.Connection, item: sqlite3.Row, looker: Looker) -> _Made:
    """One item: its records, its rejects and the mark that it is finished. Inside the caller's transaction."""
    work, article_id = looker.work(item["snippet_id"])
    kept, dropped = sift(item["prompt"], families.load(item["prompt"]).make(work), work.snippet, _asked(db))
    db.executemany(
        "insert into record (item_id, snippet_id, article_id, family, fact, phrasing, role, question, answer,"
        " reference, seed) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(item["id"], item["snippet_id"], article_id, item["prompt"]),
                *(draft.fact, draft.phrasing, draft.role, draft.question, draft.answer),
                _reference(draft).to_json(),
                work.choice.seed,
            )
            for draft in kept
        ],
    )
    db.executemany(
        "insert into reject (item_id, family, phase, reason, question, answer) values (?, ?, ?, ?, ?, ?)",
        [(item["id"], item["prompt"], *drop) for drop in dropped],
    )
    db.execute("update item set finished_at = ? where id = ?", (time.time(), item["id"]))
    return _Made(len(kept), len(dropped))


def _reference(draft: Draft) -> Reference:
    """What an answer is judged against. Q-PT is never judged; its answer is long, so it is not kept twice."""
    return Reference(draft.answer if draft.fact else "", draft.alternatives, draft.source)


def _asked(db: sqlite3.Connection) -> Callable[[str], bool]:
    """Is this question in the factory already? Then it may not be asked again, with whatever answer or role."""
    return lambda question: (
        db.execute("select exists(select 1 from record where question = ?)", (question,)).fetchone()[0] == 1
    )


def sift(
    family: str, made: Iterator[Group | Dropped], source: str, asked: Callable[[str], bool]
) -> tuple[list[Draft], list[Dropped]]:
    """What passes the guards, and what does not, with the reason. A group passes or fails as a whole."""
    kept: list[Draft] = []
    dropped: list[Dropped] = []
    here: set[str] = set()
    for group in made:
        if isinstance(group, Dropped):
            dropped.append(group)
            continue
        reason = _group_refused(family, group, source, lambda question: question in here or asked(question))
        if reason:
            dropped.extend(Dropped("guard", reason, draft.question, draft.answer) for draft in group)
        else:
            kept.extend(group)
            here.update(draft.question for draft in group)
    return _without_untaught_probes(kept, dropped)


def _group_refused(family: str, group: Group, source: str, asked: Callable[[str], bool]) -> str | None:
    if len({draft.question for draft in group}) < len(group):
        return "asked_once: two of a group ask the same"
    for draft in group:
        if reason := refused(Pair(family, draft.question, draft.answer, source)):
            return reason
        if asked(draft.question):
            return "asked_once: the same question is in the factory already"
    return None


def _without_untaught_probes(kept: list[Draft], dropped: list[Dropped]) -> tuple[list[Draft], list[Dropped]]:
    """After the guards: a probe whose fact is not taught often enough any more would measure nothing."""
    taught = Counter(draft.fact for draft in kept if draft.role == "train")
    lost = [draft for draft in kept if draft.role == "probe" and taught[draft.fact] < MIN_TRAIN]
    reason = f"taught: fewer than {MIN_TRAIN} records teach what this probe asks"
    dropped.extend(Dropped("guard", reason, draft.question, draft.answer) for draft in lost)
    return [draft for draft in kept if draft not in lost], dropped
