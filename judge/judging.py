"""One judging: a model's answers in, a report folder out.

    answers/<model>, baselines ─┐
    packs/<pack>/questions ─────┴─ rule on each ─► reports/<model>/verdicts.part.jsonl   as it goes: none ruled on twice
                                                   verdicts.jsonl, report.json, report.md
                                                   manifest.json                         last: the report is finished

The manifest names all that the report depends on. The same again finds it finished; anything else makes it anew.
"""

import json
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from datagen.files import (
    MANIFEST,
    is_complete,
    read_manifest,
    sha256,
    sync_file,
    try_hold,
    write_json,
    write_manifest,
    write_whole,
)
from datagen.records import Question
from judge.judges import Judge, missed_canaries, open_judge
from judge.page import SEEN, render
from judge.report import CHANCE, describe_groups, read_rival
from judge.verdicts import VERDICTS, AnswerSet, BadInput, Verdict, load_answers, load_questions, write_verdicts

REPORT, PAGE, JOURNAL = "report.json", "report.md", "verdicts.part.jsonl"
MOST_FREQUENT = "most_frequent"
OURS = ""  # the column of the model itself
WAIT_S = 0.1
FORMAT = 1  # of the report: another one is made anew


@dataclass(frozen=True)
class Judging:
    """What to judge. model, baselines: names of answer sets. previous: a model to compare with, if it has a report."""

    home: Path
    pack: Path
    model: str
    baselines: tuple[str, ...] = ()
    judge: str = "reference"
    seed: int = 0
    previous: str | None = None
    run: int | None = None  # the job, for the manifest

    @property
    def folder(self) -> Path:
        return self.home / "reports" / self.model


@dataclass(frozen=True)
class Progress:
    """Answers judged of all there are; the model's pass rate so far on facts it was taught (None: none asked yet)."""

    done: int
    total: int
    pass_rate: float | None


@dataclass
class _Inputs:
    """Everything read, before the first ruling."""

    questions: list[Question]  # that the model was asked
    num_questions: int  # of the pack
    sets: list[AnswerSet]
    judge: Judge
    names: dict[str, Any] = field(default_factory=dict)  # what the report depends on


def judge_model(task: Judging) -> Generator[Progress]:
    """Judge a model's answers and its baselines', an answer at a time; leave it at any point and begin again.

    When the generator is exhausted, task.folder holds the finished report. Raises BadInput.
    """
    inputs = _read(task)
    total = len(inputs.questions) * (len(inputs.sets) + 1)
    task.folder.mkdir(parents=True, exist_ok=True)
    while (held := try_hold(task.folder)) is None:  # one writer a report: another judging of this model goes first
        yield Progress(0, total, None)
        time.sleep(WAIT_S)
    try:
        yield from _judge(task, inputs, total)
    finally:
        os.close(held)


def _judge(task: Judging, inputs: _Inputs, total: int) -> Iterator[Progress]:
    if _finished(task.folder, inputs.names):
        yield Progress(total, total, None)
        return
    (task.folder / MANIFEST).unlink(missing_ok=True)  # from here on it is no finished report
    verdicts: dict[str, list[Verdict]] = {}
    with _Journal(task.folder / JOURNAL, inputs.names) as journal:
        done = 0
        seen: list[bool] = []  # the model's own, on facts it was taught: the rate that the report puts first
        for name, answers in _columns(inputs):
            column = verdicts[name] = []
            for question in inputs.questions:
                verdict = journal.known.get((name, question.id))
                if verdict is None:
                    verdict = _rule(inputs.judge, question, answers.get(question.id))
                    journal.add(name, verdict)
                column.append(verdict)
                done += 1
                if name == OURS and verdict.group == SEEN:
                    seen.append(verdict.passed)
                yield Progress(done, total, sum(seen) / len(seen) if seen else None)
    _write(task, inputs, verdicts)


def _read(task: Judging) -> _Inputs:
    questions, pack, questions_sha256 = load_questions(task.pack)
    names = [task.model, *task.baselines]
    if len(set(names)) < len(names):
        raise BadInput(f"{', '.join(names)} names an answer set twice: a model can't be its own baseline")
    sets = [load_answers(task.home / "answers" / name, questions, questions_sha256) for name in names]
    judge = open_judge(task.judge, questions)
    asked = [q for q in questions if q.id in sets[0].answers] if sets[0].is_sample else questions
    inputs = _Inputs(asked, len(questions), sets, judge)
    inputs.names = {
        "format": FORMAT,
        "model": task.model,
        "judge": judge.identity(),
        "pack": task.pack.name,
        "questions_sha256": questions_sha256,
        "answers_sha256": {answers.name: answers.sha256 for answers in sets},
        "most_frequent": _habits(pack),
        "previous": _previous(task),
        "seed": task.seed,
    }
    return inputs


def _habits(pack: Mapping[str, Any]) -> dict[str, str]:
    """Each family's most frequent answer in training: what habit alone would say."""
    habits = pack.get("most_frequent", {})
    if not isinstance(habits, dict) or not all(isinstance(answer, str) for answer in habits.values()):
        raise BadInput("the pack's manifest holds no most_frequent answer per family: run pack again, with another out")
    return habits


