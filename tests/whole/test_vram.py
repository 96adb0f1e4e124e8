"""VRAM and a card's troubles, by real jobd processes over a fake card: fake_nvml.c under the unmodified pynvml."""

import json
import subprocess
import sys

import pytest
from fake_card import LOST, MISMATCH, RESET_REQUIRED, TAKE, FakeCard, library
from tower import Tower, bring_kind, until

from supervisor.card import gpu
from supervisor.children import tree


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def card(compiled, tmp_path):
    return FakeCard(tmp_path / "card", compiled)


@pytest.fixture
def tower(tmp_path, card, monkeypatch):
    for name, value in card.env.items():
        monkeypatch.setenv(name, value)
    made = Tower(tmp_path / "home")
    made.set(device="auto")
    yield made
    made.sweep()


def start(tower: Tower) -> None:
    tower.start()
    until(lambda: "jobs go to cuda:0" in tower.said or "nobody gets it" in tower.said, "jobd looked at the card")


def waits(tower: Tower, job_id: int) -> str:
    return tower.shown(job_id)["waiting_for"] or ""


def lane_is(tower: Tower) -> str:
    """The class of the ledger that is open now."""
    row = tower.db.execute("select class from span where closed = 0").fetchone()
    return row["class"] if row else ""


HOLD = f"{TAKE}\nimport signal, time\ntake(int(sys.argv[1]))\n"
STAY = "import pathlib\nwhile not pathlib.Path('free').exists(): time.sleep(0.02)\n"  # until told to go


def hold(tower: Tower, mib: int, *options: object, then: str = STAY) -> int:
    """A job that takes so much of the card, for as long as it lives."""
    argv = (sys.executable, "-c", f"{HOLD}import os; os.chdir({str(tower.path)!r})\n{then}", str(mib))
    return tower.add("command", *options, argv=argv)


def let_go(tower: Tower) -> None:
    (tower.path / "free").touch()


@pytest.fixture
def stranger(tower, card):
    """A process that is none of ours and holds memory of the card: a game. Gone with `kill`."""
    process = subprocess.Popen(["sleep", "600"], env={})

    def play(mib):
        card.give(process.pid, mib)
        return process

    yield play
    process.kill()
    process.wait()


def test_the_next_job_gets_no_go_before_the_memory_of_the_one_before_is_back(tower, card):
    card.set(late=1)
    first = hold(tower, 8000, then="")
    second = tower.sh("true")
    start(tower)
    tower.until(first, "succeeded")
    until(lambda: "not back yet" in waits(tower, second), "the list says why the next one waits")
    assert (tower.job(second).state, tower.job(second).attempt) == ("queued", 0)
    assert "reclaiming" not in tower.said
    card.set(late=0)
    tower.until(second, "succeeded")


def test_a_jobd_that_finds_its_job_dead_waits_for_that_memory_too(tower, card):
    card.set(late=1)
    first = hold(tower, 8000, "--max-failures", 1)
    start(tower)
    until(lambda: tower.job(first).peak_vram_mib == 8000, "it holds memory")
    until(lambda: tower.db.execute("select value from meta where key = 'vram_before'").fetchone(), "what was before")
    tower.kill_jobd()
    second = tower.sh("true", "--priority", 1)
    start(tower)
    until(lambda: "not back yet" in waits(tower, second), "the list says why it waits")
    assert tower.job(second).attempt == 0
    card.set(late=0)
    tower.until(second, "succeeded")


def test_past_the_deadline_who_holds_the_memory_is_named_and_a_stranger_is_left_alone(tower, card, stranger):
    tower.set(device="auto", reclaim_s=0.5)
    card.set(late=1, unlisted=1)  # the driver does not say how much the stranger has
    first = hold(tower, 8000, then="")
    second = tower.sh("true")
    game = stranger(100)
    start(tower)
    tower.until(second, "succeeded")
    assert "8000 MiB of VRAM did not come back" in tower.said
    assert f"process {game.pid} (sleep)" in tower.said
    assert game.poll() is None
    assert tower.order() == [first, second]


def test_a_process_of_ours_that_escaped_every_sweep_with_memory_of_the_card_is_killed(tower, card):
    """It has another parent than ours and does not hold the lock: only its mark and the card know it."""
    first = hold(tower, 500)
    start(tower)
    tower.until(first, "running")
    stray = subprocess.Popen(["sleep", "600"], env={"NEVERREST_JOB": f"{tower.home_id}:{first}:1"})
    card.give(stray.pid, 4000)
    until(lambda: tower.job(first).peak_vram_mib == 4500, "it counts as the job's")
    second = tower.sh("true")
    let_go(tower)
    stray.wait()
    tower.until(second, "succeeded")
    assert f"process {stray.pid} is still on the GPU after its job: killed" in tower.said


