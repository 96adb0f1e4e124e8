"""The archive and the talk on a terminal: python -m jobs.models, python -m jobs.chat."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt import archive
from jobs import chat, models
from jobs.screen import safe
from tests.jobs.small_home import TRAIN, make_home, run_kind


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = make_home(tmp_path_factory.mktemp("made"))
    run_kind(home, 5, "train", **TRAIN)
    return home


@pytest.fixture
def name(home: Path) -> str:
    return archive.list_models(home)[-1].name


def said(capsys: pytest.CaptureFixture[str], code: int, module: object, *arguments: object) -> str:
    assert module.main([str(argument) for argument in arguments]) == code  # type: ignore[attr-defined]
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_models_are_listed_with_what_is_known_of_them(home, name, capsys):
    listed = said(capsys, 0, models, "--home", home, "list")
    assert name in listed
    [one] = json.loads(said(capsys, 0, models, "--home", home, "list", "--json"))
    assert (one["name"], one["manifest"]["step"], one["pass_rate"]) == (name, 12, None)


def test_a_judged_model_shows_its_pass_rate_and_a_broken_report_none(home, name, capsys):
    report = home / "reports" / name / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"groups": {"seen_facts": {"pass_rate": 0.625}}}))
    assert " 62%" in said(capsys, 0, models, "--home", home, "list")
    assert "62.5% of the seen facts" in said(capsys, 0, models, "--home", home, "show", name)
    report.write_text("{")
    assert "%" not in said(capsys, 0, models, "--home", home, "list")


def test_show_tells_where_a_model_came_from(home, name, capsys):
    shown = said(capsys, 0, models, "--home", home, "show", name)
    assert "1 layers x 16, 2 heads, vocabulary 800, context 160" in shown
    assert "job 5, pack packs/main" in shown
    assert json.loads(said(capsys, 0, models, "--home", home, "--json", "show", name))["manifest"]["run"] == 5


def test_a_note_is_written_read_and_can_not_move_the_cursor(home, name, capsys):
    said(capsys, 0, models, "--home", home, "note", name, "and_sucks \x1b[2J")
    assert said(capsys, 0, models, "--home", home, "note", name) == "and_sucks \\x1b[2J\n"
    assert "and_sucks \\x1b[2J" in said(capsys, 0, models, "--home", home, "list")


@pytest.mark.parametrize("command", [("show", "nobody"), ("note", "nobody", "x"), ("note", "nobody")])
def test_a_model_that_is_not_there_is_said(home, capsys, command):
    assert said(capsys, 1, models, "--home", home, *command) == (
        "there is no model nobody: `jobctl models list` names them\n"
    )


def test_an_empty_archive_says_how_to_fill_it(tmp_path, capsys):
    assert (
        said(capsys, 0, models, "--home", tmp_path, "list") == "no models yet: a train job keeps one at its last step\n"
    )


def test_listing_loads_nothing_heavy(home):
    code = (
        "import sys; from jobs.models import main; main(['--home', sys.argv[1], 'list']); "
        "print({'torch', 'numpy', 'sentencepiece', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_a_damaged_model_is_named_and_the_others_are_listed(home, name, capsys):
    (home / "models/torn").mkdir()
    (home / "models/torn/manifest.json").write_text("{")
    assert models.main(["--home", str(home), "list"]) == 0
    captured = capsys.readouterr()
    assert name in captured.out
    assert captured.err.startswith("torn/manifest.json is damaged: ")
    assert said(capsys, 1, models, "--home", home, "show", "torn") == captured.err
    (home / "models/torn/manifest.json").unlink()


def test_a_list_that_nobody_reads_to_its_end_is_no_error(home):
    reading, writing = os.pipe()
    os.close(reading)
    listing = [sys.executable, "-m", "jobs.models", "--home", str(home), "list"]
    done = subprocess.run(listing, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# ── ask and chat ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_questions_are_answered_in_their_order_one_json_line_each(home, name, capsys):
    asked = ["--question", "When did it begin?", "--question", "Where?", "--max-new-tokens", 5, "--json"]
    lines = said(capsys, 0, chat, name, "--home", home, *asked).splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["question"] for answer in answers] == ["When did it begin?", "Where?"]
    assert all(answer.keys() == {"question", "answer", "num_tokens", "stopped"} for answer in answers)
    assert all(0 <= answer["num_tokens"] <= 5 for answer in answers)


def test_a_question_alone_and_among_others_gets_the_same_answer(home, name, capsys):
    def ask(*questions: str) -> list[str]:
        asked = [part for question in questions for part in ("--question", question)]
        lines = said(capsys, 0, chat, name, "--home", home, "--json", *asked).splitlines()
        return [json.loads(line)["answer"] for line in lines]

    both = ask("When did the first assault of the siege begin?", "Where?")
    assert both == [*ask("When did the first assault of the siege begin?"), *ask("Where?")]


def test_jobctl_takes_every_way_of_choosing_the_next_token(home, name):
    from supervisor.commands.house import SAMPLING

    assert list(SAMPLING) == list(chat.SAMPLING)
    jobctl = [sys.executable, "-P", "-m", "supervisor.jobctl", "-C", str(home), "--json", "ask", name, "When?"]
    drawing = ["--temperature", "2", "--top-k", "50", "--top-p", "0.99", "--min-p", "0.0001", "--max-new-tokens", "8"]
    said = [
        subprocess.run([*jobctl, *drawing, "--seed", seed], capture_output=True, text=True, check=True).stdout
        for seed in ("1", "1", "2")
    ]
    assert said[0] == said[1] != said[2]
    assert json.loads(said[0])["num_tokens"] <= 8
    wrong = subprocess.run([*jobctl, "--repetition-penalty", "0.5"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "repetition_penalty=0.5" in wrong.stderr) == (1, True)


def test_chat_answers_until_the_input_ends(home, name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("When did it begin?\n\n" + "why " * 400 + "\n"))
    talk = said(capsys, 0, chat, name, "--home", home, "--max-new-tokens", 4)
    assert talk.startswith(f"{name}, ")
    assert talk.count("tokens, ") == 1
    assert "of 1 to 160 tokens each" in talk, "too long a question is said, and the talk goes on"


def test_ctrl_c_stops_an_answer_not_the_talk_and_leaves_where_no_answer_is_on_its_way(home, name, capsys, monkeypatch):
    from gpt import sample

    calls, real = iter(range(10)), sample.prefill

    def prefill(*given: object) -> object:
        if next(calls) == 0:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(sample, "prefill", prefill)
    monkeypatch.setattr(sys, "stdin", io.StringIO("When did it begin?\ncaf\udce9?\nWhere?\n"))
    talk = said(capsys, 0, chat, name, "--home", home, "--max-new-tokens", 3)
    stopped, answered = talk.index("stopped"), talk.index(" tokens, ")
    assert stopped < talk.index("half of a character") < answered, "the talk went on"
    calls = iter(range(10))
    assert chat.main([name, "--home", str(home), "--question", "Where?"]) == 130


def test_a_question_past_what_learned_positions_were_trained_on_is_answered_with_a_warning(home, name, capsys):
    longest = archive.entry(home / "models" / name).manifest["longest"]
    assert 100 < longest <= 160
    assert chat.main([name, "--home", str(home), "--question", "y " * (longest // 2)]) == 0
    assert f"training went to {longest}: past that is guesswork" in capsys.readouterr().err
    assert chat.main([name, "--home", str(home), "--question", "y"]) == 0
    assert capsys.readouterr().err == ""
    some = ["--question", "y " * (longest // 2 - 10), "--max-new-tokens"]
    for num, warns in ((2, False), (60, True)):
        assert chat.main([name, "--home", str(home), *some, str(num)]) == 0
        assert ("past that is guesswork" in capsys.readouterr().err) is warns, "an answer too goes past it"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobody"], "there is no model nobody"),
        (["MODEL", "--temperature", "-1"], "temperature=-1.0"),
        (["MODEL", "--temperature", "nan"], "temperature=nan"),
        (["MODEL", "--seed", "9" * 20], "seed=99999999999999999999: take 0 to below"),
        (["MODEL", "--device", "gpu"], "--device gpu is not here: take cpu"),
        (["MODEL", "--question", "why " * 400], "of 1 to 160 tokens each"),
        (["MODEL", "--question", "caf\udce9"], "half of a character"),
    ],
)
def test_what_can_not_be_asked_is_said(home, name, capsys, arguments, says):
    given = [name if argument == "MODEL" else argument for argument in arguments]
    assert says in said(capsys, 1, chat, *given, "--home", home)


@pytest.mark.parametrize(
    ("text", "shown"), [("ä\nb", "ä\nb"), ("\x1b]0;x\x07", "\\x1b]0;x\\x07"), ("\u202e", "\\u202e")]
)
def test_what_a_model_says_can_not_change_the_terminal(text, shown):
    assert safe(text) == shown
