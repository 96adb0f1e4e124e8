"""The GPU lane: who gets it, which device it is, and what a card that can't be used does to it."""

import dataclasses
import json
import os
import selectors
import time
from types import SimpleNamespace

import pytest

from supervisor import meta, queue, standing
from supervisor.card import card, gpu, vram
from supervisor.card.gpu import Gpu
from supervisor.card.lane import Lane
from supervisor.children.child import Phase
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.settings import Settings
from supervisor.standing import Standing

CARD = Gpu("healthy", "GeForce RTX 4080", 16376, 15800)


class Clock:
    """time.monotonic, moved by hand."""

    def __init__(self, monkeypatch):
        self.now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Answers:
    """A probe that is never waited for: it answers what it was given, once it was asked."""

    def __init__(self):
        self.asked_at, self.output, self.answers_until, self.ready, self.closely = None, None, 0.0, [], False

    def ask(self, *, closely=False):
        self.asked_at, self.closely = time.monotonic(), closely
        return True

    def answer(self):
        if self.asked_at is None or not self.ready:
            return None
        self.asked_at = None
        return self.ready.pop(0)

    def has_ended(self):
        return False


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def made(tmp_path, db, monkeypatch, clock):
    monkeypatch.setattr(gpu, "BUS", tmp_path / "no devices")
    lane = Lane(Home(tmp_path), "home", Settings(), selectors.DefaultSelector())
    lane.card._probe = Answers()
    return lane


def see(lane, clock, found, after_s=0.0):
    """The card is looked at, and is so. What the loop hears."""
    clock.now += after_s
    if lane.card.now is None and lane.card.broken is None:
        lane.card.take(found)
        return True
    lane.card.look_in(0.0)
    lane.card._look_at = clock.now
    lane.card._probe.ready = [found]
    return lane.look()


def used(mib, **pids):
    """The card with so much used, by these processes."""
    return dataclasses.replace(CARD, free_mib=16376 - mib, processes={int(pid[1:]): held for pid, held in pids.items()})


def a_child(db, **needs):
    job_id = queue.add(db, NewJob("sleep", {}, "gpu", **needs), now=0)
    job = queue.claim_job(db, job_id, now=1)
    return SimpleNamespace(
        job=job, ticket=SimpleNamespace(args=job.args), mark="home:1:1", pid=2**22, group=None, why=None,
        phase=Phase.RUNNING, outgrew=False, card="", free_mib=0,
    )  # fmt: skip


# ── the card ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["mismatch", "lost", "reset", "hung"])
def test_a_card_that_cannot_be_used_closes_the_lane_and_no_job_goes_to_the_cpu_instead(made, db, clock, state, capfd):
    made.card.take(Gpu(state, why="said NVML"))
    assert not made.is_free()
    assert made.closed == f"the card can't be used ({state}: said NVML)"
    assert made.waits == ("lost", made.closed)
    assert made.excuse == "the card was lost", "who fails now is not to blame"
    made.write_down(db)
    assert meta.read(db, "lane_closed") == made.closed
    made.card.take(CARD)
    made.write_down(db)
    assert (meta.read(db, "lane_closed"), meta.read(db, "device")) == ("", "cuda:0")
    assert (made.is_free(), made.waits, made.excuse) == (True, None, None)
    assert capfd.readouterr().err.count("ALARM") == 1


def test_where_there_is_no_card_the_lane_works_on_the_cpu_and_nobody_asks_again(made, capfd):
    made.card.take(Gpu("no-nvml", why="NVML Shared Library Not Found"))
    assert (made.card.device, made.is_free(), made.card.wakes_at) == ("cpu", True, float("inf"))
    assert "jobs go to cpu" in capfd.readouterr().err


def test_a_card_that_was_there_never_becomes_the_cpu(made):
    made.card.take(CARD)
    made.card.take(Gpu("no-nvml", why="Driver Not Loaded"))
    assert made.closed == "the card can't be used (lost: Driver Not Loaded)"


def test_a_card_that_cannot_be_used_is_asked_again_after_longer_and_longer_waits(made, clock):
    waits = []
    for _ in range(6):
        made.card.take(Gpu("hung", why="no answer"))
        waits.append(round(made.card.wakes_at - clock.now))
    assert waits == [5, 10, 20, 40, 60, 60]
    made.card.take(CARD)
    made.card.take(Gpu("hung", why="no answer"))
    assert round(made.card.wakes_at - clock.now) == 5


def test_a_card_that_comes_back_is_found_without_waiting_for_it(made, clock):
    made.card.take(Gpu("lost", why="GPU is lost"))
    assert not made.look()
    assert made.closed, "it is not time yet"
    clock.now += card.FIRST_AGAIN_S
    assert not made.look()
    assert made.closed, "the look is under way"
    made.card._probe.ready = [CARD]
    assert made.look(), "the loop should act on it"
    assert (made.closed, made.card.device) == (None, "cuda:0")


