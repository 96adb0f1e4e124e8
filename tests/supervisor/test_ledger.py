"""Every second of the GPU lane is in exactly one class, and they sum to the seconds that passed."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import db as database
from supervisor import ledger, queue
from supervisor.daemon import Daemon
from supervisor.home import Home
from supervisor.job import NewJob
from supervisor.ledger import Account, Entry, Share
from supervisor.settings import Settings

EVER = {"since": 0.0, "until": 9e9}


@dataclass
class Tower:
    """A machine's clocks. Seconds pass; the calendar may be set; a boot starts the others anew."""

    real: float = 0.0
    calendar: float = 1_000_000.0  # minus the real time
    booted: float = -500.0
    slept: float = 0.0
    boots: int = 0

    def account(self, db) -> Account:
        return Account(
            db, wall=lambda: self.real + self.calendar, up=lambda: self.real - self.booted,
            awake=lambda: self.real - self.booted - self.slept, boot=f"boot {self.boots}",
        )  # fmt: skip

    def boot(self, off_s: float, up_s: float) -> None:
        self.real += off_s + up_s
        self.booted, self.slept, self.boots = self.real - up_s, 0.0, self.boots + 1


def classes(db) -> dict[str, float]:
    return {share.what: share.seconds for share in ledger.shares(db, **EVER)}


def spans(db) -> list[tuple]:
    rows = db.execute("select class, began_at, seen_at from span order by id")
    return [(row["class"], row["began_at"] - 1_000_000, row["seen_at"] - 1_000_000) for row in rows]


def test_a_span_ends_where_the_next_begins(db):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("empty"))
    job = queue.add(db, NewJob("sleep", {}, "gpu"), now=0)
    tower.real = 3
    account.enter(Entry("running", "sleep", job))
    tower.real = 10
    account.enter(Entry("empty"))
    tower.real = 11
    account.look()
    assert spans(db) == [("empty", 0, 3), ("running", 3, 10), ("empty", 10, 11)]
    assert ledger.shares(db, **EVER) == [Share("running", "sleep", 7), Share("empty", "", 4)]


def test_the_same_class_going_on_is_one_span_also_in_the_next_life(db):
    tower = Tower()
    for tower.real in (0.0, 2.0, 5.0):
        tower.account(db).enter(Entry("empty"))
    assert spans(db) == [("empty", 0, 5)]


def test_an_end_is_booked_when_it_was_not_when_it_is_written(db):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("running", "sleep"))
    tower.real = 10
    account.enter(Entry("switching"), at=account.now() - 4)
    account.enter(Entry("preparing"))
    assert spans(db) == [("running", 0, 6), ("switching", 6, 10), ("preparing", 10, 10)]


def test_shares_are_cut_to_the_time_asked_for(db):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("empty"))
    tower.real = 10
    account.enter(Entry("paused"))
    tower.real = 20
    account.look()
    found = ledger.shares(db, since=1_000_005, until=1_000_012)
    assert {share.what: share.seconds for share in found} == {"empty": 5, "paused": 2}


def test_no_supervisor_and_no_machine_are_told_apart(db):
    tower = Tower()
    account = tower.account(db)
    account.recover()  # the first start ever: nothing to book
    assert spans(db) == []
    account.enter(Entry("empty"))
    tower.real = 2
    account.look()  # last seen, then killed
    tower.real = 40
    tower.account(db).recover()
    assert classes(db) == {"empty": 2, "down": 38}
    tower.boot(off_s=1000, up_s=7)
    account = tower.account(db)
    account.recover()
    account.enter(Entry("empty"))
    assert classes(db) == {"empty": 2, "down": 45, "off": 1000}


@pytest.mark.parametrize("set_by", [3600, -3600, 1e7, -1e5])
def test_a_clock_that_is_set_while_jobd_lives_takes_and_gives_no_second(db, set_by):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("running", "sleep"))
    tower.real = 10
    assert not account.look()
    tower.calendar += set_by
    tower.real = 15
    assert account.look()  # so that schedules are looked at again
    assert not account.look()
    tower.real = 25
    account.enter(Entry("empty"))
    tower.real = 26
    account.look()
    assert classes(db) == {"running": 25, "empty": 1}
    assert spans(db)[-1][1:] == (25 + set_by, 26 + set_by)  # by the new date


