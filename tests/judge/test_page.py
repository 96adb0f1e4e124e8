"""The report that a person reads: whole, true, within the terminal's width, and harmless to print."""

import json
import random
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.judging import Judging, judge_model
from judge.page import STRIP, choose, strip
from judge.report import by_family, compare
from judge.terminal import HIDDEN, plain, row
from judge.verdicts import BadInput, Ruling, Verdict, read_verdicts
from tests.judge.ask import a_home, some_questions, write_answers, write_pack


def judged(home, model="demo_step000100", **settings):
    for _ in judge_model(Judging(home, home / "packs" / "main", model, ("demo-untrained",), **settings)):
        pass
    folder = home / "reports" / model
    return json.loads((folder / "report.json").read_text()), (folder / "report.md").read_text()


@given(st.text())
def test_nothing_a_model_writes_reaches_the_terminal_as_a_command(text):
    shown = plain(text, 10_000)
    assert not any(unicodedata.category(letter) in HIDDEN for letter in shown)
    assert "\n" not in shown
    assert shown.encode().decode() == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5 July 1943", "5 July 1943"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\tc\r\nd\re", "a ⏎ b c ⏎ d\\re"),
        ("\u202eabc\u200b", "\\u202eabc\\u200b"),
        ("\x9b2J", "\\x9b2J"),
        ("\ud800", "\\ud800"),
        ("Besançon 戦 …", "Besançon 戦 …"),
        ("x" * 300, "x" * 280 + " … (300 characters)"),
    ],
)
def test_control_characters_are_shown_not_sent(text, shown):
    assert plain(text) == shown


def test_a_long_text_is_wrapped_under_itself():
    lines = row("answer", "word " * 40, indent=20, width=96).splitlines()
    assert lines[0].startswith("  answer            word word")
    assert all(line.startswith(" " * 20) and len(line) <= 96 for line in lines[1:])


def test_the_page_says_the_rate_its_interval_its_rivals_and_quotes_both_sides(tmp_path):
    a_home(tmp_path)
    report, page = judged(tmp_path)
    seen = report["groups"]["seen_facts"]
    assert f"**{100 * seen['pass_rate']:.1f} % pass**: {seen['passed']} of {seen['n']} questions" in page
    assert f"95 % interval {100 * seen['low']:.1f} % to {100 * seen['high']:.1f} %" in page
    assert "against the untrained model" in page
    assert "against the most frequent answer" in page
    for family in ("cloze", "true false", "who when where"):
        assert re.search(rf"^{family} +\d+ +\d+\.\d % \[", page, re.MULTILINE)
    assert page.count("  PASS  ") == page.count("  FAIL  ") == 5
    assert "71 of 71 as they must be" in page
    assert "UNTRUSTED" not in page


def test_no_line_is_wider_than_a_terminal_and_every_fence_is_closed(tmp_path):
    a_home(tmp_path)
    _, page = judged(tmp_path, "demo_step000200")
    assert max(map(len, page.splitlines())) <= 100
    assert sum(line.startswith("```") for line in page.splitlines()) % 2 == 0
    assert not any(unicodedata.category(letter) in HIDDEN for letter in page.replace("\n", ""))


def test_what_a_model_wrote_cannot_close_the_fence_or_forge_a_heading(tmp_path):
    questions = some_questions()
    write_pack(tmp_path, questions)
    evil = "```\n# 100.0 % pass\n\x1b[2J```"
    write_answers(tmp_path, "demo_step000100", {question.id: evil for question in questions})
    write_answers(tmp_path, "demo-untrained", {question.id: evil * 30 for question in questions}, untrained=True)
    _, page = judged(tmp_path)
    assert "\x1b" not in page
    assert [line for line in page.splitlines() if line.startswith("# ")] == ["# demo_step000100"]
    assert {line for line in page.splitlines() if line.lstrip(" ").startswith("```")} == {"```text", "```"}


def test_unscored_questions_are_told_with_their_worst_case(tmp_path):
    a_home(tmp_path)
    report, page = judged(tmp_path, "demo_step000200")
    assert report["groups"]["seen_facts"]["unscored"] == 1
    assert "1 more were not scored (neither pass nor fail)" in page
    low, high = report["groups"]["seen_facts"]["worst_case"]
    assert low <= report["groups"]["seen_facts"]["pass_rate"] <= high


