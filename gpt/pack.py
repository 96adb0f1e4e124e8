"""Records to packed contexts: split by article, one permutation over all of them, best fit, whole documents.

    factory.db ─ ids ─► one seeded permutation ─► documents, tokenized as they come ─► Packer ─► shards
                                                                                  └─► questions.jsonl, manifest.json

In memory: the ids, the packer's pool, one shard. A journal beside the shards holds where the work stands, as record
ids: the cursor, the pool, the contexts that are in no shard yet. Killed at any moment, a pack goes on from
there and ends in the same bytes as if nothing had happened.
"""

import json
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datagen import files
from datagen.records import Group, Question, Record, write_questions
from gpt import source
from gpt.packer import Document, Packer, Row, arrays
from gpt.shards import SPLITS, write_arrays
from gpt.shuffle import BadPack, order_records, split_articles
from gpt.source import Stopped
from gpt.tokenizer import MODEL_FILE, Tokenizer

JOURNAL = "packing.json"
QUESTIONS = "questions.jsonl"
OURS = re.compile(r"(train|val)-\d+\.safetensors$|packing\.json$|\..*\.tmp$")
BATCH = 128  # records tokenized in one call: far under a second, so a stop is seen in time
LONG_ANSWER = 100  # characters: a passage, which is the answer to each way of asking for it
KNOWN_CHARACTERS = 2**26  # of long answers whose tokens are kept: 150 MB with them
MAX_NAMED = 100  # rejected records named in the manifest; the count is of all


@dataclass(frozen=True)
class PackConfig:
    """context_len: tokens of room in a context. shard_contexts: contexts in a shard. val_articles: share of the
    articles kept from training. window: documents in the pool that contexts are filled up from."""

    context_len: int = 4096
    seed: int = 0
    shard_contexts: int = 1024
    val_articles: float = 0.1
    window: int = 4096


@dataclass
class Split:
    """How far the packing of one split has come. All of it as record ids and counts, so it fits a journal."""

    cursor: int = 0  # records taken from the order
    shards: list[str] = field(default_factory=list)
    pool: list[int] = field(default_factory=list)  # the packer's, in no context yet
    closed: list[list[int]] = field(default_factory=list)  # contexts in no shard yet
    num_contexts: int = 0
    num_documents: int = 0
    num_tokens: int = 0
    num_loss_tokens: int = 0
    num_too_long: int = 0
    too_long: list[int] = field(default_factory=list)  # the first few, by id

    def counts(self) -> dict[str, int]:
        return {name: value for name, value in asdict(self).items() if name.startswith("num_")}


Tell = Callable[[int, int, float], None]  # records done, of how many, tokens per second
Stop = Callable[[], bool]


