"""The GPU lane: who gets it, which device it is, and what a card that can't be used does to it."""

import sys
import time
from contextlib import closing

import pytest

from supervisor import db as database
from supervisor import gpu, lane, queue
from supervisor.gpu import Gpu
from supervisor.home import Home
from supervisor.lane import Lane
from supervisor.settings import Settings

CARD = Gpu("healthy", "GeForce RTX 4080", 16376, 15800)


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "BUS", tmp_path / "no devices")
    home = Home(tmp_path)
    database.create(home.queue_db)
    return Lane(home, "home", Settings())


def let_time_pass(monkeypatch):
    later = time.monotonic() + lane.LOOK_AGAIN_S
    monkeypatch.setattr(time, "monotonic", lambda: later)


@pytest.mark.parametrize("state", ["mismatch", "lost", "hung"])
def test_a_card_that_cannot_be_used_closes_the_lane_and_no_job_goes_to_the_cpu_instead(made, state, capfd):
    made.take(Gpu(state, why="said NVML"))
    assert not made.is_free()
    assert made.closed == f"the card can't be used ({state}: said NVML)"
    with closing(database.connect(made.lock.parent.parent / "queue.db")) as db:
        made.write_down(db)
        assert queue.meta(db, "lane_closed") == made.closed
        made.take(CARD)
        made.write_down(db)
        assert (queue.meta(db, "lane_closed"), queue.meta(db, "device")) == ("", "cuda:0")
    assert made.is_free()
    assert capfd.readouterr().err.count("ALARM") == 1


def test_where_there_is_no_card_the_lane_works_on_the_cpu_and_says_so(made, capfd):
    made.take(Gpu("no-nvml", why="NVML Shared Library Not Found"))
    assert (made.device, made.is_free()) == ("cpu", True)
    assert "jobs go to cpu" in capfd.readouterr().err


def test_a_card_that_comes_back_is_found_without_waiting_for_it(made, monkeypatch):
    made.take(Gpu("lost", why="GPU is lost"))
    answers = iter([None, CARD])

    class Slow:
        def answer(self):
            return next(answers)

    monkeypatch.setattr(gpu, "Look", Slow)
    made.look_again()
    assert made.closed, "it is not time yet"
    let_time_pass(monkeypatch)
    made.look_again()
    assert made.closed, "the look is under way"
    made.look_again()
    assert (made.closed, made.device) == (None, "cuda:0")


def test_a_driver_that_loads_after_jobd_is_found(made, monkeypatch, tmp_path):
    card = tmp_path / "pci" / "0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x030000\n")
    monkeypatch.setattr(gpu, "BUS", tmp_path / "pci")
    made.take(Gpu("no-nvml", why="Driver Not Loaded"))
    assert made.device == "cpu"
    let_time_pass(monkeypatch)
    monkeypatch.setattr(gpu, "Look", lambda: type("Found", (), {"answer": lambda self: CARD})())
    made.look_again()
    assert made.device == "cuda:0"


def test_a_device_that_was_named_is_obeyed_and_nobody_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "probe", lambda: pytest.fail("asked"))
    told = Lane(Home(tmp_path), "home", Settings(device="cuda:1"))
    told.find_device()
    assert told.device == "cuda:1"


def test_a_question_that_is_not_answered_in_time_is_a_finding(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/cat")  # takes `-P` for a wrong option and ends without an answer
    assert gpu.probe().state == "lost"
    real = gpu.subprocess.Popen
    monkeypatch.setattr(gpu.subprocess, "Popen", lambda argv, **more: real(["sleep", "60"], **more))
    assert gpu.probe(deadline_s=0.05).state == "hung"
