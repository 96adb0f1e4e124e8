"""The kinds train, answer and export: what they refuse, what they queue, and that leaving loses nothing."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from datagen import files
from datagen.records import read_questions
from gpt import archive, checkpoint
from gpt.config import GPTConfig
from jobs import kind
from jobs.contract import BadArgs, HomePath, OutOfGpuMemory, Run, Unfinished
from jobs.kinds.answer import Journal, choose
from jobs.picture import Picture
from tests.jobs.small_home import TRAIN, run_kind, run_of, submitted

QUESTIONS = "packs/main/questions.jsonl"


@pytest.fixture(scope="module")
def trained(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a model that was trained straight."""
    home = Path(shutil.copytree(made, tmp_path_factory.mktemp("trained") / "home"))
    run_kind(home, 5, "train", **TRAIN)
    return home


def train(home: Path, **changes: Any) -> Run:
    return run_kind(home, 5, "train", **{**TRAIN, **changes})


def models(home: Path) -> list[archive.Entry]:
    return archive.list_models(home)


def weights(home: Path) -> bytes:
    return (models(home)[-1].folder / archive.WEIGHTS).read_bytes()


# ── train ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_with_a_model_named_by_facts_that_knows_where_it_came_from(trained):
    [model] = models(trained)
    about = model.manifest
    assert model.name == f"tiny_step000012_tok{about['tokens_seen']}_val{about['val_loss']:.3f}"
    assert (about["kind"], about["run"], about["step"], about["parent"]) == ("snapshot", 5, 12, None)
    assert about["pack"] == "packs/main"
    assert about["pack_sha256"] == files.read_manifest(trained / "packs/main")["sha256"]
    assert about["config"]["vocab_size"] == 800
    archive.verify(model.folder)


def test_it_draws_its_picture_when_it_ends(trained):
    assert (trained / "runs/5/monitor.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", [["false"], ["/no/such/program"]])
def test_a_picture_that_can_not_be_drawn_is_said_and_ends_no_training(home, command):
    run = run_of(home, 9, "train")
    picture = Picture(run, 0.0)
    picture.command, picture._due = command, 0.0
    picture.draw_if_due()
    picture.draw_last()
    assert "the last picture could not be drawn" in str(run.sent[-1])


def test_progress_says_the_step_the_loss_and_the_speed(home):
    reports = [report for report in train(home).sent if report["report"] == "progress"]
    assert (reports[-1]["done"], reports[-1]["total"], reports[-1]["unit"]) == (12, 12, "steps")
    assert {"loss", "val_loss", "lr", "tokens_per_s", "tokens_seen", "first_step_s"} <= reports[-1]["metrics"].keys()


def hand_over_until_done(home: Path, **changes: Any) -> list[dict[str, dict[str, Any]]]:
    """Run train as a supervisor would: again whenever it leaves. What each attempt queued."""
    attempts = []
    for _ in range(20):
        run = run_of(home, 5, "train")
        try:
            run_kind(home, 5, "train", run, **{**TRAIN, **changes})
        except Unfinished:
            attempts.append(submitted(run))
            continue
        return [*attempts, submitted(run)]
    raise AssertionError("it never finished")


def test_every_so_many_steps_it_queues_answer_and_judge_and_leaves(home):
    attempts = hand_over_until_done(home, judge_every=5, judge_limit=3)
    assert [model.manifest["step"] for model in models(home)] == [5, 10, 12]
    assert [list(attempt) for attempt in attempts] == [
        ["train-5-5-answer", "train-5-tiny-untrained", "train-5-5-judge"],
        [*("train-5-5-answer", "train-5-tiny-untrained", "train-5-5-judge"), "train-5-10-answer", "train-5-10-judge"],
        [*("train-5-10-answer", "train-5-tiny-untrained", "train-5-10-judge"), "train-5-12-answer", "train-5-12-judge"],
    ]
    last = attempts[-1]
    name = models(home)[-1].name
    assert last["train-5-12-answer"]["args"] == {"model": name, "questions": QUESTIONS, "limit_per_group": 3}
    assert last["train-5-12-judge"]["after"] == ["train-5-12-answer", "train-5-tiny-untrained"]
    assert all(report["priority_above"] == 1 for report in last.values())