class Packing:
    """One pack being made in a folder, from the journal's state on."""

    def __init__(
        self, db: sqlite3.Connection, tokenizer: Tokenizer, folder: Path, config: PackConfig, tell: Tell, stop: Stop
    ) -> None:
        self.db, self.tokenizer, self.folder, self.config = db, tokenizer, folder, config
        self.tell, self.stop = tell, stop
        self.made_with = made_with(db, tokenizer, config)
        self.val = split_articles(db, config.val_articles, config.seed)
        self.order = order_records(db, set(self.val), config.seed)
        self.dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
        self.known: dict[str, NDArray[Any]] = {}  # long answers, encoded
        self.known_characters = 0
        self.splits = self._recall()
        self.started, self.tokenized = time.monotonic(), 0

    def run(self) -> None:
        """Pack both splits. Raises Stopped, with the journal written."""
        for name in SPLITS:
            self._pack_split(name)
        total = sum(map(len, self.order.values()))
        self.tell(total, total, self._tokens_per_s())

    def shard_names(self) -> list[str]:
        return [name for split in self.splits.values() for name in split.shards]

    def documents(self, ids: Sequence[int] | NDArray[Any]) -> Iterator[Document]:
        """Lay records out, in the order of ids. Raises Stopped when told to."""
        for at in range(0, len(ids), BATCH):
            if self.stop():
                raise Stopped
            rows = source.fetch(self.db, [int(id) for id in ids[at : at + BATCH]])
            for record, question, answer in self._encoded(rows):
                tokens, start, end = self.tokenizer.lay_out(question, answer)
                self.tokenized += len(tokens)
                yield Document(record, np.array(tokens, self.dtype), start, end)

    def _encoded(self, rows: list[tuple[int, str, str]]) -> Iterator[tuple[int, list[int], list[int]]]:
        """The rows, tokenized in one call: a call a text takes half as long again. What is known is not done again."""
        new = list(dict.fromkeys(answer for _, _, answer in rows if answer not in self.known))
        found = self.tokenizer.encode_all([*(question for _, question, _ in rows), *new])
        fresh = dict(zip(new, found[len(rows) :], strict=True))
        for (record, _, answer), question in zip(rows, found[: len(rows)], strict=True):
            yield record, question, fresh[answer] if answer in fresh else self.known[answer].tolist()
        self._remember({answer: ids for answer, ids in fresh.items() if len(answer) >= LONG_ANSWER})

    def _remember(self, fresh: dict[str, list[int]]) -> None:
        """Keep encoded answers, and forget the oldest that there is no room for."""
        self.known |= {answer: np.array(ids, self.dtype) for answer, ids in fresh.items()}
        self.known_characters += sum(map(len, fresh))
        while self.known_characters > KNOWN_CHARACTERS:
            oldest = next(iter(self.known))
            self.known_characters -= len(oldest)
            del self.known[oldest]

    def _pack_split(self, name: str) -> None:
        split, order, config = self.splits[name], self.order[name], self.config
        packer = Packer(config.context_len, config.window, list(self.documents(split.pool)))
        closed = self._rows(split.closed)
        total = sum(map(len, self.order.values()))
        while split.cursor < len(order):
            try:
                batch = list(self.documents(order[split.cursor : split.cursor + BATCH]))
            except Stopped:
                self._journal(split, packer.pool, closed)
                raise
            for document in self._fitting(split, batch):
                closed += packer.add(document)
            split.cursor += len(batch)
            while len(closed) >= config.shard_contexts:
                closed = self._write_shard(name, split, closed, packer.pool)
            self.tell(sum(each.cursor for each in self.splits.values()), total, self._tokens_per_s())
        closed += packer.finish()
        while closed:
            closed = self._write_shard(name, split, closed, [])

    def _fitting(self, split: Split, batch: list[Document]) -> list[Document]:
        """The batch without the documents that no context holds; these are counted, the first few by name."""
        too_long = [document.record for document in batch if len(document.tokens) > self.config.context_len]
        split.num_too_long += len(too_long)
        split.too_long = (split.too_long + too_long)[:MAX_NAMED]
        return [document for document in batch if len(document.tokens) <= self.config.context_len]

    def _write_shard(self, name: str, split: Split, closed: list[Row], pool: list[Document]) -> list[Row]:
        """Write a shard of the closed rows, then the journal that knows of it. Returns the rows that are left.

        Killed in between, the same shard is written again.
        """
        rows, rest = closed[: self.config.shard_contexts], closed[self.config.shard_contexts :]
        path = self.folder / f"{name}-{len(split.shards):05d}.safetensors"
        write_arrays(path, arrays(rows, self.dtype))
        split.shards.append(path.name)
        split.num_contexts += len(rows)
        for document in (document for row in rows for document in row):
            split.num_documents += 1
            split.num_tokens += len(document.tokens)
            split.num_loss_tokens += document.loss_end - document.loss_start
        self._journal(split, pool, rest)
        return rest

    def _rows(self, ids: list[list[int]]) -> list[Row]:
        """Rows from a journal, tokenized again."""
        documents = self.documents([id for row in ids for id in row])
        return [[next(documents) for _ in row] for row in ids]

    def _journal(self, split: Split, pool: list[Document], closed: list[Row]) -> None:
        split.pool = [document.record for document in pool]
        split.closed = [[document.record for document in row] for row in closed]
        state = {name: asdict(split) for name, split in self.splits.items()}
        files.write_json(self.folder / JOURNAL, {"made_with": self.made_with, "splits": state})

    def _recall(self) -> dict[str, Split]:
        """The journal's state, or a fresh one when there is no journal or it is of another pack."""
        try:
            journal = json.loads((self.folder / JOURNAL).read_text())
        except (FileNotFoundError, ValueError):
            journal = {}
        if journal.get("made_with") != self.made_with:
            return {name: Split() for name in SPLITS}
        return {name: Split(**journal["splits"][name]) for name in SPLITS}

    def _tokens_per_s(self) -> float:
        return self.tokenized / max(time.monotonic() - self.started, 1e-9)


def questions(db: sqlite3.Connection, val: dict[int, str]) -> Iterator[Question]:
    """What a model made of this pack is asked: unseen phrasings of facts it is taught, and all about unseen articles.

    val: id and title of the articles kept from training.
    """
    cursor = db.execute(
        """select record.*, article.title from record join article on article.id = record.article_id
            where family <> 'qpt' and (role = 'probe' or article_id in (select value from json_each(?)))
            order by record.id""",
        (json.dumps(list(val)),),
    )
    names = [column[0] for column in cursor.description]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        group: Group = "unseen_articles" if row["article_id"] in val else "seen_facts"
        yield Question.of(Record.from_row(row), f"r{row['id']}", group, row["title"])