def test_a_job_waits_while_a_stranger_holds_what_it_needs_and_a_smaller_one_goes_first(tower, card, stranger):
    game = stranger(8000)
    big = tower.sh("true", "--vram", 9000)
    start(tower)
    until(lambda: waits(tower, big) == f"9000 MiB of VRAM; held by process {game.pid} (sleep)", "why it waits")
    small = tower.sh("true", "--vram", 7000)
    tower.until(small, "succeeded")
    assert (tower.job(big).state, tower.job(big).attempt) == ("queued", 0)
    game.kill()
    game.wait()
    tower.until(big, "succeeded")


@pytest.mark.parametrize(("deed", "then"), [(("cancel", 1), "empty"), (("pause", "--all"), "paused")])
def test_the_lane_waits_for_memory_only_as_long_as_somebody_waits_for_it(tower, card, stranger, deed, then):
    stranger(8000)
    tower.sh("true", "--vram", 9000)
    start(tower)
    until(lambda: lane_is(tower) == "waiting-vram", "the ledger says what it waits for")
    tower.ctl(*deed)
    until(lambda: lane_is(tower) == then, "and that it waits no more")


def test_an_evergreen_keeps_the_card_while_the_job_whose_turn_it_would_be_does_not_fit(tower, card, stranger):
    tower.set(device="auto", turn_s=0.1)
    game = stranger(8000)
    tower.ctl("evergreen", "add", "big", "sleep", "--vram", 12000, "--set", "seconds=600")
    tower.ctl("evergreen", "add", "small", "sleep", "--set", "seconds=600")
    start(tower)
    until(lambda: tower.order(), "one of them")
    [small] = tower.order()
    until(lambda: tower.job(small).best_done > 1.0, "it works")
    assert tower.order() == [small]
    game.kill()
    game.wait()
    until(lambda: len(tower.order()) > 1, "the turn of the other one")
    assert tower.job(tower.order()[1]).name == "big"


def test_a_job_that_was_overtaken_takes_the_card_back_as_soon_as_it_fits(tower, card, stranger):
    game = stranger(8000)
    big = tower.sh("true", "--vram", 9000)
    small = tower.add("sleep", "--vram", 100, seconds=600)
    start(tower)
    tower.until(small, "running")
    game.kill()
    game.wait()
    tower.until(big, "succeeded")
    tower.until(small, "running")
    assert tower.order() == [small, big, small]
    assert tower.job(small).failures == 0


def test_what_can_never_fit_is_refused_when_it_is_added(tower, card):
    start(tower)
    until(lambda: gpu.last_seen(tower.db), "jobd wrote down the card")
    assert "has 16376 MiB in all" in tower.ctl("add", "sleep", "--vram", 20000, code=1)


def test_a_recipe_learns_its_peak_and_the_next_job_of_it_waits_for_that_much(tower, card, stranger):
    first = hold(tower, 6000)
    start(tower)
    until(lambda: tower.shown(first)["peak_vram_mib"] == 6000, "its peak is known")
    game = stranger(10000)
    again = hold(tower, 6000)
    let_go(tower)
    tower.until(first, "succeeded")
    until(lambda: "6000 MiB of VRAM (learned)" in waits(tower, again), "it waits for what the first one took")
    game.kill()
    game.wait()
    tower.until(again, "succeeded")


ROOMY = """
import os
from dataclasses import dataclass
from jobs.contract import OutOfGpuMemory
LANE = "gpu"

@dataclass(frozen=True)
class Args:
    micro_batch: str = "auto"

def run(args, job, prepared=None):
    if any(os.path.exists(f"/proc/{pid}") for pid in os.listdir(os.environ["FAKE_NVML"] + "/vram")):
        raise OutOfGpuMemory("not even one context fits")
    job.note(f"a reserve of {job.reserve_mib} MiB, at most {job.vram_mib}")
"""


@pytest.fixture
def roomy(monkeypatch, tmp_path):
    """A kind that takes what is there, and can't begin beside a game."""
    bring_kind(monkeypatch, tmp_path, "roomy", ROOMY)


def test_who_takes_what_is_there_waits_while_that_is_too_little_and_is_told_what_is_not_its(
    roomy, tower, card, stranger
):
    tower.set(device="auto", reserve_mib=2048)
    start(tower)
    game = stranger(12_000)
    until(lambda: (gpu.last_seen(tower.db) or {}).get("free_mib") == 4076, "jobd saw the game")
    job = tower.add("roomy")
    until(lambda: "4332 MiB of VRAM (learned); held by process" in waits(tower, job), "it waits for more than 4076")
    assert tower.job(job).failures == 0
    game.kill()
    game.wait()
    assert tower.until(job, "succeeded").note == "a reserve of 2048 MiB, at most None"
    assert tower.until(tower.add("roomy", "--vram", 8000), "succeeded").note == "a reserve of 2048 MiB, at most 8000"


