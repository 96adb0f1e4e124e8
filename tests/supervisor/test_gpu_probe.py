"""The process that asks NVML, over a fake card, and what is made of its answers."""

import dataclasses
import json
import selectors
import signal
import subprocess
import sys
import time

import pytest
from fake_card import LOST, MISMATCH, NO_DRIVER, RESET_REQUIRED, FakeCard, library
from tower import until

from supervisor.card import gpu, nvml
from supervisor.card.card import Card
from supervisor.card.gpu import Gpu, Probe
from supervisor.children import tree
from supervisor.settings import Settings


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    return library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def card(compiled, tmp_path, monkeypatch):
    made = FakeCard(tmp_path / "card", compiled)
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def probe():
    made = Probe(deadline_s=30.0)
    yield made
    made.close()


def pid_of(probe):
    return probe._process.pid


def test_a_look_tells_memory_processes_temperature_power_throttling_and_xids(card, probe):
    card.set(used=500, temperature=77, power=301, throttle=0x44, persistence=0, xid=31)
    with subprocess.Popen(["sleep", "600"]) as process:
        card.give(process.pid, 1200)
        found = gpu.wait(probe)
        process.kill()
    assert found == Gpu(
        "healthy", "Fake GeForce", 16376, 16376 - 1700, processes={process.pid: 1200}, power_w=301, temperature_c=77,
        throttle=["power cap", "too hot (hardware)"], xids=[31], persistent=False,
    )  # fmt: skip
    assert found.health == "77 °C, 301 W, held down by power cap and too hot (hardware)"
    assert Gpu.from_json(json.dumps(dataclasses.asdict(found))) == found


def test_one_process_answers_again_and_again_and_each_xid_is_told_once(card, probe):
    card.set(xid=13)
    assert gpu.wait(probe).xids == [13]
    pid = pid_of(probe)
    assert gpu.wait(probe).xids == []
    card.set(xid=79)
    assert gpu.wait(probe).xids == [79]
    assert pid_of(probe) == pid


def test_where_the_driver_does_not_say_who_holds_how_much_it_is_not_known_and_not_zero(card, probe):
    card.set(unlisted=1)
    with subprocess.Popen(["sleep", "600"]) as process:
        card.give(process.pid, 1200)
        found = gpu.wait(probe)
        process.kill()
    assert found.processes == {process.pid: None}
    assert found.used_mib == 1500


def test_that_process_killed_between_two_questions_is_no_loss_of_the_card(card):
    with selectors.DefaultSelector() as selector:
        seen = Card(Settings(), selector)
        seen.find()
        tree.read(pid_of(seen._probe)).kill(signal.SIGKILL)
        assert selector.select(30), "the loop hears of it"
        assert not seen.look()
        assert not selector.get_map(), "once"
        seen.look_in(0.0)
        until(seen.look)
        assert (seen.broken, seen.now.name) == (None, "Fake GeForce")
        seen._probe.close()


def test_who_holds_memory_is_read_anew_when_it_moves_or_when_asked_closely(card, probe):
    with subprocess.Popen(["sleep", "600"]) as one, subprocess.Popen(["sleep", "600"]) as other:
        card.give(one.pid, 1000)
        assert gpu.wait(probe).processes == {one.pid: 1000}
        card.give(one.pid, 1001)
        assert gpu.wait(probe).processes == {one.pid: 1000}, "for a MiB nobody is asked"
        card.give(other.pid, 100)
        assert gpu.wait(probe).processes == {one.pid: 1001, other.pid: 100}
        card.give(other.pid, 101)
        probe.ask(closely=True)
        assert until(probe.answer).processes == {one.pid: 1001, other.pid: 101}
        one.kill()
        other.kill()


@pytest.mark.parametrize(
    ("trouble", "state", "device"),
    [
        ({"error": LOST}, "lost", None),
        ({"error": RESET_REQUIRED}, "reset", None),
        ({"init": MISMATCH}, "mismatch", None),
        ({"init": NO_DRIVER}, "no-nvml", "cpu"),
        ({"init": 999}, "lost", None),  # a container that lost its card says "unknown error"
    ],
)
def test_each_trouble_has_a_state_of_its_own(card, probe, trouble, state, device):
    card.set(**trouble)
    found = gpu.wait(probe)
    assert (found.state, found.device) == (state, device)
    assert found.why
    assert probe.output is None, "that process is done"


def test_without_the_library_there_is_no_nvml(monkeypatch, probe):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    assert gpu.wait(probe).state == "no-nvml"


