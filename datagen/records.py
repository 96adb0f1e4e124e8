"""What datagen hands to the other rooms: records, the questions made of them, and how both are written to files.

A record is one question and its answer, from one article. Its role says what it is for: `train` is taught; `probe` is
an unseen phrasing of a fact that other records do teach. A question is what `answer` asks a model and the judge reads.
Standard library only. Knows no database, no model, no tokenizer.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from datagen.files import sync_folder

Role = Literal["train", "probe"]
Group = Literal["seen_facts", "unseen_articles"]

FAMILIES = ("qpt", "cloze", "true_false", "which_of_two", "multiple_choice", "who_when_where")
GROUPS: tuple[Group, ...] = ("seen_facts", "unseen_articles")
KEY_DIGITS = 16  # of a sha1: 64 bits, a collision among a million facts has a chance of 3e-8


class BadQuestions(ValueError):
    """A file of questions that can't be read. Told to a person: the line, what we got, what we take."""


@dataclass(frozen=True)
class Reference:
    """What an answer is judged against.

    answer: the right one, as short as it can be. alternatives: the wrong ones that the question offered, or the
    opposite of a true/false answer. source: the sentence it stands in. All empty for qpt, which is never judged.
    """

    answer: str
    alternatives: tuple[str, ...] = ()
    source: str = ""

    def to_json(self) -> str:
        fields = {"answer": self.answer, "alternatives": self.alternatives, "source": self.source}
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Reference":
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Reference":
        return cls(str(fields["answer"]), tuple(map(str, fields["alternatives"])), str(fields["source"]))


@dataclass(frozen=True)
class Record:
    """One question and its answer. fact: the key of what is asked about ('' for qpt). phrasing: the template used."""

    family: str
    fact: str
    phrasing: str
    role: Role
    question: str
    answer: str
    reference: Reference
    seed: int = 0

    @classmethod
    def from_row(cls, row: Any) -> "Record":
        """From a row of the factory's table `record`, or any mapping with its columns."""
        reference = Reference.from_json(row["reference"])
        kept = {name: row[name] for name in ("family", "fact", "phrasing", "role", "question", "answer", "seed")}
        return cls(**kept, reference=reference)


@dataclass(frozen=True)
class Question:
    """One line of questions.jsonl. group: is its fact taught in other words, or is its whole article unseen?"""

    id: str
    group: Group
    family: str
    article: str
    fact: str
    phrasing: str
    question: str
    reference: Reference
    source: str

    @classmethod
    def of(cls, record: Record, id: str, group: Group, article: str) -> "Question":
        """The question a record asks. id: unique in its file."""
        return cls(
            id=id,
            group=group,
            family=record.family,
            article=article,
            fact=record.fact,
            phrasing=record.phrasing,
            question=record.question,
            reference=record.reference,
            source=record.reference.source,
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Question":
        """Raises ValueError, KeyError or TypeError when the text does not hold a question."""
        fields = json.loads(text)
        fields["reference"] = Reference.from_dict(fields["reference"])
        if fields["group"] not in GROUPS:
            raise ValueError(f"its group is {fields['group']!r}, not one of {', '.join(GROUPS)}")
        return cls(**fields)


def fact_key(title: str, sentence: str, start: int, end: int) -> str:
    """The name of a fact: the same article, sentence and span give the same key, whatever asks about it."""
    text = f"{title}\0{sentence}\0{start}:{end}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:KEY_DIGITS]


def write_questions(path: Path, questions: Iterable[Question]) -> int:
    """Put the questions at path, whole or not at all, one JSON object a line. Returns how many. Memory stays flat."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    num = 0
    try:
        with open(beside, "w", encoding="utf-8") as file:
            for question in questions:
                file.write(question.to_json() + "\n")
                num += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return num


def read_questions(path: Path) -> Iterator[Question]:
    """The questions of a file, one at a time. Raises BadQuestions, naming the line, for one that is damaged."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield Question.from_json(line.decode())
            except (ValueError, KeyError, TypeError) as error:
                raise BadQuestions(
                    f"line {number} of {path.name} is not a question ({error}): "
                    "it takes one JSON object a line, as pack writes them; run pack again, with another out"
                ) from error
