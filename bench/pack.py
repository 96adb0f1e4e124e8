"""How fast records become packed contexts, beside plain SentencePiece on the same texts in the same run.

    .venv/bin/python bench/pack.py [--records 60000] [--context-len 4096] [--factory PATH]
    .venv/bin/python bench/pack.py --only shuffle --records 2300000

The factory is made of the bundled sample: passages asked for in 28 ways each, and short questions, about half and half;
or give one of your own, which is only read: --factory PATH.
Packing runs in a process of its own, so its peak memory is its own; it is measured over a quarter of the factory too,
so that what grows with the factory can be told. Speeds are per second of CPU time of one core.
Shuffling is what packing does before it tokenizes: draw an order of all records, read each one in that order.
"""

import argparse
import hashlib
import itertools
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from datagen.factory import open_factory, transaction  # noqa: E402
from gpt import source  # noqa: E402
from gpt.pack import BATCH, PackConfig, pack  # noqa: E402
from gpt.shards import open_pack  # noqa: E402
from gpt.shuffle import order_records, split_articles  # noqa: E402
from gpt.tokenizer import Tokenizer  # noqa: E402
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer  # noqa: E402

RECORD = """insert into record (item_id, snippet_id, article_id, family, fact, phrasing, role, question, answer,
            reference, seed) values (?, ?, ?, ?, ?, 'p', 'train', ?, ?,
            '{"answer": "", "alternatives": [], "source": ""}', 0)"""


