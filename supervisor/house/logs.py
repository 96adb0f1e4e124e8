"""The logs of jobs: each keeps its newest part, and is read from where it still holds something.

A child writes its log itself, and is never held up for it. What is too old is given back to the disk by a hole at the
file's beginning: no byte moves, so no line is lost, nobody's place in the file changes, and dying half way does no
harm. The file looks long (`ls -l`) and takes what it holds (`du`). docs/decisions/0013 says what else was tried.
"""

import ctypes
import errno
import os
import re
from pathlib import Path

MARK = re.compile(r"── attempt (\d+) · .* ──")
KEEP_SIZE, PUNCH_HOLE = 1, 2  # of fallocate(2)
BLOCK_BYTES = 1 << 16  # holes end at a multiple of it: every file system's block divides it
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64 if hasattr(_libc, "fallocate64") else _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def cap(path: Path, most_bytes: int) -> bool:
    """Give back what lies before a log's newest most_bytes (some blocks more may stay). Whether anything was.

    Raises OSError: EOPNOTSUPP where the file system knows no holes. A log that is not there is short enough.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        facts = os.fstat(descriptor)
        until = (facts.st_size - most_bytes) // BLOCK_BYTES * BLOCK_BYTES
        if facts.st_blocks * 512 <= most_bytes + BLOCK_BYTES or until <= first_byte(descriptor):
            return False
        if _fallocate(descriptor, KEEP_SIZE | PUNCH_HOLE, 0, until) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
        return True
    finally:
        os.close(descriptor)


def can_be_capped(folder: Path) -> bool:
    """Whether the file system of a folder gives back the beginning of a file. Tried on a file without a name."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return True  # it can't be tried here: nothing is known against it
    try:
        os.write(descriptor, b"x")
        return bool(_fallocate(descriptor, KEEP_SIZE | PUNCH_HOLE, 0, 1) == 0 or ctypes.get_errno() != errno.EOPNOTSUPP)
    finally:
        os.close(descriptor)


def first_byte(descriptor: int) -> int:
    """Where a file begins to hold something, in bytes: the end of the hole in front. Its place for reading stays."""
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:  # ENXIO: it holds nothing at all
        return 0
    finally:
        os.lseek(descriptor, place, os.SEEK_SET)


def read_end(path: Path, most_bytes: int | None = None) -> tuple[bytes, int]:
    """What a log holds, at most its last most_bytes, and where that ends: what comes after it was not read.

    A line that lost its beginning to the cap is left out. Of a log that is not there: nothing, and 0.
    """
    try:
        with open(path, "rb") as file:
            first, end = first_byte(file.fileno()), os.fstat(file.fileno()).st_size
            at = max(first, end - most_bytes) if most_bytes is not None else first
            file.seek(at)
            content = file.read(end - at)
            first = first_byte(file.fileno())  # again: the cap may have taken some of it as we read
    except FileNotFoundError:
        return b"", 0
    return (content[first - at :].partition(b"\n")[2] if first >= at and first > 0 else content), end


def of_attempt(path: Path, attempt: int, newest: int) -> list[str] | None:
    """The lines of one attempt; None when the log holds nothing of it. newest: the attempt that wrote last.

    What stands before the first mark of a log whose beginning is gone belongs to the attempt before that mark's.
    """
    lines = read_end(path)[0].decode(errors="replace").splitlines()
    marks = [(at, int(match[1])) for at, line in enumerate(lines) if (match := MARK.fullmatch(line))]
    first = marks[0][1] - 1 if marks else newest
    starts = [(0, first), *marks] if not marks or marks[0][0] else marks
    ends = [at for at, _ in starts[1:]] + [len(lines)]
    found = [
        line for (at, number), end in zip(starts, ends, strict=True) if number == attempt for line in lines[at:end]
    ]
    return found or None


def start_of(path: Path, attempt: int) -> int:
    """Where in a log an attempt begins, in bytes; its end when it has not begun yet."""
    content, end = read_end(path)
    found = content.rfind(f"── attempt {attempt} ·".encode())
    return end - len(content) + found if found >= 0 else end
