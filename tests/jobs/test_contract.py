"""What supervisor and child promise each other, without a process."""

import fcntl
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import BadArgs, Run, Ticket, Unfinished, inside

TICKET = Ticket(7, 3, "sleep", {"seconds": 1.5, "name": "ä\n"}, "/home/x", "/home/x/runs/7", "/home/x/lanes/gpu0.lock")


def test_a_ticket_comes_back_from_its_line_as_it_was():
    line = TICKET.to_line()
    assert line.count(b"\n") == 1  # whatever is in it: a line is a line
    assert Ticket.from_line(line) == TICKET


def test_a_long_ticket_keeps_nobody_waiting_for_a_child_that_does_not_read(tmp_path):
    ticket = Ticket(7, 3, "sleep", {"names": ["x" * 100] * 10_000}, str(tmp_path), str(tmp_path))
    read, write = os.pipe2(os.O_NONBLOCK)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)  # the least that a pipe may hold
    line = ticket.to_line()
    assert os.write(write, line) == len(line)
    assert os.write(write, b'{"go": {"device": "cuda:0"}}\n') > 0  # and there is room for the next line
    told, _, _ = os.read(read, 1 << 16).partition(b"\n")
    assert Ticket.from_line(told) == ticket
    assert (tmp_path / "ticket.json").stat().st_mode & 0o777 == 0o600
    os.close(read)
    os.close(write)


@given(st.lists(st.sampled_from(["a", "..", ".", "b c", "", "/", "~"]), min_size=1, max_size=5).map("/".join))
def test_a_path_inside_the_home_never_leads_out_of_it(path):
    home = Path("/srv/home")
    try:
        found = inside(home, path)
    except BadArgs:
        return
    assert Path(os.path.normpath(found)).is_relative_to(home)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "a/../../b", "../home/x"])
def test_a_path_out_of_the_home_is_refused(path):
    with pytest.raises(BadArgs, match="is not a path inside the home"):
        inside(Path("/srv/home"), path)


def read_lines(descriptor: int) -> list[dict]:
    os.set_blocking(descriptor, False)
    return [json.loads(line) for line in os.read(descriptor, 1 << 16).splitlines()]


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test has closed it


def test_reports_are_json_lines(pipe):
    run = Run(TICKET, pipe[1])
    run.progress(1, 2, "steps", loss=0.5, val=None)
    run.note("ä")
    run.submit("sleep", {"seconds": 0}, key="k", priority_above=2, after=("j",))
    assert read_lines(pipe[0]) == [
        {"report": "progress", "done": 1, "total": 2, "unit": "steps", "metrics": {"loss": 0.5, "val": None}},
        {"report": "note", "text": "ä"},
        {"report": "submit", "kind": "sleep", "args": {"seconds": 0}, "key": "k", "name": None, "priority_above": 2,
         "after": ["j"]},
    ]  # fmt: skip


def test_progress_is_cheap_to_say_and_its_last_word_is_never_held_back(pipe):
    run = Run(TICKET, pipe[1])
    for n in range(1001):
        run.progress(n, 1000)
    said = read_lines(pipe[0])
    assert len(said) < 20
    assert (said[0]["done"], said[-1]["done"]) == (0, 1000)


def test_a_supervisor_that_is_gone_means_leave_and_spoils_nothing(pipe):
    run = Run(TICKET, pipe[1])
    os.close(pipe[0])
    run.note("anybody?")
    assert run.stop_requested
    with pytest.raises(Unfinished):
        run.stop_if_asked()


def test_what_was_submitted_is_kept_for_the_next_supervisor(pipe):
    run = Run(TICKET, pipe[1])
    run.submit("sleep", {}, key="k")
    assert [job["key"] for job in run.submitted] == ["k"]


def test_a_line_longer_than_the_pipe_arrives_whole(pipe):
    import threading

    found = bytearray()

    def read() -> None:
        while not found.endswith(b"\n"):
            found.extend(os.read(pipe[0], 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    Run(TICKET, pipe[1]).note("x" * 300_000)
    reader.join()
    assert len(json.loads(found)["text"]) == 300_000


def test_without_a_supervisor_a_kind_can_be_tried_by_hand():
    run = Run(TICKET)
    run.progress(2, 2, "s")
    assert run.sent == [{"report": "progress", "done": 2, "total": 2, "unit": "s", "metrics": {}}]
