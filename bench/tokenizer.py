"""Is training a tokenizer bounded in memory? python -m bench.tokenizer [--gb 0.05 0.5] [--source FACTORY]

Factories of the bundled sample, or of another factory's articles, repeated to so many gigabytes of text (a number in
each copy's lines, so no two copies are alike), and on each the tokenizer job's own work: so many pieces, and a half and
a quarter of them beside. Peak memory is the kernel's account (wait4) of the process and of the one that trains below
it. Needs the disk for the largest factory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.datagen import make_factory
from datagen.factory import copy_factory, open_factory, transaction
from datagen.generate import Settings, generate
from datagen.phrasings import Choice
from datagen.records import FAMILIES
from gpt import source
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer, read_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, nargs="+", default=[0.05, 0.5], help="of text in each factory")
    parser.add_argument("--source", type=Path, help="the factory whose articles are repeated; none: the sample's")
    parser.add_argument("--pieces", type=int, default=16_000)
    parser.add_argument("--folder", type=Path, help="where there is room; none: the usual place for what is temporary")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        training(args.only, args.pieces)
        return
    print("| text | factory | peak memory | CPU s | wall s | pieces: tokens per word |\n|---|---|---|---|---|---|")
    for gb in args.gb:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            print(measure(Path(folder), gb, args.source, args.pieces), flush=True)


def measure(folder: Path, gb: float, texts: Path | None, pieces: int) -> str:
    """A line of the table."""
    path = folder / "factory.db"
    begin(path, texts)
    grow(path, round(gb * 1e9))
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-m", "bench.tokenizer", "--only", folder, "--pieces", str(pieces)])
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, "the training failed"
    wall_s, cpu_s = time.monotonic() - started, used.ru_utime + used.ru_stime
    sizes = read_report(folder / "tokenizer")["sizes"]
    per_word = ", ".join(
        f"{size}: {found['tokens_per_word']:.3f}"
        for size, found in sorted(sizes.items(), key=lambda each: int(each[0]))
    )
    size_gb = path.stat().st_size / 1e9
    return (
        f"| {gb:g} GB | {size_gb:.2f} GB | {used.ru_maxrss / 1024:.0f} MiB | {cpu_s:.0f} | {wall_s:.0f} | {per_word} |"
    )


def begin(path: Path, texts: Path | None) -> None:
    """A factory with records: another one's copy, or the sample's."""
    if texts is not None:
        return copy_factory(texts, path)
    make_factory(path, copies=1)
    db = open_factory(path)
    for _ in generate(db, Settings(FAMILIES, Choice(None, 0.15, 1, 0), 10)):
        pass
    return db.close()


def grow(path: Path, size: int) -> None:
    """Add copies of its articles until they hold so many characters."""
    db = open_factory(path)
    [once] = db.execute("select sum(length(text)) from article").fetchone()
    [last] = db.execute("select max(id) from article").fetchone()
    for copy in range(1, size // once + 1):
        with transaction(db):
            db.execute(
                """insert into article (title, source, sha256, num_words, text)
                   select title || ' ' || :copy, source, sha256, num_words, replace(text, '. ', ' ' || :copy || '. ')
                     from article where id <= :last""",
                {"copy": copy, "last": last},
            )
    db.close()


def training(folder: Path, pieces: int) -> None:
    """In a process of its own."""
    with source.opened(folder / "factory.db") as db:
        make_tokenizer(db, folder / "tokenizer", folder, TokenizerConfig(pieces), compare=(pieces // 4, pieces // 2))


if __name__ == "__main__":
    main()
