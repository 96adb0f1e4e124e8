"""A home with a real factory, tokenizer and pack, all small: made in a moment, for tests of what comes after them."""

from pathlib import Path
from typing import Any

from jobs import kind
from jobs.contract import Run, Ticket
from tests.gpt.small_factory import make_factory

TRAIN = {
    "pack": "packs/main",
    "name": "tiny",
    "steps": 12,
    "micro_batch": 2,
    "grad_accum": 1,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 16,
    "lr": 3e-3,
    "min_lr": 3e-4,
    "warmup_steps": 2,
    "dropout": 0.1,
    "eval_every": 4,
    "eval_contexts": 2,
    "checkpoint_every": 3,
    "threads": 1,
    "draw_every_s": 1000.0,
}


def make_home(folder: Path, num_articles: int = 30) -> Path:
    make_factory(folder / "factory.db", num_articles)
    run_kind(folder, 1, "tokenizer", vocab_size=800)
    run_kind(folder, 2, "pack", context_len=160, val_articles=0.2)
    return folder


def run_of(home: Path, job: int, name: str) -> Run:
    workdir = home / "runs" / str(job)
    workdir.mkdir(parents=True, exist_ok=True)
    return Run(Ticket(job, 1, name, {}, str(home), str(workdir)))


def run_kind(home: Path, job: int, kind_name: str, run: Run | None = None, /, **settings: Any) -> Run:
    """Run a kind here to its end. Raises what it raises; the run it gives back holds what was reported."""
    run, module = run or run_of(home, job, kind_name), kind.load(kind_name)
    args = kind.parse(kind_name, settings)
    kind.check(kind_name, args, home)
    prepared = module.prepare(args, run) if hasattr(module, "prepare") else None
    module.run(args, run, prepared)
    return run


def submitted(run: Run) -> dict[str, dict[str, Any]]:
    """What a run queued, by key."""
    return {report["key"]: report for report in run.sent if report["report"] == "submit"}
