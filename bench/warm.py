"""Two training jobs, one after the other: how long the lane goes without a step, warm and cold, in the same run.

    python -m bench.warm [--jobs 3] [--rounds 2] [--steps 600] [--json FILE]

Real `train` jobs under a real jobd, on a small pack that its own jobs make first. Warm: the next job stands by while
this one runs. Cold: `standby = false`, and nothing else is different. A gap lasts from the end of one job, as the queue
has it, to the end of the first step of the next, as its metrics have it. Rounds alternate.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs.kind
from bench.hand_over import serve
from supervisor import db as database
from supervisor import queue
from supervisor.home import Home
from supervisor.job import NewJob

DEADLINE_S = 600.0
SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 64, "tied": True}
TRAIN = {"micro_batch": 2, "grad_accum": 1, "lr": 3e-3, "min_lr": 3e-4, "warmup_steps": 5, "threads": 1}
SELDOM = {"eval_every": 10**6, "checkpoint_every": 10**6}


@dataclass(frozen=True)
class Gaps:
    """Seconds from the end of a job to the end of the first step of the next."""

    of: str
    median_s: float
    slowest_s: float
    gaps: int


def make_home(folder: Path, *, standby: bool) -> Home:
    home = Home(folder)
    database.create(home.queue_db)
    settings = {"device": "cpu", "standby": standby, "standby_min_free_mib": 0}
    (folder / "settings.toml").write_text("".join(f"{key} = {json.dumps(settings[key])}\n" for key in settings))
    return home


def run(home: Home, jobs_to_do: list[tuple[str, Mapping[str, Any]]]) -> list[int]:
    """Queue them, each after the one before, and serve them to their end. Their ids."""
    with contextlib.closing(home.connect()) as db:
        ids: list[int] = []
        for kind, args in jobs_to_do:
            given = jobs.kind.as_given(jobs.kind.parse(kind, args))
            ids.append(queue.add(db, NewJob(kind, given, "gpu", after=ids[-1:] * (kind != "train")), now=time.time()))
        subprocess.run(serve(home, "--until-empty"), check=True, timeout=DEADLINE_S)
        for job_id in ids:
            if (job := queue.get(db, job_id)).state != "succeeded":
                raise RuntimeError(f"job {job_id} ({job.kind}) is {job.state}: {job.error}")
    return ids


def make_pack(folder: Path) -> Path:
    """A home with a pack of a few of the bundled articles."""
    home = make_home(folder, standby=False)
    run(home, [
        ("corpus", {"factory": "factory.db", "limit": 4}),
        ("generate", {"factory": "factory.db", "phrasings_per_snippet": 1, "facts_per_article": 6}),
        ("tokenizer", {"factory": "factory.db", "out": "tokenizers/small", "vocab_size": 800}),
        ("pack", {"factory": "factory.db", "tokenizer": "tokenizers/small", "out": "packs/small", "context_len": 256}),
    ])  # fmt: skip
    return folder / "packs"


def measure(of: str, folder: Path, packs: Path, num_jobs: int, steps: int) -> list[float]:
    """The gaps between so many training jobs, in seconds."""
    home = make_home(folder, standby=of == "warm")
    (folder / "packs").symlink_to(packs)
    args = {"pack": "packs/small", "steps": steps, **SHAPE, **TRAIN, **SELDOM}
    ids = run(home, [("train", {**args, "name": f"m{n}", "seed": n}) for n in range(num_jobs)])
    with contextlib.closing(home.connect()) as db:
        ended = [queue.get(db, job_id).finished_at or 0.0 for job_id in ids]
    return [first_step_at(home, later) - end for end, (_, later) in zip(ended, itertools.pairwise(ids), strict=False)]


def first_step_at(home: Home, job_id: int) -> float:
    with contextlib.closing(sqlite3.connect(home.workdir(job_id) / "metrics.db")) as db:
        return float(db.execute("select at from step order by step limit 1").fetchone()[0])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=600, help="of a job: long enough for the next one to be warm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured here, too")
    told = parser.parse_args(argv)
    found: dict[str, list[float]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory(prefix="warm-") as top:
        (pack_home := Path(top) / "pack").mkdir()
        packs = make_pack(pack_home)
        for n, of in itertools.product(range(told.rounds), found):
            (folder := Path(top) / f"{n}-{of}").mkdir()
            found[of] += measure(of, folder, packs, told.jobs, told.steps)
    gaps = [Gaps(of, statistics.median(times), max(times), len(times)) for of, times in found.items()]
    print("from the end of one training job to the end of the next one's first step:")
    for one in gaps:
        print(f"{one.of:6} median {one.median_s:6.3f} s   slowest {one.slowest_s:6.3f} s   of {one.gaps}")
    ratio = gaps[0].median_s / gaps[1].median_s
    print(f"warm / cold: {ratio:.2f}")
    if told.json is not None:
        measured = {"gaps": [dataclasses.asdict(one) for one in gaps], "warm_to_cold": ratio}
        told.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