@pytest.mark.parametrize("set_by", [3600, -3600])
def test_a_clock_that_is_set_while_nobody_serves_takes_and_gives_no_second(db, set_by):
    tower = Tower()
    tower.account(db).enter(Entry("empty"))
    account = tower.account(db)
    tower.real = 5
    account.look()
    tower.calendar += set_by
    tower.real = 65
    tower.account(db).recover()
    assert classes(db) == {"empty": 5, "down": 60}


def test_a_machine_that_slept_was_off(db):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("running", "sleep"))
    tower.real = 10
    account.look()
    tower.real, tower.slept = 110, 97
    account.look()
    tower.real = 120
    account.enter(Entry("empty"))
    assert classes(db) == {"running": 23, "off": 97}
    assert [what for what, _, _ in spans(db)] == ["running", "off", "running", "empty"]


def test_a_write_that_fails_is_made_again(db, monkeypatch):
    tower = Tower()
    account = tower.account(db)
    account.enter(Entry("empty"))
    with monkeypatch.context() as full:
        full.setattr(ledger, "enter", lambda *a, **k: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full"):
            account.enter(Entry("paused"))
    account.enter(Entry("paused"))
    assert [what for what, _, _ in spans(db)] == ["empty", "paused"]


def test_the_account_has_one_line_a_class_with_the_reason_of_the_longest_time(db):
    tower = Tower()
    account = tower.account(db)
    for seconds, entry in [(5, Entry("lost", why="short")), (1, Entry("empty")), (90, Entry("lost", why="Xid 79"))]:
        account.enter(entry)
        tower.real += seconds
    account.look()
    lost, empty = ledger.account(db, **EVER)
    assert (lost.what, lost.seconds, lost.times, lost.longest_s, lost.why) == ("lost", 95, 2, 90, "Xid 79")
    assert (empty.what, empty.seconds) == ("empty", 1)


@pytest.mark.parametrize(
    ("shares", "line"),
    [
        ([], "nothing is on record yet"),
        ([Share("running", "train", 7200)], "busy 100.0 %, idle 0 s"),
        ([Share("running", "train", 291_000), Share("empty", "", 1320), Share("switching", "", 601)],
         "busy 99.3 %, idle 32 min: 22 queue empty, 10 switching jobs"),
        ([Share("empty", "", 30), Share("down", "", 20.4)], "busy 0.0 %, idle 50 s: 30 queue empty, 20 no supervisor"),
        ([Share("off", "", 86_400), Share("running", "train", 86_400)], "busy 50.0 %, idle 24 h: 24 machine off"),
    ],
)  # fmt: skip
def test_one_line_sums_it_up_and_its_parts_sum_to_the_whole(shares, line):
    assert ledger.summary(shares) == line


STEPS = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(sorted(ledger.CLASSES))),
    st.tuples(st.just("pass"), st.floats(0, 5000)),
    st.tuples(st.just("set the clock"), st.floats(-1e5, 1e5)),
    st.tuples(st.just("sleep"), st.floats(2, 5000)),
    st.tuples(st.just("jobd dies"), st.floats(0, 5000)),
    st.tuples(st.just("reboot"), st.floats(0, 5000)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_the_classes_sum_to_the_seconds_that_passed(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("ledger") / "queue.db"
    database.create(path)
    db = database.connect(path, durable=False)
    tower = Tower()
    account = tower.account(db)
    account.recover()
    account.enter(Entry("empty"))
    asleep = off = 0.0
    for what, value in steps:
        if what == "enter":
            account.enter(Entry(value))
        elif what == "pass":
            tower.real += value
            account.look()
        elif what == "set the clock":
            tower.calendar += value
            account.look()
        elif what == "sleep":
            tower.real, tower.slept = tower.real + value, tower.slept + value
            asleep += value
            account.look()
        else:
            if what == "jobd dies":
                tower.real += value
            else:
                tower.boot(off_s=value, up_s=3.0)
                off += value
            account = tower.account(db)
            account.recover()
    account.look()
    found = classes(db)
    assert sum(found.values()) == pytest.approx(tower.real, abs=1e-3)
    if not any(what == "enter" and value == "off" for what, value in steps):
        assert found.get("off", 0.0) == pytest.approx(asleep + off, abs=1e-3)
    if not any(what == "set the clock" for what, _ in steps):  # and no second is in two of them
        for before, after in itertools.pairwise(spans(db)):
            assert before[2] == pytest.approx(after[1], abs=1e-3)
    db.close()


@pytest.fixture
def jobd(tmp_path):
    """A daemon that does not loop."""
    home = Home(tmp_path)
    database.create(home.queue_db)
    made = Daemon(home, Settings(device="cpu", standby=False, cgroups=False))
    yield made
    made.db.close()
    made.soft_db.close()
    made.selector.close()


def the_lane(jobd) -> str:
    jobd._book()
    return ledger.open_entry(jobd.db).what


@pytest.mark.parametrize("what", ["reclaiming", "waiting-vram", "lost"])
def test_why_the_card_is_not_given_away_is_the_class_and_the_reason(jobd, monkeypatch, what):
    queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    monkeypatch.setattr(type(jobd.lane), "waits", (what, "the reason"))
    assert the_lane(jobd) == what
    assert ledger.open_entry(jobd.db).why == "the reason"


def test_a_lane_with_nobody_on_it_has_one_class_at_a_time(jobd):
    assert the_lane(jobd) == "empty"
    queue.add(jobd.db, NewJob("sleep", {}, "gpu", available_at=9e9), now=0)
    assert the_lane(jobd) == "empty"
    assert ledger.open_entry(jobd.db).why == "what is queued is not due yet"
    queue.add(jobd.db, NewJob("sleep", {}, "cpu"), now=0)
    assert the_lane(jobd) == "empty"
    queue.add(jobd.db, NewJob("sleep", {}, "gpu"), now=0)
    assert the_lane(jobd) == "switching"
    queue.set_paused(jobd.db, True)
    assert the_lane(jobd) == "paused"
    jobd.lane.stuck["child"] = "process 7 can't be killed"
    assert the_lane(jobd) == "closed"
    jobd.draining = True
    assert the_lane(jobd) == "down"


def test_the_cards_own_samples_stand_beside_the_table_never_instead_of_it(tower):
    now = ledger.time.time()
    ledger.enter(tower.db, Entry("empty"), now=now - 100)
    tower.db.execute("update span set seen_at = ?", (now,))
    assert "samples" not in tower.ctl("idle")
    tower.db.execute("insert into gpu_use values (?, 900.0, 1000.0)", (int(now // 3600),))
    *_, line, samples = tower.ctl("idle").splitlines()
    assert line == "busy 0.0 %, idle 100 s: 100 queue empty"
    assert samples == "the card's own samples: kernels ran 90.0% of 16m40s"


def test_idle_prints_the_table_and_the_line(tower):
    now = ledger.time.time()
    for what, kind, began, seen in [("running", "train", now - 5000, now - 1000), ("empty", "", now - 1000, now)]:
        tower.db.execute("update span set closed = 1")
        tower.db.execute(
            "insert into span (class, kind, began_at, seen_at) values (?, ?, ?, ?)", (what, kind, began, seen)
        )
    table = tower.ctl("idle", "--since", "1d").splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["running", "queue"]
    assert table[-1] == "busy 80.0 %, idle 17 min: 17 queue empty"
    found = ledger.json.loads(tower.ctl("idle", "--since", "2000s", "--json"))
    assert found["seconds"] == pytest.approx(2000, abs=5)
    assert "takes a duration" in tower.ctl("idle", "--since", "a week", code=1)