def _previous(task: Judging) -> dict[str, str] | None:
    """The model to compare with and its report's verdicts: as asked, or this model's parent. None when it has none."""
    name = task.previous or _about(task).get("parent")
    if not isinstance(name, str) or name in ("", task.model) or Path(name).name != name:
        return None
    report = task.home / "reports" / name
    return {"model": name, "verdicts_sha256": sha256(report / VERDICTS)} if is_complete(report) else None


def _about(task: Judging) -> dict[str, Any]:
    """The model's manifest in the archive; empty when it is not there (answers may come from elsewhere)."""
    try:
        return read_manifest(task.home / "models" / task.model)
    except (FileNotFoundError, ValueError):
        return {}


def _finished(folder: Path, names: Mapping[str, Any]) -> bool:
    """Does the folder hold a whole report made of just these inputs?"""
    try:
        manifest = read_manifest(folder)
        files = manifest["sha256"]
        return all(manifest.get(name) == value for name, value in names.items()) and all(
            sha256(folder / file) == files[file] for file in (VERDICTS, REPORT, PAGE)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _columns(inputs: _Inputs) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The model's answers, each baseline's, and last those of habit."""
    ours, *others = inputs.sets
    yield OURS, ours.answers
    labels = [answers.label for answers in others]
    for answers, label in zip(others, labels, strict=True):
        yield label if labels.count(label) == 1 else answers.name, answers.answers
    habits = inputs.names[MOST_FREQUENT]
    yield MOST_FREQUENT, {q.id: habits[q.family] for q in inputs.questions if q.family in habits}


def _rule(judge: Judge, question: Question, answer: str | None) -> Verdict:
    if answer is None:
        return Verdict.of(question, None, None, "was not answered")
    if not any(letter.isalnum() for letter in question.reference.answer):
        return Verdict.of(question, answer, None, "has no reference to be judged against")
    ruling = judge.rule(question, answer)
    return Verdict.of(question, answer, ruling, "the judge came to no ruling")


def _write(task: Judging, inputs: _Inputs, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    """The report's files, then its manifest."""
    ours = verdicts[OURS]
    report = _report(task, inputs, verdicts)
    write_verdicts(task.folder / VERDICTS, ours)
    write_json(task.folder / REPORT, report)
    page = render(report, ours, {question.id: question for question in inputs.questions}, seed=task.seed)
    write_whole(task.folder / PAGE, page)
    files = {name: sha256(task.folder / name) for name in (VERDICTS, REPORT, PAGE)}
    write_manifest(
        task.folder,
        {"kind": "report", "run": task.run, **inputs.names, "judged_at": report["judged_at"], "sha256": files},
    )
    (task.folder / JOURNAL).unlink(missing_ok=True)


def _report(task: Judging, inputs: _Inputs, verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    missed = missed_canaries(inputs.judge)
    baselines = {name: column for name, column in verdicts.items() if name != OURS}
    rivals, note = _rivals(task, inputs)
    about = _about(task)
    return {
        "model": task.model,
        "step": about.get("step"),
        "run": about.get("run"),
        "pack": task.pack.name,
        "judge": inputs.names["judge"],
        "trusted": not missed,
        "missed_canaries": [
            {"answer": c.answer, "family": c.question.family, "must": "PASS" if c.must_pass else "FAIL", "said": said}
            for c, said in missed
        ],
        "groups": describe_groups(verdicts[OURS], baselines, rivals, task.seed),
        "chance": CHANCE,
        "num_questions": inputs.num_questions,
        "num_asked": len(inputs.questions),
        "unstopped": inputs.sets[0].num_unstopped,
        "previous": inputs.names["previous"] and inputs.names["previous"]["model"],
        "note": note,
        "judged_at": time.time(),
    }


def _rivals(task: Judging, inputs: _Inputs) -> tuple[dict[str, list[Verdict]], str | None]:
    """The previous model's verdicts by its name, or the sentence that says why they can't be compared."""
    previous = inputs.names["previous"]
    if previous is None:
        return {}, f"{task.previous} has no finished report to compare with." if task.previous else None
    try:
        return {previous["model"]: read_rival(task.home / "reports" / previous["model"], inputs.names)}, None
    except BadInput as error:
        return {}, f"Not compared with {previous['model']}: {error}."


class _Journal:
    """Rulings as they are made, a line each, so that a killed judging goes on. One of other inputs is discarded."""

    def __init__(self, path: Path, names: Mapping[str, Any]) -> None:
        self.known: dict[tuple[str, str], Verdict] = {}
        self.path, self.header = path, json.dumps(names)

    def __enter__(self) -> "_Journal":
        kept = self._read()
        write_whole(self.path, "".join(line + "\n" for line in [self.header, *kept]))  # without a torn last line
        self.file: IO[str] = open(self.path, "a", buffering=1, encoding="utf-8")  # a write a line: SIGKILL loses none
        return self

    def __exit__(self, *_: object) -> None:
        self.file.flush()
        sync_file(self.path)
        self.file.close()

    def add(self, column: str, verdict: Verdict) -> None:
        self.file.write(json.dumps([column, asdict(verdict)]) + "\n")

    def _read(self) -> list[str]:
        """The whole lines of a journal with our header; what they say is in self.known."""
        if not self.path.exists():
            return []
        header, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        if header != self.header:
            return []
        kept = []
        for line in lines:
            try:
                column, fields = json.loads(line)
                verdict = Verdict(**fields)
            except (ValueError, TypeError):
                break  # the kill came in the middle of it
            self.known[column, verdict.id] = verdict
            kept.append(line)
        return kept