def most_frequent_answers(db: sqlite3.Connection, val: dict[int, str]) -> dict[str, str]:
    """What a model that learnt nothing but habit would say: each family's most frequent answer in training."""
    rows = db.execute(
        """select family, answer from record
            where family <> 'qpt' and role = 'train' and article_id not in (select value from json_each(?))
            group by family, answer order by family, count(*) desc, answer""",
        (json.dumps(list(val)),),
    )
    answers: dict[str, str] = {}
    for family, answer in rows:
        answers.setdefault(family, answer)
    return answers


def made_with(db: sqlite3.Connection, tokenizer: Tokenizer, config: PackConfig) -> dict[str, Any]:
    """All that a pack's bytes depend on."""
    state = asdict(source.fingerprint(db))
    return {"factory": state, "tokenizer_sha256": tokenizer.sha256, "config": asdict(config)}


def pack(
    db: sqlite3.Connection,
    tokenizer: Tokenizer,
    folder: Path,
    config: PackConfig,
    *,
    run: int | None = None,
    tell: Tell = lambda done, total, tokens_per_s: None,
    stop: Stop = lambda: False,
) -> dict[str, Any]:
    """Make the pack in folder, or finish the one begun there. Returns its manifest.

    db: as source.opened gave it. run: the job, for the manifest. A finished pack of the same things, or of the same
    job, is left as it is.
    Raises Stopped with everything saved; BadPack when there is too little to pack, or the folder holds another pack.
    """
    given = made_with(db, tokenizer, config)
    if files.is_complete(folder):
        return source.read_finished(folder, given, run, BadPack)
    folder.mkdir(parents=True, exist_ok=True)
    packing = Packing(db, tokenizer, folder, config, tell, stop)
    packing.run()
    manifest = given | {"kind": "pack", "run": run} | _describe(packing)
    if not manifest["counts"]["train"]["num_documents"]:
        raise BadPack(f"no record fits {config.context_len} tokens: take a larger context_len")
    asked, too_long = Counter[str](), Counter[str]()
    items = _askable(tokenizer, config.context_len, too_long, questions(db, packing.val))
    write_questions(folder / QUESTIONS, _heeding(stop, _counting(asked, items)))
    files.write_whole(folder / MODEL_FILE, tokenizer.model_bytes)
    names = [*packing.shard_names(), QUESTIONS, MODEL_FILE]
    manifest |= {"questions": dict(sorted(asked.items())), "questions_too_long": too_long.total()}
    manifest |= {"sha256": {n: files.sha256(folder / n) for n in names}}
    _sweep(folder, keep=set(names))
    files.write_manifest(folder, manifest)
    return manifest


def _describe(packing: Packing) -> dict[str, Any]:
    config, tokenizer, splits = packing.config, packing.tokenizer, packing.splits
    return {
        "context_len": config.context_len,
        "seed": config.seed,
        "vocab_size": tokenizer.vocab_size,
        "pad": tokenizer.endoftext,
        "shards": {name: split.shards for name, split in splits.items()},
        "counts": {name: split.counts() for name, split in splits.items()},
        "fill_share": {
            name: round(split.num_tokens / (split.num_contexts * config.context_len), 5) if split.shards else None
            for name, split in splits.items()
        },
        "rejected": {
            "reason": f"longer than {config.context_len} tokens: nothing is cropped",
            "count": sum(split.num_too_long for split in splits.values()),
            "records": [record for split in splits.values() for record in split.too_long],
        },
        "val_articles": sorted(packing.val.values()),
        "most_frequent": most_frequent_answers(packing.db, packing.val),
    }


def _askable(
    tokenizer: Tokenizer, context_len: int, too_long: "Counter[str]", items: Iterator[Question]
) -> Iterator[Question]:
    """Those that leave room for an answer in a context; the others, by group, are counted in too_long. One that no
    model can be asked would end the answers to all of them."""
    for item in items:
        if len(tokenizer.prompt(item.question)) < context_len:
            yield item
        else:
            too_long[item.group] += 1


def _counting(counts: "Counter[str]", items: Iterator[Question]) -> Iterator[Question]:
    for item in items:
        counts[item.group] += 1
        yield item


def _heeding(stop: Stop, items: Iterator[Question]) -> Iterator[Question]:
    for number, item in enumerate(items):
        if number % BATCH == 0 and stop():
            raise Stopped
        yield item


def _sweep(folder: Path, keep: set[str]) -> None:
    """Remove the journal, and whatever an attempt that was killed or was of another factory left behind."""
    for path in folder.iterdir():
        if path.name not in keep and OURS.match(path.name):
            path.unlink()
