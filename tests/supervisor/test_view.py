"""Jobs as a person sees them."""

import dataclasses
import os
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import meta, queue
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.screen import view

TERMINAL_SAFE = "\n\t\N{REPLACEMENT CHARACTER}"


@given(
    st.text()
    | st.binary().map(lambda b: b.decode(errors="replace"))
    | st.text(alphabet=st.characters(max_codepoint=0x9F))
)
def test_no_text_can_move_a_cursor_or_forge_a_line(text):
    assert all(c.isprintable() for c in view.safe(text))
    assert len(view.safe(text)) == len(text)  # what is taken out leaves a trace
    lines = view.safe_lines(text)
    assert all(c.isprintable() or c in TERMINAL_SAFE for c in lines)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], include_characters=" ")))
def test_harmless_text_stays_as_it_is(text):
    assert view.safe(text) == text == view.safe_lines(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59.4, "59 s"), (59.6, "1m00s"), (190, "3m10s"), (3600, "1h00m"), (18120, "5h02m"),
     (1047600, "12d03h")],
)  # fmt: skip
def test_a_duration_in_words(seconds, text):
    assert view.duration(seconds) == text


@given(st.floats(allow_nan=False), st.integers(1, 50))
def test_a_bar_is_always_as_wide_as_asked(share, width):
    assert len(view.bar(share, width)) == width


def test_a_bar_fills_up():
    assert [view.bar(share, 4) for share in (0, 0.5, 1, 7)] == ["░░░░", "██░░", "████", "████"]


def test_secrets_of_the_environment_stay_hidden_and_the_rest_does_not():
    env = {"HF_TOKEN": "a", "AWS_SECRET_ACCESS_KEY": "b", "db_password": "c", "PATH": "/bin", "WANDB_API_KEY": "d"}
    shown = view.redacted({"argv": ["x"], "env": env})
    assert shown == {"argv": ["x"], "env": dict.fromkeys(env, "(hidden)") | {"PATH": "/bin"}}
    assert env["HF_TOKEN"] == "a"  # what runs gets the real one


@pytest.fixture
def home(db: sqlite3.Connection, tmp_path) -> Home:
    return Home(tmp_path)


def add(db, **more) -> int:
    return queue.add(db, NewJob("sleep", {}, more.pop("lane", "gpu"), **more), now=1000.0)


def why(db, home, job_id, now=1000.0):
    return view.waiting_for(db, queue.get(db, job_id), home, now=now)


def test_why_a_job_waits_is_one_sentence_for_each_reason(db, home):
    first = add(db)
    assert why(db, home, first) == "jobd, which does not run"
    lock = home.hold()  # as jobd does
    assert why(db, home, first) == "its turn"
    later = add(db, available_at=1090.0)
    assert why(db, home, later) == "its time, in 1m30s"
    needs = add(db, after=(first,))
    assert why(db, home, needs) == f"job {first} (queued)"
    queue.claim(db, "gpu", now=1000.0)
    assert why(db, home, first) is None
    assert why(db, home, add(db)) == f"the gpu lane, held by job {first}"
    assert why(db, home, add(db, lane="cpu")) == "its turn"
    meta.write(db, "lane_closed", "process 7 can't be killed")
    assert why(db, home, 4) == "the GPU lane, closed: process 7 can't be killed"
    queue.set_paused(db, True)
    assert why(db, home, 4) == "you: the queue is paused, `jobctl resume --all`"
    queue.fail(db, first, 1, "bad", now=1000.0)
    assert why(db, home, needs) == f"job {first}, which failed: `jobctl retry {first}`"
    assert why(db, home, first) is None
    queue.pause(db, 4, now=1000.0)
    assert why(db, home, 4) == "you: `jobctl resume 4`"
    os.close(lock)


def test_the_table_keeps_its_columns_whatever_the_jobs_are_called(db, home):
    add(db, name="a\nb"), add(db, name="\x1b[2J long name"), add(db, priority=-100)
    jobs = [queue.get(db, i) for i in (1, 2, 3)]
    lines = view.table(db, jobs, home, now=time.time())
    assert len(lines) == 4
    assert all(c.isprintable() for line in lines for c in line)
    assert len({line.index(cell) for line, cell in zip(lines, ("PRIO", "0 ", "0 ", "-100"), strict=True)}) == 1


@pytest.mark.parametrize(
    ("text", "columns"),
    [("plain", 5), ("日本語", 6), ("e\N{COMBINING ACUTE ACCENT}", 1), ("🚀", 2), ("█░▶·…", 5), ("", 0)],
)
def test_a_text_takes_as_many_columns_as_a_terminal_gives_it(text, columns):
    assert view.columns(text) == columns


@given(st.text(max_size=40) | st.text("日本語🚀e\N{COMBINING ACUTE ACCENT}", max_size=40), st.integers(1, 40))
def test_a_text_that_is_cut_fits_and_one_that_fits_is_not_cut(text, width):
    shown = view.cut(text, width)
    assert view.columns(shown) <= width
    assert (shown == text) == (view.columns(text) <= width)


def test_names_of_wide_letters_keep_the_tables_columns(db, home):
    for name in ("日本語の長い名前のジョブです日本語の長い名前のジョブです", "🚀 to the moon", "plain"):
        add(db, name=name, priority=77)
    lines = view.table(db, [queue.get(db, i) for i in (1, 2, 3)], home, now=time.time(), width=110)
    assert len({view.columns(line[: line.index("77")]) for line in lines[1:]}) == 1
    assert max(map(view.columns, lines)) <= 110


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [(3, 10, "3/10 steps"), (0.5, 2, "0.5/2 steps"), (1_234_567, 20_000_001, "1234567/20000001 steps")],
)
def test_progress_is_shown_to_the_last_step(db, done, total, shown):
    job = dataclasses.replace(queue.get(db, add(db)), done=float(done), total=float(total), unit="steps")
    assert view.progress(job) == shown


def test_the_tail_of_a_file_is_its_last_lines(tmp_path):
    path = tmp_path / "log"
    assert view.tail(path, 5) == ""
    path.write_text("".join(f"line {n}\n" for n in range(1000)))
    assert view.tail(path, 2) == "line 998\nline 999"
    assert view.tail(path, 5, most_bytes=20).endswith("line 999")


@pytest.mark.parametrize(("share", "said"), [(0.0, "0%"), (0.29, "29%"), (0.9999, "99%"), (1.0, "100%")])
def test_a_share_is_rounded_down_and_what_is_not_done_never_reads_100(share, said):
    assert view.percent(share) == said
