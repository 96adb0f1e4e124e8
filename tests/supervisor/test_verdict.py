"""What a child says and how it ended, as the queue and a person get to know it."""

import os

import pytest

from supervisor.children import verdict
from supervisor.children.child import attempt_mark


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it printed nothing"),
        ("{1}", "it printed nothing"),
        ("{1}hello\n", "hello"),
        ("{1}one\ntwo\n\n  \n", "two"),
        ("{1}an old error\n{2}", "it printed nothing"),  # the newest attempt is meant
        ("{1}old\n{2}new\n", "new"),
        ("{1}\x1b[31mred\x07\n", "\ufffd[31mred\ufffd"),
        ("{1}no newline", "no newline"),
        ("{1}" + "x" * 9999, "x" * verdict.ERROR_CHARS),
        ("{1}caf\udce9\n", "caf\ufffd"),
    ],
)
def test_the_last_words_are_those_of_the_newest_attempt_made_safe(tmp_path, log, words):
    for n in (1, 2):
        log = log.replace(f"{{{n}}}", attempt_mark(n, 99).decode())
    (tmp_path / "log").write_bytes(log.encode(errors="surrogateescape"))
    assert verdict.last_words(tmp_path / "log") == words


def test_a_log_that_is_gone_says_nothing(tmp_path):
    assert verdict.last_words(tmp_path / "log") == "it printed nothing"


def test_only_the_end_of_a_huge_log_is_read(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        log.seek(10 << 30)  # sparse: ten GiB of nothing
        log.write(b"\nthe end\n")
    assert verdict.last_words(tmp_path / "log") == "the end"
    os.unlink(tmp_path / "log")


@pytest.mark.parametrize(
    ("text", "plain"), [("abc", "abc"), ("abcdef", "abcd"), ("a\ud800b", "a?b"), (7, "7"), (None, "None")]
)
def test_text_that_is_kept_can_be_stored(text, plain):
    assert verdict.plain(text, 4) == plain
    plain.encode()