def test_a_job_that_outgrows_its_memory_saves_and_leaves_and_fails_only_without_progress(tower, card):
    leave = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
    greedy = hold(tower, 3000, "--vram", 2000, then=leave + STAY)
    start(tower)
    job = tower.until(greedy, "failed")
    assert job.attempt == 3
    assert job.failures == 0, "nobody is blamed for it"
    assert "it holds 3000 MiB of VRAM, and said 2000; 3 times without progress" in (job.error or "")
    assert job.cause == "out of memory"


def test_a_card_that_is_lost_closes_the_lane_until_it_is_back_and_its_job_is_not_to_blame(tower, card):
    job = tower.sh(f"cd {tower.path}; while [ ! -e free ]; do sleep 0.02; done; [ -e healthy ]")
    start(tower)
    tower.until(job, "running")
    card.set(error=LOST)
    until(lambda: "(lost:" in tower.said, "jobd found it")
    let_go(tower)
    tower.until(job, "queued")
    assert tower.job(job).failures == 0
    until(lambda: "closed: the card can't be used (lost:" in waits(tower, job), "the list says so")
    (tower.path / "healthy").touch()
    card.set(error=0)
    tower.until(job, "succeeded")
    assert "the GPU lane is open again" in tower.said


def test_who_still_works_on_a_card_that_nobody_could_be_given_makes_way_for_nobody(tower, card):
    """A driver that is updated under a training: the training goes on, and whoever came after it would not begin."""
    runs = tower.add("sleep", seconds=600)
    start(tower)
    tower.until(runs, "running")
    card.set(error=MISMATCH)
    until(lambda: "(mismatch:" in tower.said, "jobd found it")
    urgent = tower.sh("true", "--priority", 5)
    tower.until(tower.sh("true", "--lane", "cpu"), "succeeded")  # added later: jobd has looked at both
    done = tower.job(runs).done
    until(lambda: tower.job(runs).done > done + 0.5, "it works on")
    assert (tower.events(runs), tower.job(urgent).attempt) == (["added", "claimed"], 0)
    card.set(error=0)
    tower.until(urgent, "succeeded")


@pytest.mark.parametrize(("trouble", "state"), [({"error": RESET_REQUIRED}, "reset"), ({"hang": 600}, "hung")])
def test_a_card_that_needs_a_reset_or_does_not_answer_gets_no_job(tower, card, trouble, state):
    start(tower)
    card.set(**trouble)
    tower.set(device="auto", nvml_deadline_s=0.5)
    tower.stop_jobd()
    job = tower.sh("true")
    start(tower)
    until(lambda: f"closed: the card can't be used ({state}:" in waits(tower, job), "the list says so")
    assert tower.job(job).attempt == 0


def test_a_driver_that_does_not_match_its_library_is_no_reason_to_use_the_cpu(tower, card):
    card.set(init=MISMATCH)
    job = tower.sh("true")
    start(tower)
    until(lambda: "(mismatch:" in waits(tower, job), "the list says so")
    assert tower.job(job).attempt == 0


def test_status_and_doctor_show_the_card(tower, card):
    card.set(throttle=0x04, xid=13, busy=40, temperature=83)
    job = hold(tower, 700)
    start(tower)
    tower.until(job, "running")
    until(lambda: "held down by power cap" in tower.ctl("status"), "status")
    said = tower.ctl("status")
    assert "Fake GeForce" in said
    assert "83 °C, 285 W" in said
    assert "Xid 13" in said
    assert json.loads(tower.ctl("status", "--json"))["card"]["memory_mib"] == 16376
    assert "ALARM: the GPU's driver reports Xid 13" in tower.said
    [found] = [one for one in json.loads(tower.ctl("doctor", "--json")) if one["what"] == "gpu"]
    assert (found["mark"], "Xid 13" in found["finding"]) == ("warn", True)


def probes(tower: Tower) -> list[int]:
    """The processes that ask NVML for this jobd."""
    assert tower.jobd is not None
    mine = [process for process in tree.everyone() if process.parent == tower.jobd.pid]
    return [process.pid for process in mine if tree.mark_of(process.pid) == "neverrest:gpu"]


def test_one_process_asks_about_a_card_and_dies_with_jobd_even_in_a_call_that_hangs(tower, card):
    start(tower)
    [pid] = until(lambda: probes(tower), "one process asks")
    card.set(hang=600)
    job = tower.sh("true")
    tower.kill_jobd()
    until(lambda: tree.read(pid) is None, "it is gone")
    assert tower.job(job).attempt == 0, "nobody gets a card that does not answer"


def test_where_there_is_no_card_no_process_asks(tower, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH")
    job = tower.add("sleep", seconds=0)
    tower.start()
    tower.until(job, "succeeded")
    assert "jobs go to cpu" in tower.said
    assert probes(tower) == []