def test_what_it_queues_can_run(home):
    hand_over_until_done(home, judge_every=6)
    attempt = submitted(train(home, judge_every=6))
    for number, report in enumerate(attempt.values()):
        run_kind(home, 100 + number, report["kind"], **report["args"])
    report = json.loads((home / "reports" / models(home)[-1].name / "report.json").read_text())
    assert report["step"] == 12
    assert report["groups"]["seen_facts"]["baselines"].keys() >= {"most_frequent"}


def test_a_training_keeps_its_models_beside_one_that_is_damaged(home):
    for number, (name, content) in enumerate({"manifest.json": b"{", "note.md": b"f\xfcr"}.items()):
        (home / f"models/old-{number}").mkdir(parents=True)
        (home / f"models/old-{number}/manifest.json").write_text("{}")
        (home / f"models/old-{number}" / name).write_bytes(content)
    train(home)
    assert [model.manifest["step"] for model in models(home)] == [12]


def test_a_training_that_is_renamed_on_the_way_is_judged_all_the_same(home):
    """`jobctl edit` may do so while it waits: the judge looks for the untrained answers under the name of then."""
    queued: dict[str, dict[str, Any]] = {}
    for name in ("tiny", "renamed"):
        run = run_of(home, 5, "train")
        with pytest.raises(Unfinished) if name == "tiny" else nullcontext():
            run_kind(home, 5, "train", run, **TRAIN | {"judge_every": 6, "judge_limit": 2, "name": name})
        queued = submitted(run) | queued  # a key that was said before changes nothing
    for number, report in enumerate(sorted(queued.values(), key=lambda report: report["kind"])):
        run_kind(home, 100 + number, report["kind"], **report["args"])
    assert len(list((home / "reports").iterdir())) == 2


def test_leaving_for_the_judge_changes_no_bit(home, trained):
    hand_over_until_done(home, judge_every=5)
    assert weights(home) == weights(trained)


def test_a_crash_between_the_checkpoint_and_the_queueing_loses_no_judgement(home, monkeypatch):
    monkeypatch.setattr(Run, "submit", lambda *_, **__: os.abort)  # nothing said arrives
    with pytest.raises(Unfinished):
        train(home, judge_every=5)
    monkeypatch.undo()
    run = run_of(home, 5, "train")
    with pytest.raises(Unfinished):
        run_kind(home, 5, "train", run, **{**TRAIN, "judge_every": 5})
    assert {"train-5-5-answer", "train-5-5-judge"} <= submitted(run).keys()


def test_told_to_leave_it_saves_and_ends_with_the_same_bits(home, trained):
    class LeavesSoon(Run):
        """SIGTERM arrives while the third step is on its way."""

        def progress(self, done: float, total: float, unit: str = "", **metrics: float | None) -> None:
            self.stop_requested = done >= 2

    first = run_of(home, 5, "train")
    run = LeavesSoon.__new__(LeavesSoon)
    run.__dict__.update(first.__dict__)
    with pytest.raises(Unfinished):
        run_kind(home, 5, "train", run, **TRAIN)
    assert checkpoint.saved(home / "runs/5/checkpoint")[0].name == "step-0000002"
    train(home)
    assert weights(home) == weights(trained)


def test_a_finished_train_run_again_keeps_its_model_and_returns(home, trained):
    home = trained
    before = weights(home), [model.name for model in models(home)]
    train(home)
    assert (weights(home), [model.name for model in models(home)]) == before


def test_two_runs_that_come_to_the_same_facts_both_keep_their_model(home):
    for job in (5, 6, 6):
        run_kind(home, job, "train", **TRAIN)
    first, second = models(home)
    assert (first.manifest["run"], second.manifest["run"]) == (5, 6)
    assert second.name == second.manifest["name"] == f"{first.name}_job6"


def test_a_corrupt_checkpoint_is_named_and_the_one_before_it_taken(home, trained):
    train(home, steps=12, checkpoint_every=3)
    newest = checkpoint.saved(home / "runs/5/checkpoint")[0]
    (newest / "model.safetensors").write_bytes(b"\0" * 100)
    shutil.rmtree(home / "models")
    run = train(home)
    notes = [report["text"] for report in run.sent if report["report"] == "note"]
    assert notes == ["step-0000012/model.safetensors is damaged: its bytes are not the ones that were written; "
                     "the checkpoint before it is taken"]  # fmt: skip
    assert weights(home) == weights(trained)


