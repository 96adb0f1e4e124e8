"""The kind judge: what it refuses, how it leaves and goes on, and that a killed one ends alike."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datagen import files
from jobs import kind
from jobs.contract import BadArgs, Run, Ticket, Unfinished
from judge.judging import Judging, judge_model
from judge.reference import ReferenceJudge
from tests.judge.ask import a_home, some_questions, write_answers, write_pack

GIVEN = {"model": "demo_step000100", "baselines": "demo-untrained"}
CHILD = """
import sys, time
from pathlib import Path
from jobs import kind
from jobs.contract import Run, Ticket
from judge.reference import ReferenceJudge
rule = ReferenceJudge.rule
def slowly(self, question, answer):
    time.sleep(0.002)
    return rule(self, question, answer)
ReferenceJudge.rule = slowly
home = Path(sys.argv[1])
print("go", flush=True)
settings = {"model": "demo_step000100", "baselines": "demo-untrained"}
job = Run(Ticket(7, 1, "judge", {}, str(home), str(home / "runs" / "7")))
kind.load("judge").run(kind.parse("judge", settings), job)
"""


def run_judge(home: Path, job: Run | None = None, **given: Any) -> Run:
    job = job or Run(Ticket(7, 1, "judge", {}, str(home), str(home / "runs" / "7")))
    kind.load("judge").run(kind.parse("judge", {**GIVEN, **given}), job)
    return job


def report_of(home: Path, model: str = "demo_step000100") -> dict[str, Any]:
    return {**json.loads((home / "reports" / model / "report.json").read_text()), "judged_at": None}


def count_rulings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the questions ruled on from now on."""
    ruled: list[str] = []
    rule = ReferenceJudge.rule

    def counted(self: ReferenceJudge, question: Any, answer: str) -> Any:
        if not question.id.startswith("canary"):
            ruled.append(question.id)
        return rule(self, question, answer)

    monkeypatch.setattr(ReferenceJudge, "rule", counted)
    return ruled


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": "../secrets"}, "is no name of a model"),
        ({"model": "a/b"}, "is no name of a model"),
        ({"model": ""}, "is no name of a model"),
        ({"baselines": "x,.."}, "is no name of a model"),
        ({"previous": "/etc"}, "is no name of a model"),
        ({"judge": "oracle"}, "no judge 'oracle': take one of reference"),
        ({"pack": "../pack"}, "is not a path inside the home"),
        ({"modle": "x"}, "judge has no setting 'modle'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_queued(given, says):
    with pytest.raises(BadArgs, match=says):
        kind.parse("judge", {**GIVEN, **given})


def test_a_judging_leaves_a_finished_report_with_the_promised_fields(tmp_path):
    a_home(tmp_path)
    job = run_judge(tmp_path)
    report = report_of(tmp_path)
    assert {"model", "step", "judge", "trusted", "groups", "chance", "judged_at"} <= report.keys()
    assert report["judge"].keys() == {"name", "version", "sha256"}
    for group in ("seen_facts", "unseen_articles"):
        found = report["groups"][group]
        assert {"n", "passed", "pass_rate", "low", "high", "families", "baselines", "versus"} <= found.keys()
        assert found["baselines"].keys() == {"untrained", "most_frequent"}
        for versus in found["versus"].values():
            assert {"difference", "low", "high", "p", "words"} <= versus.keys()
    manifest = files.read_manifest(tmp_path / "reports" / "demo_step000100")
    for name, sha256 in manifest["sha256"].items():
        assert files.sha256(tmp_path / "reports" / "demo_step000100" / name) == sha256
    assert sorted(os.listdir(tmp_path / "reports" / "demo_step000100")) == sorted([*manifest["sha256"], files.MANIFEST])
    last = [sent for sent in job.sent if sent["report"] == "progress"][-1]
    assert last["done"] == last["total"] == 3 * len(some_questions())
    assert last["unit"] == "answers"
    assert 0 < last["metrics"]["pass_rate"] < 1
    assert last["metrics"]["pass_rate"] == report_of(tmp_path)["groups"]["seen_facts"]["pass_rate"]


def test_the_report_knows_the_models_step_run_and_parent(tmp_path):
    a_home(tmp_path)
    model = tmp_path / "models" / "demo_step000200"
    model.mkdir(parents=True)
    files.write_manifest(model, {"step": 200, "run": 41, "parent": "demo_step000100"})
    run_judge(tmp_path)
    run_judge(tmp_path, model="demo_step000200")
    report = report_of(tmp_path, "demo_step000200")
    assert (report["step"], report["run"], report["previous"]) == (200, 41, "demo_step000100")
    assert report["groups"]["seen_facts"]["versus"]["demo_step000100"]["words"] == "better"


def test_the_same_again_finds_the_report_and_rules_on_nothing(tmp_path, monkeypatch):
    a_home(tmp_path)
    run_judge(tmp_path)
    before = files.sha256(tmp_path / "reports" / "demo_step000100" / files.MANIFEST)
    ruled = count_rulings(monkeypatch)
    run_judge(tmp_path)
    assert ruled == []
    assert files.sha256(tmp_path / "reports" / "demo_step000100" / files.MANIFEST) == before


@pytest.mark.parametrize("broken", ["report.md", "report.json", "verdicts.jsonl"])
def test_a_report_with_a_damaged_file_is_made_again(tmp_path, broken):
    a_home(tmp_path)
    run_judge(tmp_path)
    (tmp_path / "reports" / "demo_step000100" / broken).write_text("damaged")
    run_judge(tmp_path)
    assert "damaged" not in (tmp_path / "reports" / "demo_step000100" / broken).read_text()


def test_other_answers_another_seed_or_pack_make_the_report_anew(tmp_path):
    questions = a_home(tmp_path)
    run_judge(tmp_path)
    first = report_of(tmp_path)
    write_answers(tmp_path, "demo_step000100", {question.id: question.reference.answer for question in questions})
    run_judge(tmp_path)
    assert report_of(tmp_path)["groups"]["seen_facts"]["pass_rate"] == 1.0 > first["groups"]["seen_facts"]["pass_rate"]
    page = (tmp_path / "reports" / "demo_step000100" / "report.md").read_text()
    run_judge(tmp_path, seed=1)
    assert (tmp_path / "reports" / "demo_step000100" / "report.md").read_text() != page


def test_asked_to_leave_it_leaves_within_an_answer_and_goes_on_without_ruling_twice(tmp_path, monkeypatch):
    a_home(tmp_path)
    ruled = count_rulings(monkeypatch)

    class Leaving(Run):
        def progress(self, done: float, total: float, unit: str = "", **metrics: float | None) -> None:
            self.stop_requested = done == 50

    job = Leaving(Ticket(7, 1, "judge", {}, str(tmp_path), str(tmp_path / "runs" / "7")))
    with pytest.raises(Unfinished):
        run_judge(tmp_path, job)
    assert not files.is_complete(tmp_path / "reports" / "demo_step000100")
    assert len(ruled) == 50
    run_judge(tmp_path)
    with_habit = [question for question in some_questions() if question.family != "qpt"]
    assert len(ruled) == 3 * len(with_habit)
    straight = tmp_path / "straight"
    a_home(straight)
    run_judge(straight)
    assert report_of(tmp_path) == report_of(straight)


def test_of_two_judgings_of_one_model_at_once_the_second_waits_and_both_end(tmp_path):
    a_home(tmp_path)
    first, second = (
        judge_model(Judging(tmp_path, tmp_path / "packs" / "main", "demo_step000100", seed=seed)) for seed in (1, 2)
    )
    assert [next(first).done, next(first).done] == [1, 2]
    assert [next(second).done, next(second).done] == [0, 0]
    *_, end = first
    assert end.done == end.total
    assert files.read_manifest(tmp_path / "reports" / "demo_step000100")["seed"] == 1
    *_, end = second
    assert end.done == end.total
    assert files.read_manifest(tmp_path / "reports" / "demo_step000100")["seed"] == 2


def test_a_journal_of_other_inputs_is_not_taken(tmp_path, monkeypatch):
    a_home(tmp_path)
    run_judge(tmp_path)
    journal = tmp_path / "reports" / "demo_step000100" / "verdicts.part.jsonl"
    journal.write_text('{"model": "somebody else"}\n["", {"id": "r0"}]\n')
    (journal.parent / files.MANIFEST).unlink()
    ruled = count_rulings(monkeypatch)
    run_judge(tmp_path)
    assert len(ruled) == 3 * len(some_questions())
    assert not journal.exists()


def test_a_killed_judging_ends_in_the_same_report(tmp_path):
    a_home(tmp_path / "straight")
    a_home(tmp_path / "killed")
    run_judge(tmp_path / "straight")
    draw = random.Random(4)
    kills = 0
    for attempt in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "killed")],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        try:
            child.wait(timeout=draw.uniform(0.05, 0.4) if attempt < 11 else 60)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            kills += 1
            child.wait()
        child.stdout.close()
        if child.returncode == 0:
            break
    assert kills >= 1
    assert child.returncode == 0
    assert report_of(tmp_path / "killed") == report_of(tmp_path / "straight")
    for name in ("verdicts.jsonl",):
        straight, killed = (tmp_path / home / "reports" / "demo_step000100" / name for home in ("straight", "killed"))
        assert straight.read_bytes() == killed.read_bytes()


