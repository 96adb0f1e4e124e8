"""A log keeps its newest part: nothing is lost between, nobody's place moves, and what is read begins with a line."""

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from supervisor.house import logs
from supervisor.screen import follow

MIB = 1 << 20


def held(path):
    """What a file takes on the disk, in bytes."""
    return path.stat().st_blocks * 512


@pytest.fixture
def log(tmp_path):
    if not logs.can_be_capped(tmp_path):
        pytest.skip("the file system of the temporary folder knows no holes in files")
    return tmp_path / "log"


def lines(first: int, last: int) -> bytes:
    return b"".join(b"line %09d\n" % number for number in range(first, last))


def test_a_log_over_its_cap_gives_its_oldest_part_back_and_keeps_the_newest(log):
    content = lines(0, 300_000)
    log.write_bytes(content)
    assert logs.cap(log, MIB)
    assert MIB <= held(log) <= MIB + 2 * logs.BLOCK_BYTES
    assert log.stat().st_size == len(content), "every offset stays what it was"
    assert log.read_bytes()[-MIB:] == content[-MIB:]
    shown, end = logs.read_end(log)
    assert content.endswith(shown)
    assert len(shown) >= MIB
    assert shown.startswith(b"line "), "a line that lost its beginning is not shown"
    assert end == len(content)


def test_a_log_under_its_cap_or_none_at_all_is_left_alone(log):
    assert not logs.cap(log, MIB)
    log.write_bytes(lines(0, 1000))
    before = held(log)
    assert not logs.cap(log, MIB)
    assert held(log) == before


def test_capped_again_and_again_under_a_writer_no_line_of_the_newest_is_ever_missing(log):
    script = "import os\nfor n in range(400_000): os.write(1, b'line %09d\\n' % n)"
    with open(log, "ab", buffering=0) as out:
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=out)
    capped = 0
    while writer.poll() is None:
        capped += logs.cap(log, MIB)
        numbers = [int(line[5:]) for line in logs.read_end(log)[0].split(b"\n")[:-1] if len(line) == 14]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert capped > 1, "it was capped while it was written"
    logs.cap(log, MIB)
    assert logs.read_end(log)[0].endswith(b"line %09d\n" % 399_999)
    assert held(log) <= MIB + 2 * logs.BLOCK_BYTES


def test_a_file_system_without_holes_is_told_by_its_error(log, monkeypatch):
    def refuse(*args):
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    log.write_bytes(lines(0, 300_000))
    monkeypatch.setattr(logs, "_fallocate", refuse)
    assert not logs.can_be_capped(log.parent)
    with pytest.raises(OSError, match="not supported") as told:
        logs.cap(log, MIB)
    assert told.value.errno == errno.EOPNOTSUPP


def test_a_log_that_is_a_link_is_not_followed(log, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(lines(0, 300_000))
    log.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        logs.cap(log, MIB)
    assert held(other) > 3 * MIB


def test_what_stands_before_the_first_mark_belongs_to_the_attempt_before_it(tmp_path):
    log = tmp_path / "log"
    mark = "── attempt {} · 2026-11-21 06:00:00 +0000 · pid 1 ──"
    log.write_text("\n".join([mark.format(1), "one", mark.format(2), "two", "2", mark.format(2), "two again"]) + "\n")
    assert logs.of_attempt(log, 1, 2) == [mark.format(1), "one"]
    assert logs.of_attempt(log, 2, 2) == [mark.format(2), "two", "2", mark.format(2), "two again"]
    assert logs.of_attempt(log, 3, 2) is None
    log.write_text(f"rest of four\n{mark.format(5)}\nfive\n")
    assert logs.of_attempt(log, 4, 5) == ["rest of four"]
    log.write_text("all marks are gone\n")
    assert logs.of_attempt(log, 7, 7) == ["all marks are gone"]
    assert logs.of_attempt(log, 6, 7) is None


def test_where_an_attempt_begins_is_a_place_in_the_file(log):
    first = b"x" * 70 + b"\n" + lines(0, 200_000)
    mark = "── attempt 2 · 2026-11-21 06:00:00 +0000 · pid 1 ──\n".encode()
    log.write_bytes(first + mark + b"more\n")
    logs.cap(log, MIB)
    assert logs.start_of(log, 2) == len(first)
    assert logs.start_of(log, 3) == log.stat().st_size
    assert logs.start_of(log.with_name("none"), 1) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_control_characters_never_reach_the_terminal_however_the_log_is_cut_into_pieces(size):
    raw = "a\x1b[2Jb\x07\r\nc\rd\x9b31m\u202eé€\U0001f600\t\x00\r\n".encode() + b"\xff\xc3("
    pieces = follow.Pieces()
    said = "".join(pieces.safe(raw[at : at + size]) for at in range(0, len(raw), size))
    assert said == "a�[2Jb�\nc\nd�31m�é€😀\t�\n��("
    assert all(c.isprintable() or c in "\n\t" for c in said)


def test_a_follower_finds_what_the_cap_took_passed_over_and_a_log_shortened_by_hand_begun_anew(log):
    content = lines(0, 300_000)
    log.write_bytes(content)
    [*_, (_, end)] = follow._beyond(log, 100)
    assert end == len(content)
    logs.cap(log, MIB)
    found = list(follow._beyond(log, 100))
    assert b"".join(piece for piece, _ in found) == content[-sum(len(piece) for piece, _ in found) :]
    assert found[-1][1] == len(content)
    late = follow._beyond(log, len(content) - MIB)
    shown, _ = next(late)
    logs.cap(log, MIB // 4)
    rest = b"".join(piece for piece, _ in late)
    assert (shown + rest).count(b"\0") == 0, "what was taken as it was read is passed over, not shown as zeros"
    assert len(rest) >= MIB // 4
    assert content[-MIB // 4 :] == rest[-MIB // 4 :]
    os.truncate(log, 0)
    log.write_bytes(b"new\n")
    assert list(follow._beyond(log, len(content))) == [(b"new\n", 4)]