@pytest.mark.filterwarnings("ignore")  # torch warns itself while its compiler is imported
def test_what_is_compiled_is_kept_in_the_home_and_proven_by_a_step(home, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.setattr("gpt.compiled.compile_blocks", lambda model: None)  # tests/gpt/test_compiled.py waits for it
    run = train(home, steps=2, compile="on", dtype="bfloat16", deterministic=True)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(home / "cache/compiled")
    assert [path.name for path in (home / "cache").iterdir()] == ["compiled"]
    assert [r["metrics"]["first_step_s"] > 0 for r in run.sent if r["report"] == "progress"] == [True, True]


def test_too_little_gpu_memory_says_what_to_make_smaller(home, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.46 GiB")

    monkeypatch.setattr("gpt.train.batch_loss", full)
    with pytest.raises(OutOfGpuMemory, match=r"2 contexts .* do not fit the GPU .*1.46 GiB.*: halve micro_batch"):
        train(home)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_head": 3}, "n_embd=16 does not split into n_head=3"),
        ({"name": "demo-final"}, "says 'final'"),
        ({"betas": [0.9]}, "takes two betas"),
        ({"weight_decay": [0.1]}, "as many weight_decay_from_epoch as weight_decay"),
        ({"judge_every": 0}, "judge_every of 1 or more, or none"),
        ({"steps": -4}, "steps=-4: take 1 or more"),
        ({"context_len": 20, "num_positions": 10}, "num_positions=10 is less than context_len"),
        ({"attention": "flash"}, "attention='flash'"),
        ({"compile": "yes"}, "compile='yes': take one of auto, on, off"),
        ({"dtype": "float16"}, "dtype='float16': take one of auto, float32, bfloat16"),
        ({"preset": "gpt5"}, "takes as preset one of gpt2, modern, not 'gpt5'"),
        ({"optimizer": "sgd"}, "optimizer='sgd': take one of adamw, muon"),
        ({"pack": "../other"}, "not a path inside the home|does not fit"),
        ({"stpes": 4}, "train has no setting 'stpes'"),
        ({"warmup_steps": -1}, "warmup_steps=-1, eps=1e-08, .*: take 0 or more, above 0"),
        ({"eps": 0.0}, "eps=0.0"),
        ({"betas": [0.9, 1.0]}, r"betas=\(0.9, 1.0\): take .* two from 0 to below 1"),
        ({"weight_decay": [0.1, -0.1]}, "take 0 or more in each phase"),
        ({"seed": -1}, r"seed=-1: take 0 to below 2\^63"),
        ({"seed": 2**63}, "take 0 to below"),
        ({"threads": 0}, "threads=0: take 1 or more, or none for all"),
        ({"vocab_size": 0}, "vocab_size=0: take 1 or more"),
        ({"context_len": 0}, "context_len=0: take 1 or more"),
        ({"name": "a" * 65}, "has 65 letters: take up to 64, for its models' steps and losses come behind"),
    ],
)
def test_args_that_can_not_work_are_refused_before_they_are_queued(changes, says):
    with pytest.raises(BadArgs, match=says):
        kind.parse("train", {**TRAIN, **changes})


def test_a_preset_fills_what_is_not_given_and_the_queue_keeps_what_it_filled():
    args = kind.parse("train", {"pack": "packs/main", "preset": "modern", "mlp": "relu2"})
    assert (args.pos, args.optimizer, args.decay, args.mlp) == ("rope", "muon", "wsd", "relu2")
    assert kind.parse("train", kind.as_given(args)) == args
    plain = kind.parse("train", {"pack": "packs/main"})
    shape = GPTConfig()
    assert (plain.pos, plain.norm, plain.mlp, plain.bias) == (shape.pos, shape.norm, shape.mlp, shape.bias)
    assert (plain.tied, plain.qk_norm, plain.optimizer, plain.decay) == (False, False, "adamw", "cosine")


