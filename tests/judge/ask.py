"""What the tests of the judge share: questions, and a home with a pack and answers as the other rooms write them."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from datagen import files
from datagen.records import Group, Question, Reference, write_questions

SOURCE = "The Battle of Kursk began on 5 July 1943."
HABITS = {"cloze": "10 May 1940", "true_false": "True", "who_when_where": "6 June 1944"}
DAYS = ("1 September 1939", "10 May 1940", "22 June 1941", "7 December 1941", "2 February 1943", "6 June 1944")


def ask(
    question: str,
    answer: str,
    *wrong: str,
    family: str = "who_when_where",
    source: str = "",
    article: str = "An Article",
    group: Group = "seen_facts",
    id: str = "r1",
) -> Question:
    return Question(id, group, family, article, "f", "p", question, Reference(answer, wrong, source), source)


def some_questions(num_articles: int = 12, per_article: int = 6) -> list[Question]:
    """Questions of three families about dates; the last quarter of the articles is unseen."""
    found = []
    for number in range(num_articles * per_article):
        place = number // per_article
        group: Group = "unseen_articles" if place >= num_articles * 3 // 4 else "seen_facts"
        day, other = DAYS[number % len(DAYS)], DAYS[(number + 1) % len(DAYS)]
        kept: dict[str, Any] = {"article": f"Article {place}", "group": group, "id": f"r{number}"}
        sentence = f"Event {number} began on {day}."
        if number % 3 == 0:
            text = f"True or false? Event {number} began on {other}."
            found.append(ask(text, "False", "True", family="true_false", source=sentence, **kept))
        elif number % 3 == 1:
            text = f"Complete the sentence: Event {number} began on ____."
            found.append(ask(text, day, family="cloze", source=sentence, **kept))
        else:
            found.append(ask(f"When did event {number} begin?", day, source=sentence, **kept))
    return found


def write_pack(home: Path, questions: Iterable[Question], name: str = "main", **manifest: Any) -> Path:
    pack = home / "packs" / name
    pack.mkdir(parents=True, exist_ok=True)
    write_questions(pack / "questions.jsonl", questions)
    sha256 = {"questions.jsonl": files.sha256(pack / "questions.jsonl")}
    files.write_manifest(pack, {"kind": "pack", "sha256": sha256, "most_frequent": HABITS, **manifest})
    return pack


def write_answers(
    home: Path, name: str, answers: Mapping[str, str | None], pack: str = "main", **settings: Any
) -> Path:
    folder = home / "answers" / name
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"id": id, "answer": answer, "num_tokens": 4, "stopped": True} for id, answer in answers.items()]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    manifest = {
        "model": name,
        "questions_sha256": files.sha256(home / "packs" / pack / "questions.jsonl"),
        "settings": settings,
        "sha256": files.sha256(folder / "answers.jsonl"),
    }
    files.write_manifest(folder, manifest)
    return folder


def answers_of(questions: Iterable[Question], say: Callable[[Question], str | None]) -> dict[str, str | None]:
    return {question.id: say(question) for question in questions}


def a_home(home: Path) -> list[Question]:
    """A home with a pack, a model right every other time, a better one, and the untrained one. Returns questions."""
    questions = some_questions()
    write_pack(home, questions)
    right = {question.id: question.reference.answer for question in questions}
    half = {id: answer if int(id[1:]) % 2 else "7 August 1900" for id, answer in right.items()}
    write_answers(home, "demo_step000100", half)
    write_answers(home, "demo_step000200", {**right, "r1": None, "r2": "\x1b[2J\x07```"})
    write_answers(home, "demo-untrained", answers_of(questions, lambda _: "wq wq wq"), untrained=True)
    return questions