def make_factory(path: Path, num_records: int) -> None:
    """Articles of 120 records: two passages asked for in 28 ways each, and short questions."""
    texts = [file.read_text().strip() for file in sorted((ROOT / "datagen" / "sample").glob("*.txt"))]
    db = open_factory(path)
    dice = random.Random(0)
    with transaction(db):
        for article in range(1, max(2, num_records // 120) + 1):
            text = texts[article % len(texts)]
            digest = hashlib.sha256(text.encode()).hexdigest()
            db.execute("insert into article values (?, ?, 'bench', ?, 1, ?)", (article, f"A {article}", digest, text))
            db.execute("insert into snippet values (?, ?, 0, ?, 0, 1)", (article, article, text))
            db.execute("insert into item values (?, ?, 'bench', 1, 1.0)", (article, article))
            sentences = re.split(r"(?<=\.)\s+", text)
            for number in range(120):
                db.execute(RECORD, (article, article, article, *make_record(article, number, sentences, dice)))
    db.close()


def make_record(article: int, number: int, sentences: list[str], dice: random.Random) -> tuple[str, str, str, str]:
    """(family, fact, question, answer)"""
    if number < 56:
        at = number // 28 * 4
        passage = " ".join([f"This is A {article}.", *sentences[at : at + 8]])
        return "qpt", "", f"What is written in A {article}, {number}, {at}?", passage
    sentence = dice.choice(sentences)
    question = f"In A {article}, {number}, fill in what is missing: {sentence[: dice.randint(20, 120)]}"
    return "cloze", f"{article}:{number}", question, sentence[-dice.randint(5, 40) :]


def pack_here(home: Path, context_len: int, first: int | None) -> dict[str, Any]:
    """The child: pack (the first so many records alone), and say what it cost."""
    with source.opened(home / "factory.db") as db:
        if first is not None:
            db.execute(f"create temp view record as select * from main.record where id <= {first}")
        manifest = pack(db, Tokenizer.load(home / "tokenizer"), home / "pack", PackConfig(context_len))
    return {
        "records": sum(counts["num_documents"] for counts in manifest["counts"].values()),
        "tokens": sum(counts["num_tokens"] for counts in manifest["counts"].values()),
        "fill_share": manifest["fill_share"],
    }


def shuffle_here(home: Path) -> dict[str, Any]:
    """The child: read every record in the order of the permutation, as packing does."""
    num_bytes = 0
    with source.opened(home / "factory.db") as db:
        order = order_records(db, split_articles(db, 0.1, 0), 0)
        for ids in order.values():
            for at in range(0, len(ids), BATCH):
                rows = source.fetch(db, ids[at : at + BATCH].tolist())
                num_bytes += sum(len(question) + len(answer) for _, question, answer in rows)
    return {"records": sum(map(len, order.values())), "bytes": num_bytes}


def measured(args: argparse.Namespace) -> None:
    started, cpu = time.monotonic(), time.process_time()
    home = args.child
    result = shuffle_here(home) if args.only == "shuffle" else pack_here(home, args.context_len, args.first)
    cost = {
        "wall_s": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result | cost))


def child(home: Path, *options: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(home), *map(str, options)]
    cost: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return cost


def plain_sentencepiece(home: Path) -> tuple[float, float]:
    """Tokens per second and CPU seconds of encode alone, over the same texts in the same batches."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(home / "tokenizer" / "tokenizer.model"))
    with source.opened(home / "factory.db") as db:
        rows = db.execute("select question, answer from record order by id")
        texts = [text for row in itertools.islice(rows, 40_000) for text in row]
    cpu = time.process_time()
    tokens = sum(len(ids) for at in range(0, len(texts), 256) for ids in processor.encode(texts[at : at + 256]))
    spent = time.process_time() - cpu
    return tokens / spent, spent


def loader(home: Path) -> float:
    """Contexts per second of CPU time, in random order, as a training loop reads them."""
    opened = open_pack(home / "pack")
    order = np.random.default_rng(0).integers(0, opened.num_contexts("train"), 2000)
    cpu = time.process_time()
    for index in order:
        opened.context("train", int(index))
    return len(order) / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--context-len", type=int, default=4096)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--factory", type=Path)
    parser.add_argument("--only", choices=["shuffle"])
    for hidden, kind in (("--child", Path), ("--first", int)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return measured(args)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if args.factory:
            (home / "factory.db").symlink_to(args.factory.absolute())
        else:
            make_factory(home / "factory.db", args.records)
        shuffling(home)
        if args.only is None:
            packing(home, args)
    return None


def shuffling(home: Path) -> None:
    cost = child(home, "--only", "shuffle")
    mb, size = cost["bytes"] / 1e6, (home / "factory.db").stat().st_size / 1e6
    print(
        f"shuffle: {cost['records']} records, {mb:.0f} MB of text (a file of {size:.0f} MB) read in their new order in "
        f"{cost['wall_s']:.1f} s ({cost['cpu_s']:.1f} s CPU), {1000 * cost['wall_s'] / mb:.1f} s a GB, "
        f"peak {cost['peak_mib']:.0f} MiB"
    )


def packing(home: Path, args: argparse.Namespace) -> None:
    with source.opened(home / "factory.db") as db:
        make_tokenizer(db, home / "tokenizer", home, TokenizerConfig(args.vocab_size, max_characters=3_000_000))
        [quarter] = db.execute("select max(id) / 4 from record").fetchone()
    options = ("--context-len", args.context_len)
    small = child(home, *options, "--first", quarter)
    shutil.rmtree(home / "pack")
    for name in ("first", "again"):  # twice, with the plain encoder between: the machine is shared
        cost = child(home, *options)
        plain, spent = plain_sentencepiece(home)
        print(
            f"{name}: pack {cost['tokens'] / cost['cpu_s'] / 1e6:.2f} M tokens/s of CPU "
            f"({cost['tokens'] / 1e6:.1f} M tokens, {cost['cpu_s']:.1f} s CPU, {cost['wall_s']:.1f} s wall, "
            f"peak {cost['peak_mib']:.0f} MiB); plain sentencepiece {plain / 1e6:.2f} M tokens/s ({spent:.1f} s)"
        )
        if name == "first":
            print(f"fill {cost['fill_share']}; loader {loader(home):.0f} contexts/s")
            shutil.rmtree(home / "pack")
    grown = (cost["peak_mib"] - small["peak_mib"]) * 2**20 / (cost["records"] - small["records"])
    per_record = (home / "factory.db").stat().st_size / cost["records"]
    print(
        f"memory: {small['peak_mib']:.0f} MiB for {small['records']} records, {cost['peak_mib']:.0f} for "
        f"{cost['records']}: {grown:.1f} bytes a record; a factory of 5 GB has {5e9 / per_record / 1e6:.1f} M: "
        f"{cost['peak_mib'] + grown * (5e9 / per_record - cost['records']) / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