def test_with_an_average_its_weights_are_the_model_that_is_kept(home, trained):
    train(home, ema_decay=0.5)
    [model] = models(home)
    newest = checkpoint.load_newest(home / "runs/5/checkpoint")
    assert newest is not None
    kept = archive.read_model(model.folder)[1]
    assert all(torch.equal(kept[name], average) for name, average in newest.groups["ema"].items())
    assert weights(home) != weights(trained)
    assert model.manifest["ema_decay"] == 0.5


def test_without_its_pack_it_is_refused_and_so_is_a_broken_one(home):
    with pytest.raises(BadArgs, match="run a pack job first"):
        train(home, pack="packs/none")
    next((home / "packs/main").glob("train-*")).write_bytes(b"")
    with pytest.raises(BadArgs, match="pack again"):
        train(home)


# ── answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


def answers(home: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "answers" / name / "answers.jsonl").read_text().splitlines()]


def test_every_question_is_answered_once_in_their_order(trained):
    name = models(trained)[-1].name
    run_kind(trained, 50, "answer", model=name, questions=QUESTIONS, batch=7)
    ids = [question.id for question in read_questions(trained / QUESTIONS)]
    rows = answers(trained, name)
    assert [row["id"] for row in rows] == ids
    assert all(row.keys() == {"id", "answer", "num_tokens", "stopped"} for row in rows)
    manifest = files.read_manifest(trained / "answers" / name)
    assert manifest["model"] == name
    assert manifest["model_sha256"] == files.sha256(models(trained)[-1].folder / archive.WEIGHTS)
    assert manifest["questions_sha256"] == files.sha256(trained / QUESTIONS)


def test_a_question_that_fills_a_context_is_left_out_of_the_pack_and_the_others_are_answered(home):
    with closing(sqlite3.connect(home / "factory.db")) as db, db:
        [last] = db.execute("select max(id) from record where role = 'probe'").fetchone()
        db.execute("update record set question = ? where id = ?", ("Who was there, and who was not? " * 20, last))
    note = run_kind(home, 20, "pack", out="packs/short", context_len=64).sent[-1]["text"]
    assert note.endswith("records too long, 1 questions too long to be asked")
    asked = [question.id for question in read_questions(home / "packs/short/questions.jsonl")]
    assert f"r{last}" not in asked
    run_kind(home, 21, "train", **TRAIN | {"pack": "packs/short", "steps": 1})
    run_kind(home, 22, "answer", model=models(home)[-1].name, questions="packs/short/questions.jsonl", out="short")
    assert [row["id"] for row in answers(home, "short")] == asked


def test_answers_begun_and_left_end_as_if_never_left(home, trained):
    name = models(trained)[-1].name
    asked = {"model": name, "questions": QUESTIONS, "batch": 5}
    run_kind(trained, 51, "answer", **asked, out="straight")
    run = run_of(trained, 52, "answer")
    run.stop_requested = True
    for _ in range(3):  # each attempt finishes one batch, then leaves
        with pytest.raises(Unfinished):
            run_kind(trained, 52, "answer", run, **asked, out="resumed")
    journal = trained / "runs/52/answers.jsonl"
    assert len(journal.read_text().splitlines()) == 1 + 15
    with open(journal, "a") as file:
        file.write('{"id": "r1", "answer": "cut o')  # the power went here
    run_kind(trained, 52, "answer", **asked, out="resumed")
    assert answers(trained, "resumed") == answers(trained, "straight")


def test_answers_that_come_back_to_a_full_disk_keep_what_was_answered(tmp_path):
    path, inputs = tmp_path / "answers.jsonl", {"model": "m"}
    rows = [json.dumps({"id": f"q{number}", "answer": "5 July 1943" * 9}) for number in range(400)]
    path.write_text("\n".join([json.dumps(inputs), *rows, ""]))
    was = path.read_text()
    code = (
        "import resource, signal, sys; from pathlib import Path; from jobs.kinds.answer import Journal; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999)); "
        "Journal(Path(sys.argv[1]), {'model': 'm'}).__enter__()"
    )
    full = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "File too large" in full.stderr
    assert path.read_text() == was


