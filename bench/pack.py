"""How fast records become packed contexts, beside plain SentencePiece on the same texts in the same run.

    .venv/bin/python bench/pack.py [--records 60000] [--context-len 4096] [--factory PATH]

The factory is made of the bundled sample: passages asked for in 28 ways each, and short questions, about half and half;
or give one of your own, which is only read: --factory PATH.
Packing runs in a process of its own, so its peak memory is its own. Speeds are per second of CPU time of one core.
"""

import argparse
import hashlib
import itertools
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sentencepiece

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from datagen.factory import open_factory, transaction  # noqa: E402
from gpt import source  # noqa: E402
from gpt.pack import PackConfig, pack  # noqa: E402
from gpt.shards import open_pack  # noqa: E402
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


def pack_here(home: Path, context_len: int) -> None:
    """The child: pack, and say what it cost."""
    started, cpu = time.monotonic(), time.process_time()
    with source.opened(home / "factory.db") as db:
        manifest = pack(db, Tokenizer.load(home / "tokenizer"), home / "pack", PackConfig(context_len))
    cost = {
        "wall_s": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "tokens": sum(counts["num_tokens"] for counts in manifest["counts"].values()),
        "fill_share": manifest["fill_share"],
    }
    print(json.dumps(cost))


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
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return pack_here(args.child, args.context_len)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if args.factory:
            (home / "factory.db").symlink_to(args.factory.absolute())
        else:
            make_factory(home / "factory.db", args.records)
        with source.opened(home / "factory.db") as db:
            make_tokenizer(db, home / "tokenizer", home, TokenizerConfig(args.vocab_size, max_characters=3_000_000))
        command = [sys.executable, __file__, "--child", folder, "--context-len", str(args.context_len)]
        for name in ("first", "again"):  # twice, with the plain encoder between: the machine is shared
            cost = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            plain, spent = plain_sentencepiece(home)
            print(
                f"{name}: pack {cost['tokens'] / cost['cpu_s'] / 1e6:.2f} M tokens/s of CPU "
                f"({cost['tokens'] / 1e6:.1f} M tokens, {cost['cpu_s']:.1f} s CPU, {cost['wall_s']:.1f} s wall, "
                f"peak {cost['peak_mib']:.0f} MiB); plain sentencepiece {plain / 1e6:.2f} M tokens/s ({spent:.1f} s)"
            )
            if name == "first":
                speed = loader(home)
                print(f"fill {cost['fill_share']}; loader {speed:.0f} contexts/s")
                for path in (home / "pack").iterdir():
                    path.unlink()
    return None


if __name__ == "__main__":
    main()
