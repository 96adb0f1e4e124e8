"""What a judge says of an answer, and the files around it: answers in, verdicts out.

answers/<name>/   answers.jsonl    {"id", "answer", "num_tokens", "stopped"} a line; manifest.json last
reports/<name>/   verdicts.jsonl   one Verdict a line, the explanation before the verdict
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datagen.files import is_complete, read_manifest, sha256, write_whole
from datagen.records import BadQuestions, Question, read_questions

ANSWERS, VERDICTS, QUESTIONS = "answers.jsonl", "verdicts.jsonl", "questions.jsonl"
PASS, FAIL, UNSCORED = "PASS", "FAIL", "UNSCORED"


class BadInput(ValueError):
    """What was to be judged can't be. Told to a person: what we got, what we take, what to do."""


@dataclass(frozen=True)
class Ruling:
    """PASS or not, and the sentence that says why."""

    passed: bool
    explanation: str


@dataclass(frozen=True)
class Verdict:
    """What became of one question. UNSCORED is neither pass nor fail: nobody answered it, or nobody could judge."""

    id: str
    group: str
    family: str
    article: str
    answer: str | None
    explanation: str
    verdict: str

    @property
    def passed(self) -> bool:
        return self.verdict == PASS

    @property
    def scored(self) -> bool:
        return self.verdict != UNSCORED

    @classmethod
    def of(cls, question: Question, answer: str | None, ruling: Ruling | None, why: str = "") -> "Verdict":
        """A verdict on a question. ruling: None when it is not scored, and `why` says why not."""
        verdict = UNSCORED if ruling is None else PASS if ruling.passed else FAIL
        explanation = ruling.explanation if ruling else why
        return cls(question.id, question.group, question.family, question.article, answer, explanation, verdict)


@dataclass(frozen=True)
class AnswerSet:
    """The answers of one model to the questions of one pack. num_unstopped: how many ran into the token limit."""

    name: str
    answers: dict[str, str]
    num_unstopped: int
    manifest: dict[str, Any]
    sha256: str

    @property
    def label(self) -> str:
        """What the report calls it when it stands beside a model."""
        return "untrained" if self._setting("untrained") else self.name

    @property
    def is_sample(self) -> bool:
        """Was the model asked only some of the questions, on purpose?"""
        return self._setting("limit_per_group") is not None

    def _setting(self, name: str) -> Any:
        settings = self.manifest.get("settings")
        return settings.get(name) if isinstance(settings, dict) else None


def load_questions(pack: Path) -> tuple[list[Question], dict[str, Any], str]:
    """A pack's questions, its manifest, and the sha256 of the questions' file. Raises BadInput."""
    if not is_complete(pack):
        raise BadInput(
            f"{pack} holds no finished pack: judge takes one with a {QUESTIONS} and a manifest; run pack first"
        )
    path = pack / QUESTIONS
    try:
        manifest, found = read_manifest(pack), sha256(path)
        questions = list(read_questions(path))
    except (FileNotFoundError, BadQuestions, ValueError) as error:
        raise BadInput(f"the questions of {pack.name} can't be read: {error}") from error
    promised = manifest.get("sha256", {}).get(QUESTIONS, found)
    if promised != found:
        raise BadInput(
            f"{path.name} of {pack.name} is not the file its manifest names: it was changed; "
            "run pack again, with another out"
        )
    if not questions:
        raise BadInput(f"{pack.name} holds no question: generate records with a probe_share above 0, then pack again")
    return questions, manifest, found


def load_answers(folder: Path, questions: Iterable[Question], questions_sha256: str) -> AnswerSet:
    """One model's answers to these very questions. Raises BadInput."""
    name, path = folder.name, folder / ANSWERS
    if not is_complete(folder) or not path.is_file():
        raise BadInput(f"there are no finished answers of {name}: judge takes {path}; run the kind answer for it first")
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        raise BadInput(f"the manifest of the answers of {name} is damaged ({error}): run answer again") from error
    if manifest.get("questions_sha256") != questions_sha256:
        raise BadInput(
            f"the answers of {name} answer other questions (sha256 {str(manifest.get('questions_sha256'))[:12]}, "
            f"not {questions_sha256[:12]}): judge takes answers to the pack's own {QUESTIONS}; run answer on this pack"
        )
    found = sha256(path)
    if manifest.get("sha256", found) != found:
        raise BadInput(f"{path.name} of {name} is not the file its manifest names: it was changed; run answer again")
    rows = _answer_rows(path, name, {question.id for question in questions})
    unstopped = sum(row.get("stopped") is False for row in rows.values())
    answers = {id: row["answer"] for id, row in rows.items() if row["answer"] is not None}
    return AnswerSet(name, answers, unstopped, manifest, found)


def _answer_rows(path: Path, name: str, ids: set[str]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            id, answer = row["id"], row["answer"]
            if not (isinstance(id, str) and isinstance(answer, str | None)):
                raise TypeError("id and answer must be text")
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"line {number} of the answers of {name} is damaged ({type(error).__name__}: {error}): "
                'it takes {"id": ..., "answer": ...}; run answer again'
            ) from error
        if id not in ids or id in rows:
            what = "a second time" if id in rows else "which is no question of this pack"
            raise BadInput(
                f"line {number} of the answers of {name} answers {id!r} {what}: run answer again on this pack"
            )
        rows[id] = row
    return rows


def write_verdicts(path: Path, verdicts: Iterable[Verdict]) -> None:
    """One verdict a line. Put there whole or not at all."""
    write_whole(path, "".join(json.dumps(asdict(verdict)) + "\n" for verdict in verdicts))


def read_verdicts(report: Path) -> list[Verdict]:
    """The verdicts of a finished report folder. Raises BadInput."""
    if not is_complete(report):
        raise BadInput(f"there is no finished report of {report.name}: judge its answers first")
    try:
        return [Verdict(**json.loads(line)) for line in (report / VERDICTS).read_bytes().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"the verdicts of {report.name} are damaged ({error}): judge its answers again") from error