@pytest.mark.parametrize("damage", ["\0\0\0\n", "3\n", '{"id": "q1"}\n', "{\n", "\ufffd\n{}\n"])
def test_a_journal_with_a_damaged_line_is_good_up_to_there(tmp_path, damage):
    path, inputs = tmp_path / "answers.jsonl", {"model": "m"}
    good = {"id": "q0", "answer": "yes"}
    path.write_text(f"{json.dumps(inputs)}\n{json.dumps(good)}\n{damage}")
    assert Journal(path, inputs).answers == {"q0": good}
    path.write_text(damage)
    assert Journal(path, inputs).answers == {}


def test_the_untrained_twin_answers_under_its_own_name(trained):
    name = models(trained)[-1].name
    run_kind(trained, 53, "answer", model=name, questions=QUESTIONS, untrained=True, limit_per_group=2)
    rows = answers(trained, f"{name}-untrained")
    assert len(rows) == 4
    assert {row["answer"] for row in rows} != {row["answer"] for row in answers(trained, name)[:4]}


def test_a_model_with_more_pieces_than_its_tokenizer_answers_too(home):
    """A vocabulary rounded up: what no piece stands for is never learned, but fresh weights say it."""
    run_kind(home, 20, "train", **TRAIN | {"vocab_size": 1024, "steps": 1})
    name = models(home)[-1].name
    run_kind(home, 21, "answer", model=name, questions=QUESTIONS, untrained=True, limit_per_group=20)
    rows = answers(home, f"{name}-untrained")
    assert len(rows) == 40
    assert any("\ufffd" in row["answer"] for row in rows)


def test_answers_past_what_learned_positions_were_trained_on_are_counted_in_a_note(home, trained):
    name = models(trained)[-1].name
    shutil.copytree(trained / "models" / name, home / "models" / name)
    asked = {"model": name, "questions": QUESTIONS, "limit_per_group": 5}

    def notes(job: int, longest: int) -> list[str]:
        manifest = files.read_manifest(home / "models" / name)
        files.write_manifest(home / "models" / name, manifest | {"longest": longest})
        sent = run_kind(home, job, "answer", **asked, out=f"of-{longest}").sent
        return [report["text"] for report in sent if report["report"] == "note"]

    assert notes(60, longest=160) == []
    assert notes(61, longest=12) == [
        "10 questions with their answers are longer than the 12 tokens that training went to: past that is guesswork"
    ]


@pytest.mark.parametrize("name", ["manifest.json", "answers.jsonl"])
def test_answers_that_are_damaged_are_made_again_as_the_judge_advises(trained, name):
    asked = {"model": models(trained)[-1].name, "questions": QUESTIONS, "limit_per_group": 2, "out": f"torn-{name[:3]}"}
    run_kind(trained, 58, "answer", **asked)
    folder = trained / "answers" / asked["out"]
    before = answers(trained, asked["out"])
    (folder / name).write_text("{")
    run_kind(trained, 59, "answer", **asked)
    assert answers(trained, asked["out"]) == before
    assert files.read_manifest(folder)["sha256"] == files.sha256(folder / "answers.jsonl")


def test_a_finished_answer_is_found_and_new_inputs_replace_it(trained):
    name = models(trained)[-1].name
    asked = {"model": name, "questions": QUESTIONS, "out": "again"}
    run_kind(trained, 54, "answer", **asked, limit_per_group=2)
    before = files.read_manifest(trained / "answers/again")
    run = run_kind(trained, 55, "answer", **asked, limit_per_group=2)
    assert run.sent == []
    assert files.read_manifest(trained / "answers/again") == before
    run_kind(trained, 56, "answer", **asked, limit_per_group=3)
    assert len(answers(trained, "again")) == 6


def test_a_limit_takes_the_same_questions_of_each_group_every_time(made):
    questions = list(read_questions(made / QUESTIONS))
    some = choose(iter(questions), 3)
    assert some == choose(iter(questions), 3)
    assert sorted(q.group for q in some) == ["seen_facts"] * 3 + ["unseen_articles"] * 3
    assert choose(iter(questions), 10**6) == questions == choose(iter(questions), None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "nobody"}, "there is no model nobody: `jobctl models list` names them"),
        ({"questions": "packs/none/questions.jsonl"}, "packs/none/questions.jsonl"),
    ],
)
def test_what_is_not_there_is_said(trained, settings, says):
    asked = {"model": models(trained)[-1].name, "questions": QUESTIONS, "out": "x", **settings}
    with pytest.raises(BadArgs, match=says):
        run_kind(trained, 57, "answer", **asked)


