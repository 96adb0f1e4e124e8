"""The kinds tokenizer and pack: what they refuse, how they leave, and that a killed one ends in the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from datagen import files
from gpt.shards import open_pack
from jobs import kind
from jobs.contract import BadArgs, Run, Ticket, Unfinished
from tests.gpt.small_factory import make_factory

SETTINGS = {
    "tokenizer": {"vocab_size": 800, "terms": "Siege,Pearl Harbor", "compare": "760"},
    "pack": {"context_len": 160, "shard_contexts": 2, "val_articles": 0.2, "window": 64},
}
CHILD = """
import json, sys
from pathlib import Path
from jobs import kind
from jobs.contract import Run, Ticket
name, home, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
import gpt.pack, gpt.train_tokenizer
print("go", flush=True)
kind.load(name).run(kind.parse(name, settings), Run(Ticket(7, 1, name, {}, str(home), str(home / "runs" / "7"))))
"""


def make_home(folder: Path, num_articles: int = 60) -> Path:
    (folder / "runs" / "7").mkdir(parents=True)
    make_factory(folder / "factory.db", num_articles)
    return folder


def run_here(name: str, home: Path, stop: bool = False, job: int = 7, **changes: Any) -> Run:
    job_run = Run(Ticket(job, 1, name, {}, str(home), str(home / "runs" / "7")))
    job_run.stop_requested = stop
    kind.load(name).run(kind.parse(name, SETTINGS[name] | changes), job_run)
    return job_run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where both kinds ran, straight."""
    home = make_home(tmp_path_factory.mktemp("straight"))
    for name in SETTINGS:
        run_here(name, home)
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start_child(name: str, home: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, name, str(home), json.dumps(SETTINGS[name])]
    root = Path(__file__).parent.parent.parent
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "go\n"
    return child


def kill_until_done(name: str, home: Path, out: Path, longest_s: float) -> int:
    """Run the kind, kill -9 its tree at a random moment, again, until it gets through. Returns how many kills hit."""
    dice = random.Random(5)
    kills = 0
    while not files.is_complete(out):
        child = start_child(name, home)
        life_s = dice.uniform(0, longest_s) if kills < 12 else 60.0
        deadline = time.monotonic() + life_s
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            kills += 1
        child.communicate()
        assert child.returncode in (0, -signal.SIGKILL)
    return kills


def test_a_pack_killed_at_random_moments_ends_in_the_same_bytes(done: Path, tmp_path: Path) -> None:
    home = make_home(tmp_path)
    run_here("tokenizer", home)
    started = time.monotonic()
    run_here("pack", home, out="packs/timed")
    kills = kill_until_done("pack", home, home / "packs" / "main", (time.monotonic() - started) / 6)
    assert kills > 2
    assert contents(home / "packs" / "main") == contents(done / "packs" / "main")
    open_pack(home / "packs" / "main").verify()


def test_a_tokenizer_killed_at_random_moments_ends_in_the_same_bytes(done: Path, tmp_path: Path) -> None:
    home = make_home(tmp_path)
    kills = kill_until_done("tokenizer", home, home / "tokenizers" / "main", 0.3)
    assert kills > 0
    assert contents(home / "tokenizers" / "main") == contents(done / "tokenizers" / "main")


def test_finished_work_is_found_and_not_done_again_even_when_the_factory_grew(tmp_path: Path) -> None:
    home = make_home(tmp_path, 12)
    for name in SETTINGS:
        run_here(name, home)
    before = contents(home / "packs" / "main")
    (home / "factory.db").unlink()
    make_factory(home / "factory.db", 14)
    run_here("tokenizer", home)
    run_here("pack", home)  # the same job, run again after it was killed between its last write and its exit
    assert contents(home / "packs" / "main") == before
    with pytest.raises(BadArgs, match="made with other factory"):
        run_here("pack", home, job=8)


@pytest.mark.parametrize("name", SETTINGS)
def test_told_to_leave_they_leave_unfinished(done: Path, name: str, tmp_path: Path) -> None:
    home = make_home(tmp_path, 12)
    if name == "pack":
        run_here("tokenizer", home)
    with pytest.raises(Unfinished):
        run_here(name, home, stop=True)
    run_here(name, home)


def test_progress_counts_records_to_the_last_one(done: Path, tmp_path: Path) -> None:
    job = run_here("pack", done, out="packs/told")
    [last, note] = job.sent[-2:]
    assert last["report"] == "progress"
    assert (last["done"], last["total"]) == (60 * 19, 60 * 19)
    assert last["metrics"]["tokens_per_s"] > 0
    assert "contexts to train on" in note["text"]


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("tokenizer", {"vocab_size": 10}, "sizes from 600"),
        ("tokenizer", {"vocab_size": 1000, "compare": "1000"}, "under vocab_size=1000"),
        ("tokenizer", {"compare": "700,700"}, "different sizes"),
        ("tokenizer", {"terms": "a, b"}, "can't be a term"),
        ("tokenizer", {"terms": "<|im_end|>"}, "can't be a term"),
        ("tokenizer", {"terms": "a\nb"}, "can't be a term"),
        ("tokenizer", {"max_characters": 0}, "max_characters >= 1"),
        ("tokenizer", {"out": "models/x"}, "take tokenizers/ and a name"),
        ("tokenizer", {"factory": "../other.db"}, "not a path inside the home"),
        ("tokenizer", {"size": 1}, "no setting 'size'"),
        ("pack", {"context_len": 8}, "context_len from 32"),
        ("pack", {"val_articles": 0}, "between 0 and 1"),
        ("pack", {"val_articles": 1}, "between 0 and 1"),
        ("pack", {"window": 0}, "window from 1"),
        ("pack", {"seed": -1}, "seed from 0"),
        ("pack", {"out": "packs"}, "take packs/ and a name"),
        ("pack", {"out": "packs/a/b"}, "take packs/ and a name"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_queued(name: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadArgs, match=sentence):
        kind.parse(name, given)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_job_that_would_change_a_finished_folder_is_refused_before_it_is_queued(done: Path, name: str) -> None:
    kind.check(name, kind.parse(name, SETTINGS[name]), done)
    kind.check(name, kind.parse(name, SETTINGS[name] | {"seed": 4, "out": f"{name}s/another"}), done)
    with pytest.raises(BadArgs, match=r"is there already, made with seed=0: give another name"):
        kind.check(name, kind.parse(name, SETTINGS[name] | {"seed": 4}), done)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("tokenizer", {"factory": "no.db"}, "there is no factory"),
        ("tokenizer", {"vocab_size": 50_000, "out": "tokenizers/large"}, "more than this text can fill: take"),
        ("tokenizer", {"vocab_size": 790}, "made with other config"),
        ("pack", {"factory": "no.db"}, "there is no factory"),
        ("pack", {"tokenizer": "tokenizers/no"}, "run a tokenizer job first"),
        ("pack", {"tokenizer": "factory.db"}, "not a SentencePiece model"),
    ],
)
def test_what_the_disk_does_not_hold_is_told_as_bad_args(
    done: Path, name: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadArgs, match=sentence):
        run_here(name, done, job=8, **changes)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_kinds_module_is_light(name: str) -> None:
    code = f"import sys, jobs.kinds.{name}; print([m for m in ('numpy', 'sentencepiece', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