def test_a_card_that_is_lost_between_two_looks_is_found_lost_and_found_again(card, probe):
    assert gpu.wait(probe).state == "healthy"
    card.set(error=LOST)
    assert gpu.wait(probe).state == "lost"
    card.set(error=0)
    assert gpu.wait(probe).state == "healthy"


def test_what_the_driver_said_last_is_heard_although_the_card_is_lost(card, probe):
    gpu.wait(probe)
    card.set(error=LOST, xid=79)
    found = gpu.wait(probe)
    assert (found.state, found.xids) == ("lost", [79])


def test_a_call_that_hangs_is_killed_named_and_tried_again_in_a_new_process(card):
    probe = Probe(deadline_s=30.0)
    assert gpu.wait(probe).state == "healthy"
    pid, probe.deadline_s = pid_of(probe), 0.3
    card.set(hang=600)
    found = gpu.wait(probe)
    assert found == Gpu("hung", why=f"NVML did not answer within 0.3 s; process {pid}, which asked it, was killed")
    assert tree.read(pid) is None
    card.set(hang=0)
    probe.deadline_s = 30.0
    assert gpu.wait(probe).state == "healthy"
    assert pid_of(probe) != pid
    probe.close()


def test_while_the_kernel_holds_a_process_that_hung_no_other_one_joins_it(card, monkeypatch):
    probe = Probe(deadline_s=30.0)
    gpu.wait(probe)
    monkeypatch.setattr(probe._process, "kill", lambda: None)  # as in D state: SIGKILL does not end it
    probe.deadline_s = 0.1
    card.set(hang=600)
    assert gpu.wait(probe).state == "hung"
    assert not probe.ask()
    probe._process.send_signal(signal.SIGKILL)
    probe._process.wait()
    assert probe.ask()
    probe.close()


def test_a_process_that_ends_without_an_answer_is_a_lost_card(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/cat")  # takes `-P` for a wrong option
    assert gpu.probe().state == "lost"


def test_it_ends_when_nobody_asks_any_more(card, probe):
    gpu.wait(probe)
    pid = pid_of(probe)
    probe._process.stdin.close()
    probe._process.wait()
    assert tree.read(pid) is None


# ── how long kernels ran ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("at_ms", "percents", "since_ms", "busy_s", "known_s"),
    [
        ([], [], 0, 0.0, 0.0),
        ([100], [50], 0, 0.0, 0.0),  # since when, nobody knows
        ([200], [50], 100, 0.05, 0.1),
        ([200, 300, 400], [100, 0, 50], 100, 0.15, 0.3),
        ([400, 200, 300], [50, 100, 0], 100, 0.15, 0.3),  # in whichever order they come
        ([200, 300, 5000], [100, 100, 100], 100, 0.2, 0.2),  # a gap is not known: neither busy nor idle
        ([200, 300], [180, 100], 100, 0.2, 0.2),  # drivers have said more than all
        ([200, 200], [50, 50], 100, 0.05, 0.1),
    ],
)
def test_busy_is_each_samples_share_of_the_time_since_the_one_before(at_ms, percents, since_ms, busy_s, known_s):
    found = nvml.busy_of([at * 1000 for at in at_ms], percents, since_ms * 1000)
    assert found == (pytest.approx(busy_s), pytest.approx(known_s))


def test_the_samples_of_many_looks_add_up(card):
    card.set(busy=40)
    script = (
        "import json, time\nfrom supervisor.card import nvml\nnvml.SLOW_EVERY_S = 0.0\ncard = nvml.Card(0)\n"
        "first = card.look()\nassert (first.busy_s, first.known_s) == (0.0, 0.0), 'what was before is not ours'\n"
        "known = busy = 0.0\nwhile known < 0.5:\n    time.sleep(0.05)\n    found = card.look()\n"
        "    busy, known = busy + found.busy_s, known + found.known_s\nprint(json.dumps([busy, known]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    busy_s, known_s = json.loads(done.stdout)
    assert busy_s == pytest.approx(0.4 * known_s)


def test_what_was_sampled_is_kept_by_the_hour(db):
    hour = gpu.HOUR_S * 100
    for at, busy_s, known_s in ((hour, 5.0, 10.0), (hour + 60, 1.0, 10.0), (hour + 4000, 3.0, 4.0)):
        gpu.note_use(db, busy_s, known_s, now=at)
    assert gpu.busy_share(db, since=hour, until=hour + 5000) == (9.0, 24.0)
    assert gpu.busy_share(db, since=hour, until=hour + 100) == (6.0, 20.0)
    assert gpu.busy_share(db, since=time.time(), until=time.time() + 1) == (0.0, 0.0)