def test_a_driver_that_loads_after_jobd_is_found(made, clock, monkeypatch, tmp_path):
    device = tmp_path / "pci" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    monkeypatch.setattr(gpu, "BUS", tmp_path / "pci")
    made.card.take(Gpu("no-nvml", why="Driver Not Loaded"))
    assert made.card.device == "cpu"
    clock.now += card.FIRST_AGAIN_S
    made.look()
    made.card._probe.ready = [CARD]
    made.look()
    assert made.card.device == "cuda:0"


def test_a_device_that_was_named_is_obeyed_and_the_cpu_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "BUS", tmp_path / "no devices")
    told = Lane(Home(tmp_path), "home", Settings(device="cuda:1"), selectors.DefaultSelector())
    told.card.take(Gpu("no-nvml", why="no card with this index"))
    assert (told.card.device, told.closed) == ("cuda:1", None)
    monkeypatch.setattr(gpu, "Probe", lambda *_: pytest.fail("asked"))
    assert Lane(Home(tmp_path), "home", Settings(device="cpu"), selectors.DefaultSelector()).card.device == "cpu"


def test_how_often_the_card_is_asked_goes_by_what_there_is_to_see(made, db, clock):
    see(made, clock, CARD)
    see(made, clock, CARD)
    assert made.card.wakes_at - clock.now == pytest.approx(30.0), "nothing runs"
    child = a_child(db)
    made.give(child)
    see(made, clock, used(4000))
    assert made.card.wakes_at - clock.now == pytest.approx(1.0), "a job runs"
    made.take_back(child)
    see(made, clock, used(4000))
    assert made.card.wakes_at - clock.now == pytest.approx(0.02), "its memory is to come back"
    see(made, clock, used(4000), 5.0)
    assert made.card.wakes_at - clock.now == pytest.approx(0.5), "the longer it takes, the less often"
    assert made.card._probe.closely, "and who holds it is read every time"


def test_an_xid_is_told_once_also_when_the_card_is_lost_with_it(made, db, clock):
    see(made, clock, CARD)
    made.card.take(Gpu("lost", why="GPU is lost", xids=[79]))
    made.card.write_down(db, now=5)
    made.card.write_down(db, now=6)
    rows = db.execute("select at, what, text from notice").fetchall()
    assert [tuple(row) for row in rows] == [(5, "gpu", "the driver of the GeForce RTX 4080 reports Xid 79")]


# ── a job's memory ────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_gets_the_card_before_the_memory_of_the_job_before_is_back(made, db, clock):
    see(made, clock, used(576))
    child = a_child(db)
    assert made.give(child) == "cuda:0"
    assert (child.card, child.free_mib) == (CARD.name, 15800)
    assert made.waits is None
    clock.now += 5
    made.take_back(child)
    assert not made.is_free()
    assert made.waits is not None
    assert made.waits[0] == "reclaiming"
    assert not see(made, clock, used(9000), 0.1)
    assert not made.is_free()
    assert not see(made, clock, used(800), 0.1), "200 MiB are more than a desktop moves by itself"
    assert see(made, clock, used(600), 0.1)
    assert (made.is_free(), made.waits) == (True, None)


def test_an_answer_to_an_older_question_proves_nothing(made, db, clock):
    see(made, clock, used(576))
    child = a_child(db)
    made.give(child)
    clock.now += 5
    made.look()  # asked while the job ran
    clock.now += 0.01
    made.take_back(child)
    made.card._probe.ready = [used(576)]
    assert not made.look()
    assert not made.is_free()


def test_what_a_stranger_took_meanwhile_is_not_missed(made, db, clock):
    see(made, clock, used(576, p1=300))
    child = a_child(db)
    made.give(child)
    made.take_back(child)
    assert not see(made, clock, used(6000, p1=300), 0.1), "5.4 GiB are nobody's"
    assert see(made, clock, used(6000, p1=5724), 0.1), "it is process 1 that holds them"


def test_past_the_deadline_with_nobody_of_ours_left_the_lane_goes_on_and_names_who_holds_it(made, db, clock, capfd):
    see(made, clock, used(576))
    child = a_child(db)
    made.give(child)
    made.take_back(child)
    assert not see(made, clock, used(6000), 29.0)
    assert see(made, clock, dataclasses.replace(used(6000), processes={os.getpid(): None}), 2.0)
    assert made.is_free()
    assert f"5424 MiB of VRAM did not come back within 31 s: held by process {os.getpid()} (" in capfd.readouterr().err


def test_a_supervisor_that_finds_its_job_dead_waits_for_that_memory_too(made, db, clock):
    meta.write(db, "boot_id", "boot")
    made._boot_id = "boot"
    see(made, clock, used(576))
    made.give(a_child(db))
    made.write_down(db)
    assert meta.read(db, "vram_before") == "boot 576"
    again = Lane(Home(made.lock.parent.parent), "home", Settings(), selectors.DefaultSelector())
    again.card._probe = Answers()
    see(again, clock, used(7000))
    again.expect_back(db)
    assert not see(again, clock, used(7000), 0.1)
    assert not again.is_free()
    assert see(again, clock, used(600), 0.1)
    assert again.is_free()