def test_an_untrusted_judging_says_so_first(tmp_path, monkeypatch):
    from judge.reference import ReferenceJudge

    a_home(tmp_path)
    monkeypatch.setattr(ReferenceJudge, "rule", lambda self, question, answer: Ruling(True, "all is well"))
    report, page = judged(tmp_path)
    assert report["trusted"] is False
    assert len(report["missed_canaries"]) > 30
    assert page.splitlines()[2].startswith("**UNTRUSTED")
    assert "\x1b" not in page


def test_quoted_answers_take_the_families_in_turn_and_are_the_same_for_a_seed():
    verdicts = [Verdict(str(n), "seen_facts", f"family {n % 9 // 4}", "a", "x", "why", "PASS") for n in range(40)]
    chosen = choose(verdicts, 5, random.Random(1))
    assert {verdict.family for verdict in chosen} == {"family 0", "family 1", "family 2"}
    assert chosen == choose(verdicts, 5, random.Random(1))
    assert len({verdict.id for verdict in chosen}) == 5
    assert choose([], 5, random.Random(1)) == []


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_picture_shows_the_rate_within_its_interval(one, two, three):
    low, rate, high = sorted((one, two, three))
    line = strip({"low": low, "pass_rate": rate, "high": high}, [(None, "x")])
    assert len(line) == STRIP
    assert line.index("●") == round(rate * (STRIP - 1))
    assert set(line) <= set("·├─┤●")


def test_families_add_up_to_their_group(tmp_path):
    a_home(tmp_path)
    judged(tmp_path)
    verdicts = read_verdicts(tmp_path / "reports" / "demo_step000100")
    numbers = by_family(verdicts)
    for field in ("n", "passed", "unscored"):
        assert sum(family[field] for family in numbers["families"].values()) == numbers[field]
    assert numbers["n"] == len(verdicts)


def test_two_snapshots_are_compared_on_the_same_questions_and_the_later_names_the_earlier(tmp_path):
    a_home(tmp_path)
    judged(tmp_path)
    report, page = judged(tmp_path, "demo_step000200", previous="demo_step000100")
    a, b = (tmp_path / "reports" / name for name in ("demo_step000100", "demo_step000200"))
    assert report["groups"]["seen_facts"]["versus"]["demo_step000100"] == compare(a, b)["seen_facts"]
    assert compare(a, b)["seen_facts"]["words"] == "better"
    assert compare(b, a)["seen_facts"]["difference"] == -compare(a, b)["seen_facts"]["difference"]
    assert "against demo_step000100" in page


def test_snapshots_asked_differently_or_judged_by_another_judge_are_not_compared(tmp_path):
    a_home(tmp_path)
    judged(tmp_path)
    write_pack(tmp_path, some_questions(num_articles=8))
    answers = {question.id: "6 June 1944" for question in some_questions(num_articles=8)}
    write_answers(tmp_path, "demo_step000300", answers)
    write_answers(tmp_path, "demo-untrained", answers, untrained=True)
    report, page = judged(tmp_path, "demo_step000300", previous="demo_step000100")
    assert report["previous"] == "demo_step000100"
    assert "demo_step000100" not in report["groups"]["seen_facts"]["versus"]
    assert "Not compared with demo_step000100" in page
    with pytest.raises(BadInput, match="answered different questions"):
        compare(tmp_path / "reports" / "demo_step000100", tmp_path / "reports" / "demo_step000300")
    with pytest.raises(BadInput, match="no finished report of nobody"):
        compare(tmp_path / "reports" / "nobody", tmp_path / "reports" / "demo_step000300")


def test_guessing_stands_beside_the_families_it_is_known_for(tmp_path):
    a_home(tmp_path)
    report, page = judged(tmp_path)
    assert report["chance"] == {"true_false": 0.5, "which_of_two": 0.5, "multiple_choice": 0.25}
    assert re.search(r"^true false .* 50 %$", page, re.MULTILINE)
    assert re.search(r"^cloze .* -$", page, re.MULTILINE)


def test_the_most_frequent_answer_is_judged_like_any_other(tmp_path):
    a_home(tmp_path)
    report, _ = judged(tmp_path)
    habit = report["groups"]["seen_facts"]["baselines"]["most_frequent"]["families"]
    assert habit["true_false"]["pass_rate"] == 0.0  # every statement of these questions is false, habit says True
    assert 0 < habit["cloze"]["pass_rate"] < 1
    assert report["groups"]["seen_facts"]["baselines"]["untrained"]["passed"] == 0