def test_a_damaged_model_and_a_damaged_question_are_named(home, trained):
    shutil.copytree(trained / "models", home / "models")
    name = models(home)[-1].name
    with open(home / QUESTIONS, "a") as file:
        file.write("{}\n")
    with pytest.raises(BadArgs, match=r"line \d+ of questions.jsonl is not a question"):
        run_kind(home, 58, "answer", model=name, questions=QUESTIONS)
    shutil.copy(trained / QUESTIONS, home / QUESTIONS)
    (home / "models" / name / archive.WEIGHTS).write_bytes(b"")
    with pytest.raises(BadArgs, match=r"model\.safetensors is damaged"):
        run_kind(home, 58, "answer", model=name, questions=QUESTIONS)


@pytest.mark.parametrize("changes", [{"batch": 0}, {"max_new_tokens": 0}, {"limit_per_group": 0}, {"out": "../x"}])
def test_answer_refuses_args_that_can_not_work(changes):
    with pytest.raises(BadArgs, match="answer"):
        kind.parse("answer", {"model": "m", "questions": QUESTIONS, **changes})


# ── export ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_runs_newest_snapshot_is_kept_under_a_name_of_its_own(trained):
    run_kind(trained, 60, "export", run=5, name="tower-v1", note="and_sucks")
    run_kind(trained, 60, "export", run=5, name="tower-v1", note="and_sucks")
    entry = archive.entry(trained / "models/tower-v1")
    assert entry.note == "and_sucks"
    assert entry.manifest["parent"].startswith("tiny_step000012")
    archive.verify(entry.folder)
    shutil.rmtree(entry.folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "the-best", "run": 5}, "says 'best'"),
        ({"name": "x"}, "takes either model"),
        ({"name": "x", "run": 5, "model": "m"}, "takes either model"),
        ({"name": "x", "run": 99}, "job 99 has kept no snapshot"),
        ({"name": "x", "model": "nobody"}, "there is no model nobody"),
    ],
)
def test_export_refuses_what_it_can_not_do(trained, settings, says):
    with pytest.raises(BadArgs, match=says):
        run_kind(trained, 61, "export", **settings)


def test_export_never_writes_over_another_model(trained):
    run_kind(trained, 62, "export", run=5, name="taken")
    with pytest.raises(BadArgs, match="models/taken is another model already"):
        run_kind(trained, 63, "export", model="taken", name="taken")
    shutil.rmtree(trained / "models/taken")


def test_a_model_becomes_one_gguf_file_that_names_it(trained):
    name = models(trained)[-1].name
    run_kind(trained, 65, "gguf", model=name, out="tower")
    made = files.read_manifest(trained / "gguf/tower")
    assert (made["model"], made["architecture"], made["step"]) == (name, "gpt2", 12)
    assert (trained / "gguf/tower/tower.gguf").read_bytes().startswith(b"GGUF")


def test_a_model_that_llama_cpp_can_not_run_is_refused_before_it_is_queued(home, trained):
    source = models(trained)[-1].folder
    folder = shutil.copytree(source, home / "models" / source.name)
    files.write_json(folder / archive.CONFIG, json.loads((folder / archive.CONFIG).read_text()) | {"mlp": "relu2"})
    with pytest.raises(BadArgs, match=r"gguf: llama\.cpp runs preset=gpt2 as gpt2"):
        kind.check("gguf", kind.parse("gguf", {"model": source.name}), home)
    kind.check("gguf", kind.parse("gguf", {"model": "not-there-yet"}), home)
    with pytest.raises(BadArgs, match="there is no model not-there-yet"):
        run_kind(home, 66, "gguf", model="not-there-yet")


def test_the_kinds_paths_stay_inside_the_home():
    args = kind.parse("answer", {"model": "m", "questions": QUESTIONS})
    assert isinstance(args.questions, HomePath)
