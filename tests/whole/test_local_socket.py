"""jobd.sock of a real jobd: whom it answers, what, and that nobody there can hold it up."""

import contextlib
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import time

import pytest
from tower import Tower, until

NOBODY = 65534


class ByFile(http.client.HTTPConnection):
    """HTTP to a socket that is a file."""

    def __init__(self, tower: Tower) -> None:
        super().__init__("jobd", timeout=30)
        self.path = tower.path / "jobd.sock"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.path))


def ask(tower, place, method="GET"):
    with contextlib.closing(ByFile(tower)) as connection:
        connection.request(method, place)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


@pytest.fixture
def served(tower):
    tower.start()
    until(lambda: (tower.path / "jobd.sock").exists(), "its socket")
    return tower


def test_it_tells_how_the_house_is(served):
    job = served.add("sleep", seconds=30)
    until(lambda: served.job(job).done > 0, "it works")
    code, text = ask(served, "/metrics")
    assert code == 200
    assert 'neverrest_jobs{state="running",kind="sleep"} 1.0\n' in text
    assert 'neverrest_job_progress_ratio{job="1",kind="sleep",name="sleep"} ' in text
    assert "# TYPE neverrest_gpu_lane_seconds_total counter\n" in text
    assert ask(served, "/health") == (200, '{"ok": true, "paused": false}\n')
    served.ctl("pause", "--all")
    assert json.loads(ask(served, "/health")[1])["paused"] is True


@pytest.mark.parametrize(
    ("method", "place", "code", "words"),
    [("GET", "/", 404, "there are /metrics and /health"), ("POST", "/metrics", 405, "only answers"),
     ("GET", "/../queue.db", 404, "no such place"), ("GET", "/metrics?x=1", 200, "neverrest_jobs")],
)  # fmt: skip
def test_what_it_does_not_know_gets_a_sentence(served, method, place, code, words):
    served.add("sleep")
    found, text = ask(served, place, method)
    assert (found, words in text) == (code, True)


def test_it_is_its_owners_alone(served):
    path = served.path / "jobd.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    for folder in [served.path, *served.path.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o011)
    script = (
        f"import os, socket; os.setgid({NOBODY}); os.setuid({NOBODY}); s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect({str(path)!r}); s.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n'); print(s.recv(99))"
    )
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "PermissionError" in refused.stderr
    path.chmod(0o666)  # by whatever mistake: the kernel still says who it is
    unheard = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert unheard.stdout in ("b''\n", ""), unheard.stdout
    assert ask(served, "/health")[0] == 200


def test_guests_who_say_nothing_or_never_listen_hold_nobody_up_and_are_sent_away(served):
    path = str(served.path / "jobd.sock")
    guests = []
    for number in range(20):
        guest = socket.socket(socket.AF_UNIX)
        guest.connect(path)
        guest.settimeout(30)
        guests.append(guest)
        try:
            guest.sendall(b"GET /metrics HTTP/1.0\r\n\r\n" if number % 2 else b"GE")
        except BrokenPipeError:
            pass  # one too many
    served.until(served.sh("true"), "succeeded")
    began = time.monotonic()
    silent = guests[0]
    assert silent.recv(99) == b"", "sent away"
    assert time.monotonic() - began < 25
    for guest in guests:
        guest.close()
    until(lambda: _answers(served), "and the door is open again")


def _answers(tower):
    try:
        return ask(tower, "/health")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_more_than_a_request_is_not_read(served):
    guest = socket.socket(socket.AF_UNIX)
    guest.settimeout(30)
    guest.connect(str(served.path / "jobd.sock"))
    with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012
        for _ in range(10_000):
            guest.sendall(b"x" * 4096)
    guest.close()
    assert ask(served, "/health")[0] == 200


def test_a_socket_left_by_a_killed_jobd_is_taken_over_and_one_that_leaves_takes_it_along(served):
    served.kill_jobd()
    assert (served.path / "jobd.sock").exists()
    served.start()
    until(lambda: _answers(served), "the next one answers")
    assert served.stop_jobd() == 0
    assert not (served.path / "jobd.sock").exists()


def test_a_home_whose_path_is_longer_than_a_sockets_may_be_has_one_too(tmp_path):
    tower = Tower(tmp_path / ("long" * 30))
    try:
        tower.start()
        until(lambda: (tower.path / "jobd.sock").exists(), "its socket")
        folder = os.open(tower.path, os.O_PATH)
        guest = socket.socket(socket.AF_UNIX)
        guest.settimeout(30)
        guest.connect(f"/proc/self/fd/{folder}/jobd.sock")
        guest.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert guest.recv(15) == b"HTTP/1.0 200 OK"
        guest.close()
        os.close(folder)
    finally:
        tower.sweep()
