"""HOME/jobd.sock: how the house is, over HTTP/1.0, for the owner of the home and root alone.

    curl --unix-socket jobd.sock http://jobd/metrics        Prometheus text
    curl --unix-socket jobd.sock http://jobd/health         200 when jobs can run, else 503, with the reasons

The file is 0600, and the kernel says who is at the other end. Nothing is changed by it. Nobody who reads slowly holds
up jobd: an answer is written as far as the kernel takes it, the rest when it takes more, and all within DEADLINE_S.
"""

import os
import selectors
import socket
import sqlite3
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisor.home import Home
from supervisor.notify import say
from supervisor.outside import metrics

MOST_GUESTS = 8
DEADLINE_S = 5.0
REQUEST_BYTES = 4096
PEER = struct.Struct("3i")  # ucred: pid, uid, gid
WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
TEXT, JSON = "text/plain; version=0.0.4; charset=utf-8", "application/json"


@dataclass(eq=False)
class Guest:
    """One connection: what it has said, what it is still to be told."""

    socket: socket.socket
    until: float  # monotonic
    asked: bytes = b""
    answer: memoryview | None = None


class LocalSocket:
    """The socket of one home, in the loop's selector: what is registered there is called when it is ready."""

    def __init__(self, home: Home, db: sqlite3.Connection, selector: selectors.BaseSelector) -> None:
        self._home, self._db, self._selector = home, db, selector
        self._guests: list[Guest] = []
        self._door: socket.socket | None = None
        self._counted = metrics.Counted()

    def open(self) -> None:
        """Listen. Whoever holds the home's lock may take the place of a socket that an earlier jobd left."""
        path = self._home.path / "jobd.sock"
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)
            _bind(door, path)
            door.listen(MOST_GUESTS)
        except OSError as error:
            door.close()
            say(f"no local socket at {path}: {error}")
            return
        self._door = door
        self._selector.register(door, selectors.EVENT_READ, self._welcome)

    def close(self) -> None:
        """jobd leaves."""
        for guest in list(self._guests):
            self._send_away(guest)
        if self._door is not None:
            self._selector.unregister(self._door)
            self._door.close()
            (self._home.path / "jobd.sock").unlink(missing_ok=True)
            self._door = None

    def look(self) -> None:
        """Who has had its time is sent away."""
        for guest in list(self._guests):
            if time.monotonic() >= guest.until:
                self._send_away(guest)

    def _welcome(self) -> None:
        assert self._door is not None
        try:
            found, _ = self._door.accept()
        except OSError:
            return  # it went away before we came to the door
        found.setblocking(False)
        _, uid, _ = PEER.unpack(found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        self.look()
        if uid not in (0, os.geteuid()) or len(self._guests) >= MOST_GUESTS:
            found.close()
            return
        guest = Guest(found, time.monotonic() + DEADLINE_S)
        self._guests.append(guest)
        self._selector.register(found, selectors.EVENT_READ, lambda: self._listen(guest))

    def _listen(self, guest: Guest) -> None:
        try:
            piece = guest.socket.recv(REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        guest.asked += piece
        if not piece or len(guest.asked) > REQUEST_BYTES:
            self._send_away(guest)
        elif b"\r\n\r\n" in guest.asked or b"\n\n" in guest.asked:
            guest.answer = memoryview(self._answer(guest.asked))
            self._selector.modify(guest.socket, selectors.EVENT_WRITE, lambda: self._tell(guest))
            self._tell(guest)

    def _tell(self, guest: Guest) -> None:
        assert guest.answer is not None
        try:
            guest.answer = guest.answer[guest.socket.send(guest.answer) :]
        except BlockingIOError:
            return
        except OSError:
            guest.answer = memoryview(b"")
        if not guest.answer:
            self._send_away(guest)

    def _send_away(self, guest: Guest) -> None:
        if guest not in self._guests:  # it was ready and late at once
            return
        self._selector.unregister(guest.socket)
        guest.socket.close()
        self._guests.remove(guest)

    def _answer(self, asked: bytes) -> bytes:
        """The whole answer to a request."""
        words = asked.split(b"\n", 1)[0].decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/"):
            return _response(400, "this socket speaks HTTP: GET /metrics or GET /health\n")
        if words[0] != "GET":
            return _response(405, "this socket only answers: GET /metrics or GET /health\n")
        act = PLACES.get(words[1].partition("?")[0])
        if act is None:
            return _response(404, f"there is no such place; there are {' and '.join(PLACES)}\n")
        try:
            return act(self)
        except sqlite3.Error as error:
            return _response(503, f"the queue can't be read now: {error}\n")

    def _metrics(self) -> bytes:
        return _response(200, metrics.prometheus(self._db, self._home, self._counted))

    def _health(self) -> bytes:
        well, body = metrics.health(self._db)
        return _response(200 if well else 503, body, JSON)


PLACES: dict[str, Callable[[LocalSocket], bytes]] = {
    "/metrics": LocalSocket._metrics, "/health": LocalSocket._health,
}  # fmt: skip


def _response(code: int, body: str, kind: str = TEXT) -> bytes:
    content = body.encode(errors="replace")
    head = f"HTTP/1.0 {code} {WORDS[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _bind(door: socket.socket, path: Path) -> None:
    """At any path, of any length (the kernel takes 107 bytes): by way of its folder's descriptor. Born 0600."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    before = os.umask(0o177)
    try:
        door.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.umask(before)
        os.close(folder)