def test_the_most_that_was_ever_free_is_remembered(made, db, clock):
    """A game that runs when jobd starts must not make a job that was seen to need more start beside it."""
    see(made, clock, used(576))
    see(made, clock, used(576))
    made.write_down(db)
    again = Lane(Home(made.lock.parent.parent), "home", Settings(), selectors.DefaultSelector())
    again.card._probe = Answers()
    see(again, clock, used(8000))
    again.expect_back(db)
    job = queue.get(db, queue.add(db, NewJob("sleep", {}, "gpu"), now=0))
    vram.note_peak(db, job.id, vram.recipe("sleep", {}), CARD.name, 9000, now=0)
    assert not again.fits(db, job)


def test_after_a_reboot_what_was_used_before_says_nothing(made, db, clock):
    meta.write(db, "vram_before", "an older boot 576")
    meta.write(db, "boot_id", "boot")
    see(made, clock, used(2000))
    made.expect_back(db)
    assert see(made, clock, used(2000), 0.1)
    assert made.is_free()


# ── who goes first ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_that_fits_goes_and_what_it_overtook_takes_the_card_back(made, db, clock):
    see(made, clock, used(8000))
    big = queue.add(db, NewJob("sleep", {}, "gpu", needs_vram_mib=9000), now=0)
    small = queue.add(db, NewJob("sleep", {}, "gpu", needs_vram_mib=4000), now=0)
    first = made.first(db, now=1)
    assert first is not None
    assert first.id == small
    made.write_down(db)
    assert list(json.loads(meta.read(db, "vram_short") or "")) == [str(big)]
    child = SimpleNamespace(**vars(a_child(db)) | {"job": queue.claim_job(db, small, now=1)})
    made.give(child)
    assert made.first(db, now=1, freed=True) is None
    see(made, clock, used(4500), 1.0)
    waiting = made.first(db, now=1, freed=True)
    assert waiting is not None
    assert waiting.id == big
    assert made.has_precedence(waiting, child.job), "same priority, but it was there first"
    later = queue.get(db, queue.add(db, NewJob("sleep", {}, "gpu"), now=0))
    assert not made.has_precedence(later, child.job)


def test_when_nobody_fits_the_lane_says_so(made, db, clock):
    see(made, clock, used(8000))
    queue.add(db, NewJob("sleep", {}, "gpu", needs_vram_mib=9000), now=0)
    assert made.first(db, now=1) is None
    assert made.waits == ("waiting-vram", "9000 MiB of VRAM; held by nobody we can see")
    made.write_down(db)
    assert meta.read(db, "lane_waits") == made.waits[1]


def test_a_higher_priority_that_would_not_fit_even_then_preempts_nobody(made, db, clock):
    see(made, clock, used(576))
    child = a_child(db)
    made.give(child)
    child.mark, child.pid = "home:1:1", os.getpid()
    see(made, clock, used(14000, **{f"p{os.getpid()}": 2000}), 1.0)
    queue.add(db, NewJob("sleep", {}, "gpu", priority=5, needs_vram_mib=6000), now=0)
    assert made.first(db, now=1, freed=True) is None
    see(made, clock, used(9000, **{f"p{os.getpid()}": 2000}), 1.0)
    assert made.first(db, now=1, freed=True) is not None


def test_a_job_that_holds_more_than_was_said_is_asked_to_leave_once(made, db, clock):
    see(made, clock, used(576))
    child = a_child(db, needs_vram_mib=2000)
    child.pid = os.getpid()
    made.give(child)
    see(made, clock, used(2776, **{f"p{os.getpid()}": 2200}), 1.0)
    assert child.why is None, "a tenth more is not growth"
    assert see(made, clock, used(2777, **{f"p{os.getpid()}": 2201}), 1.0)
    assert child.why == "it holds 2201 MiB of VRAM, and said 2000"
    assert child.outgrew


def test_nobody_is_asked_to_leave_for_memory_that_may_be_a_strangers(made, db, clock):
    see(made, clock, used(576))
    child = a_child(db, needs_vram_mib=2000)
    made.give(child)
    see(made, clock, used(9000), 1.0)
    assert child.why is None


def test_an_evergreen_whose_job_does_not_fit_is_passed_over(made, db, clock):
    see(made, clock, used(576))
    see(made, clock, CARD)
    see(made, clock, used(8000))
    for name, args in (("big", {"seconds": 1}), ("small", {"seconds": 2})):
        standing.add(db, Standing("evergreen", name, "sleep", args, "gpu", -1000, True, 3), now=0)
    vram.note_peak(db, 0, vram.recipe("sleep", {"seconds": 1}), CARD.name, 9000, now=0)
    job = standing.claim(db, now=1, fits=lambda job: made.fits(db, job))
    assert job is not None
    assert job.args == {"seconds": 2}
    assert made.waits == (
        "waiting-vram",
        "9000 MiB of VRAM (learned) and a reserve of 1024 MiB; held by nobody we can see",
    )
