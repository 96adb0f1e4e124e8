"""The files around the judge: what can't be judged is refused with a sentence."""

import json

import pytest

from datagen import files
from judge.verdicts import (
    BadInput,
    Ruling,
    Verdict,
    load_answers,
    load_questions,
    read_verdicts,
    write_verdicts,
)
from tests.judge.ask import a_home, some_questions, write_answers, write_pack


def load(home, name="demo_step000100"):
    questions, _, sha256 = load_questions(home / "packs" / "main")
    return load_answers(home / "answers" / name, questions, sha256)


def test_answers_are_read_with_what_their_model_was_asked(tmp_path):
    questions = a_home(tmp_path)
    found = load(tmp_path, "demo-untrained")
    assert len(found.answers) == len(questions)
    assert (found.label, found.is_sample) == ("untrained", False)


def test_an_answer_that_was_not_given_is_no_answer_and_an_unended_one_is_counted(tmp_path):
    questions = some_questions()
    write_pack(tmp_path, questions)
    folder = write_answers(tmp_path, "m", {questions[0].id: None, questions[1].id: "x"})
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    rows[1]["stopped"] = False
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files.write_manifest(folder, {**files.read_manifest(folder), "sha256": files.sha256(folder / "answers.jsonl")})
    found = load(tmp_path, "m")
    assert (found.answers, found.num_unstopped) == ({"r1": "x"}, 1)


def test_answers_that_are_not_there_or_not_finished_are_refused(tmp_path):
    a_home(tmp_path)
    with pytest.raises(BadInput, match=r"no finished answers of nobody.*run the kind answer for it first"):
        load(tmp_path, "nobody")
    (tmp_path / "answers" / "demo_step000100" / "manifest.json").unlink()
    with pytest.raises(BadInput, match="no finished answers of demo_step000100"):
        load(tmp_path)


def test_answers_to_other_questions_are_refused(tmp_path):
    a_home(tmp_path)
    write_pack(tmp_path, some_questions(num_articles=4))
    with pytest.raises(BadInput, match=r"answer other questions .* run answer on this pack"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "r1", "ans', "line 73 of the answers of demo_step000100 is damaged"),
        ('{"id": "r1"}', "is damaged .KeyError"),
        ('{"id": 4, "answer": "x"}', "is damaged .TypeError"),
        ("[]", "is damaged"),
        ('{"id": "r1", "answer": "again"}', "answers 'r1' a second time"),
        ('{"id": "x9", "answer": "?"}', "answers 'x9' which is no question of this pack"),
    ],
)
def test_a_damaged_or_strange_line_is_named(tmp_path, line, says):
    a_home(tmp_path)
    folder = tmp_path / "answers" / "demo_step000100"
    with open(folder / "answers.jsonl", "a") as file:
        file.write(line + "\n")
    files.write_manifest(folder, {**files.read_manifest(folder), "sha256": files.sha256(folder / "answers.jsonl")})
    with pytest.raises(BadInput, match=says):
        load(tmp_path)


def test_a_file_changed_behind_its_manifest_is_refused(tmp_path):
    a_home(tmp_path)
    with open(tmp_path / "answers" / "demo_step000100" / "answers.jsonl", "a") as file:
        file.write("\n")
    with pytest.raises(BadInput, match="is not the file its manifest names"):
        load(tmp_path)
    with open(tmp_path / "packs" / "main" / "questions.jsonl", "a") as file:
        file.write("\n")
    with pytest.raises(BadInput, match=r"questions can't be read|questions of main can't be read|is not the file"):
        load_questions(tmp_path / "packs" / "main")


def test_a_pack_that_is_none_or_asks_nothing_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"holds no finished pack.*run pack first"):
        load_questions(tmp_path / "packs" / "main")
    pack = write_pack(tmp_path, [])
    with pytest.raises(BadInput, match="holds no question"):
        load_questions(pack)
    (pack / "manifest.json").write_text("{")
    with pytest.raises(BadInput, match="can't be read"):
        load_questions(pack)


def test_verdicts_come_back_as_they_were_written_whatever_the_model_said(tmp_path):
    question = some_questions()[0]
    said = "a\u2028b\x85c\ud800\x1b[0m\n\r\x00"
    written = [Verdict.of(question, said, Ruling(True, "fine")), Verdict.of(question, None, None, "was not answered")]
    write_verdicts(tmp_path / "verdicts.jsonl", written)
    with pytest.raises(BadInput, match="no finished report"):
        read_verdicts(tmp_path)
    files.write_manifest(tmp_path, {})
    assert read_verdicts(tmp_path) == written
    assert [verdict.verdict for verdict in written] == ["PASS", "UNSCORED"]


def test_the_explanation_stands_before_the_verdict():
    names = list(vars(Verdict.of(some_questions()[0], "x", Ruling(False, "why"))))
    assert names.index("explanation") < names.index("verdict")


def test_damaged_verdicts_are_refused(tmp_path):
    (tmp_path / "verdicts.jsonl").write_text("{}\n")
    files.write_manifest(tmp_path, {})
    with pytest.raises(BadInput, match="are damaged"):
        read_verdicts(tmp_path)