def test_what_cannot_be_judged_is_told_as_bad_args(tmp_path):
    a_home(tmp_path)
    with pytest.raises(BadArgs, match="no finished answers of nobody"):
        run_judge(tmp_path, model="nobody")
    with pytest.raises(BadArgs, match="no finished answers of nothing"):
        run_judge(tmp_path, baselines="nothing")
    with pytest.raises(BadArgs, match="holds no finished pack"):
        run_judge(tmp_path, pack="packs/other")
    with pytest.raises(BadArgs, match="a model can't be its own baseline"):
        run_judge(tmp_path, baselines="demo_step000100")
    manifest = files.read_manifest(tmp_path / "packs/main") | {"sha256": {"questions.jsonl": "0" * 64}}
    files.write_manifest(tmp_path / "packs/main", manifest)
    with pytest.raises(BadArgs, match="it was changed; run pack again, with another out"):
        run_judge(tmp_path)  # under its own name pack would find it finished
    write_pack(tmp_path, some_questions(), most_frequent={"cloze": 3})
    with pytest.raises(BadArgs, match="no most_frequent answer per family"):
        run_judge(tmp_path)


def test_a_previous_model_without_a_report_is_told_and_hinders_nothing(tmp_path):
    a_home(tmp_path)
    run_judge(tmp_path, previous="demo_step000050")
    assert report_of(tmp_path)["note"] == "demo_step000050 has no finished report to compare with."


def test_a_sample_of_the_questions_is_judged_as_a_sample(tmp_path):
    questions = a_home(tmp_path)
    asked = {question.id: question.reference.answer for question in questions[::4]}
    write_answers(tmp_path, "demo_step000100", asked, limit_per_group=20)
    run_judge(tmp_path)
    report = report_of(tmp_path)
    assert (report["num_asked"], report["num_questions"]) == (len(asked), len(questions))
    assert report["groups"]["seen_facts"]["unscored"] == 0
    page = (tmp_path / "reports" / "demo_step000100" / "report.md").read_text()
    assert f"asked {len(asked)} of the pack's {len(questions)} questions" in page
