"""Records and questions keep everything on their way through files."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.records import BadQuestions, Question, Record, Reference, fact_key, read_questions, write_questions

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
REFERENCES = st.builds(Reference, TEXT, st.lists(TEXT, max_size=3).map(tuple), TEXT)
QUESTIONS = st.builds(
    Question,
    id=TEXT,
    group=st.sampled_from(("seen_facts", "unseen_articles")),
    family=TEXT,
    article=TEXT,
    fact=TEXT,
    phrasing=TEXT,
    question=TEXT,
    reference=REFERENCES,
    source=TEXT,
)


def a_question(id: str = "7") -> Question:
    record = Record(
        "cloze", "ab12", "fill_in", "probe", "Fill in: ____", "5 July 1943", Reference("5 July 1943", ("x",), "S."), 3
    )
    return Question.of(record, id, "seen_facts", "Battle of Kursk")


@given(question=QUESTIONS)
def test_a_question_survives_its_line_whatever_it_holds(question: Question) -> None:
    line = question.to_json()
    assert "\n" not in line
    assert Question.from_json(line) == question


@given(reference=REFERENCES)
def test_a_reference_survives_its_column(reference: Reference) -> None:
    assert Reference.from_json(reference.to_json()) == reference


def test_a_question_says_what_its_record_asks() -> None:
    question = a_question()
    assert (question.fact, question.phrasing, question.reference.answer) == ("ab12", "fill_in", "5 July 1943")
    assert question.source == "S."


def test_a_file_of_questions_holds_the_fields_the_judge_reads(tmp_path: Path) -> None:
    assert write_questions(tmp_path / "questions.jsonl", [a_question("1"), a_question("2")]) == 2
    first = json.loads((tmp_path / "questions.jsonl").read_text().splitlines()[0])
    assert set(first) == {
        "id", "group", "family", "article", "fact", "phrasing", "question", "reference", "source",
    }  # fmt: skip
    assert first["reference"] == {"answer": "5 July 1943", "alternatives": ["x"], "source": "S."}
    assert list(read_questions(tmp_path / "questions.jsonl")) == [a_question("1"), a_question("2")]


def test_a_writer_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    write_questions(path, [a_question("old")])

    def broken() -> object:
        yield a_question("new")
        raise RuntimeError("the pack was killed")

    with pytest.raises(RuntimeError):
        write_questions(path, broken())  # type: ignore[arg-type]
    assert [question.id for question in read_questions(path)] == ["old"]
    assert [file.name for file in tmp_path.iterdir()] == ["questions.jsonl"]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"id": "1"}', "\x00", a_question().to_json().replace("seen_facts", "some_facts"), '"text"'],
)
def test_a_damaged_line_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{a_question().to_json()}\n{line}\n")
    with pytest.raises(BadQuestions, match=r"line 2 of questions\.jsonl .* run pack again, with another out"):
        list(read_questions(path))


def test_a_line_that_is_no_utf_8_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(BadQuestions, match="line 1"):
        list(read_questions(tmp_path / "q.jsonl"))


def test_a_fact_key_depends_on_article_sentence_and_span_and_nothing_else() -> None:
    key = fact_key("Kursk", "It began on 5 July 1943.", 12, 23)
    assert key == fact_key("Kursk", "It began on 5 July 1943.", 12, 23)
    assert set(key) <= set(string.hexdigits)
    others = {
        fact_key("Orel", "It began on 5 July 1943.", 12, 23),
        fact_key("Kursk", "It ended on 5 July 1943.", 12, 23),
        fact_key("Kursk", "It began on 5 July 1943.", 12, 24),
        fact_key("KurskIt", " began on 5 July 1943.", 12, 23),
    }
    assert key not in others
    assert len(others) == 4
