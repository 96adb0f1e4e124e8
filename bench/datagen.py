"""How fast snippets become records, beside writing the very same rows with json and SQLite alone in the same run.

    .venv/bin/python bench/datagen.py [--copies 4]

The corpus is the bundled sample, repeated under new titles. "Plain" is the physical bound: the records are read into
memory, then each reference is serialised and all rows are inserted into an empty factory in one transaction.
Peak memory is of a process that only generates.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from datagen.factory import open_factory, transaction  # noqa: E402
from datagen.generate import Settings, generate  # noqa: E402
from datagen.records import Record  # noqa: E402
from datagen.sentences import split  # noqa: E402

COLUMNS = "item_id, snippet_id, article_id, family, fact, phrasing, role, question, answer, reference, seed"


def make_factory(path: Path, copies: int) -> None:
    db = open_factory(path)
    with transaction(db):
        for copy in range(copies):
            for file in sorted((ROOT / "datagen" / "sample").glob("*.txt")):
                title, _, text = file.read_text().partition("\n")
                add_article(db, f"{title.removeprefix('# ')}{f' {copy}' if copy else ''}", text.strip())
    db.close()


def add_article(db, title: str, text: str) -> None:  # type: ignore[no-untyped-def]
    digest = hashlib.sha256(text.encode()).hexdigest()
    columns = (title, "bench", digest, len(text.split()), text)
    insert = "insert into article (title, source, sha256, num_words, text) values (?, ?, ?, ?, ?)"
    article_id = db.execute(insert, columns).lastrowid
    sentences = [sentence for paragraph in text.split("\n\n") for sentence in split(paragraph)]
    starts = [*range(0, max(len(sentences) - 8, 0), 4), max(len(sentences) - 8, 0)]
    for ordinal, start in enumerate(starts):
        window = sentences[start : start + 8]
        insert = "insert into snippet (article_id, ordinal, text, first_sentence, num_sentences) values (?, ?, ?, ?, ?)"
        db.execute(insert, (article_id, ordinal, " ".join(window), start, len(window)))


def generating(path: Path) -> None:
    """In a process of its own: fill the factory, say what it took."""
    db = open_factory(path)
    started, cpu = time.perf_counter(), time.process_time()
    records = 0
    for progress in generate(db, Settings()):
        records = progress.records
    spent = {"records": records, "wall_s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**spent, "peak_mib": peak}))


def plain(made: Path, path: Path) -> tuple[float, float]:
    """(wall, CPU seconds) of writing the same rows without making them."""
    source, db = open_factory(made), open_factory(path)
    for table in ("article", "snippet", "item"):
        rows = [tuple(row) for row in source.execute(f"select * from {table}")]
        with transaction(db):
            db.executemany(f"insert into {table} values ({','.join('?' * len(rows[0]))})", rows)
    rows = source.execute(f"select {COLUMNS} from record order by id").fetchall()
    ready = [(tuple(row), Record.from_row(row).reference) for row in rows]
    started, cpu = time.perf_counter(), time.process_time()
    with transaction(db):
        db.executemany(
            f"insert into record ({COLUMNS}) values ({','.join('?' * 11)})",
            ((*row[:9], reference.to_json(), row[10]) for row, reference in ready),
        )
    return time.perf_counter() - started, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        generating(args.only)
        return
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.db"
        make_factory(made, args.copies)
        child = [sys.executable, __file__, "--only", str(made)]
        result = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
        plain_wall, plain_cpu = plain(made, Path(folder) / "plain.db")
        size = made.stat().st_size / 1e6
    records = result["records"]
    print(f"{records:,} records of {66 * args.copies} articles, factory of {size:,.0f} MB")
    for name, wall, cpu in (("generate", result["wall_s"], result["cpu_s"]), ("plain", plain_wall, plain_cpu)):
        print(f"{name:>9}: {records / wall:8,.0f} records/s, {records / cpu:8,.0f} per CPU second ({wall:.1f} s)")
    print(f"generate takes {result['cpu_s'] / plain_cpu:.1f} x the CPU of plain; peak {result['peak_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
