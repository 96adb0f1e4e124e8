"""What a job needs of the card, said or learned, and how small it must be made to fit."""

import dataclasses

import pytest
from tower import bring_kind

import jobs.kind
from supervisor import queue
from supervisor.card import vram
from supervisor.card.vram import Room
from supervisor.job import NewJob

CARD = "GeForce RTX 4080"
ROOM = Room(CARD, 8000, 15800, 16376, 1024)
TRAIN = {"pack": "packs/demo", "n_layer": 12, "micro_batch": 4, "grad_accum": 8, "steps": 100, "lr": 1e-3}


def added(db, kind="train", args=None, **more):
    return queue.get(db, queue.add(db, NewJob(kind, args or TRAIN, "gpu", **more), now=0))


@pytest.mark.parametrize(
    ("said", "learned", "room", "short"),
    [
        (None, None, ROOM, None),  # nobody knows: it may try
        (6976, None, ROOM, None),  # with the reserve exactly what is free
        (6977, None, ROOM, "6977 MiB of VRAM and a reserve of 1024 MiB"),
        (None, 6976, ROOM, None),
        (None, 6977, ROOM, "6977 MiB of VRAM (learned) and a reserve of 1024 MiB"),
        (100, 9000, ROOM, None),  # what its user says goes
        (15000, None, dataclasses.replace(ROOM, free_mib=15800), None),  # 800 MiB are all the reserve it can ever have
        (15000, None, dataclasses.replace(ROOM, free_mib=15799), "15000 MiB of VRAM and a reserve of 800 MiB"),
        (None, 16000, dataclasses.replace(ROOM, free_mib=15800), None),  # it ran once: it is not locked out for ever
        (15900, None, ROOM, "15900 MiB of VRAM"),
        (20000, None, ROOM, "20000 MiB of VRAM: the card has 16376 MiB in all"),
    ],
)
def test_a_job_goes_when_what_it_needs_is_free_beside_the_reserve(db, said, learned, room, short):
    job = added(db, needs_vram_mib=said)
    if learned is not None:
        vram.note_peak(db, job.id, vram.recipe(job.kind, job.args), CARD, learned, now=1)
    assert vram.short_of(db, job, room) == short


def test_a_recipe_is_what_decides_the_memory_and_nothing_else():
    same = [TRAIN, TRAIN | {"steps": 5000}, TRAIN | {"lr": 1.0}, TRAIN | {"grad_accum": 16}]
    assert len({vram.recipe("train", args) for args in same}) == 1
    others = [TRAIN, TRAIN | {"n_layer": 24}, TRAIN | {"micro_batch": 8}, TRAIN | {"pack": "packs/other"}]
    assert len({vram.recipe("train", args) for args in others}) == 4
    assert len({vram.recipe("train", args, without=vram.BATCH) for args in others}) == 3
    shell = {"argv": ["python", "x.py"], "cwd": "/"}
    assert vram.recipe("command", shell | {"env": {"PS1": "a"}}) == vram.recipe("command", shell | {"env": {}})
    assert vram.recipe("no such kind", {"a": 1}) != vram.recipe("no such kind", {"a": 2})


@pytest.mark.parametrize("kind", jobs.kind.names())
def test_what_a_kind_says_is_not_about_memory_are_args_of_it(kind):
    module = jobs.kind.load(kind)
    fields = {field.name for field in dataclasses.fields(module.Args)}
    assert set(getattr(module, "NOT_VRAM_ARGS", ())) <= fields


def test_a_peak_never_falls_and_is_each_cards_own(db):
    job = added(db)
    name = vram.recipe(job.kind, job.args)
    for peak_mib in (4000, 6000, 5000):
        vram.note_peak(db, job.id, name, CARD, peak_mib, now=1)
    assert (vram.learned_mib(db, job, CARD), vram.learned_mib(db, job, "GeForce GT 1030")) == (6000, None)
    assert queue.get(db, job.id).peak_vram_mib == 6000


@pytest.mark.parametrize(
    ("micro_batch", "grad_accum", "smaller"),
    [
        (4, 8, (2, 16)),
        (3, 40, (1, 120)),  # the biggest up to half that divides the step
        (6, 5, (3, 10)),
        (10, 3, (5, 6)),
        (7, 4, (2, 14)),
        (5, 3, (1, 15)),
        (1, 8, None),  # nothing smaller is left
    ],
)
def test_what_ran_out_of_memory_is_halved_and_its_step_stays_the_same(db, micro_batch, grad_accum, smaller):
    args = TRAIN | {"micro_batch": micro_batch, "grad_accum": grad_accum}
    found = vram.learn_fit(db, "train", args, CARD, 15000, now=1)
    assert found == (None if smaller is None else dict(zip(vram.BATCH, smaller, strict=True)))
    if smaller is not None:
        assert smaller[0] * smaller[1] == micro_batch * grad_accum


def test_what_several_processes_share_is_made_smaller_so_that_they_can_share_it(db):
    args = TRAIN | {"micro_batch": 5, "grad_accum": 2, "processes": 2}
    assert vram.learn_fit(db, "train", args, CARD, 15000, now=1) == {"micro_batch": 1, "grad_accum": 10}, "2 x 5: no"
    smaller = vram.fitted(db, added(db, args=args | {"micro_batch": 7, "grad_accum": 4}), CARD, 15000).args
    assert jobs.kind.parse("train", smaller).processes == 2


def test_the_fit_that_was_found_is_used_by_the_next_job_of_the_recipe_on_that_card(db):
    vram.learn_fit(db, "train", TRAIN, CARD, 15000, now=1)
    other = added(db, args=TRAIN | {"micro_batch": 16, "grad_accum": 4, "lr": 5.0})
    found = vram.fitted(db, other, CARD, 15000)
    assert (found.args["micro_batch"], found.args["grad_accum"]) == (2, 32)
    assert queue.get(db, other.id).args["micro_batch"] == 16, "the job keeps what its user said"
    small = added(db, args=TRAIN | {"micro_batch": 1, "grad_accum": 3})
    assert vram.fitted(db, small, CARD, 15000) == small, "what is smaller by itself stays so"
    assert vram.fitted(db, other, "GeForce GT 1030", 15000) == other


@pytest.mark.parametrize(
    ("free_mib", "micro_batch"), [(4000, 1), (8000, 1), (8800, 1), (9100, 2), (15000, 2), (17000, 4)]
)
def test_a_fit_holds_for_as_much_free_memory_or_less_and_more_is_tried_anew(db, free_mib, micro_batch):
    vram.learn_fit(db, "train", TRAIN, CARD, 15000, now=1)
    vram.learn_fit(db, "train", TRAIN | {"micro_batch": 2, "grad_accum": 16}, CARD, 8000, now=2)
    assert vram.fitted(db, added(db), CARD, free_mib).args["micro_batch"] == micro_batch


def test_what_takes_what_is_there_waits_for_more_than_it_could_not_begin_with(db):
    auto = {name: value for name, value in TRAIN.items() if name != "grad_accum"} | {"micro_batch": "auto"}
    job = added(db, args=auto)
    vram.note_peak(db, job.id, vram.recipe(job.kind, job.args), CARD, 14_000, now=1)
    assert vram.short_of(db, job, ROOM) is None, "it held 14000 once because they were there"
    assert vram.learn_least(db, "train", auto, CARD, 4000, 15_800, now=2)
    assert [vram.short_of(db, job, dataclasses.replace(ROOM, free_mib=free)) for free in (3000, 4255, 4256)] == [
        "4256 MiB of VRAM (learned)", "4256 MiB of VRAM (learned)", None,
    ]  # fmt: skip
    assert vram.short_of(db, added(db), dataclasses.replace(ROOM, free_mib=3000)) is None, "another recipe"
    assert not vram.learn_least(db, "train", auto, CARD, 15_700, 15_800, now=3), "there will never be more"
    assert not vram.learn_least(db, "train", TRAIN, CARD, 4000, 15_800, now=3), "it is made smaller instead"
    assert vram.fitted(db, job, CARD, 4000) == job


def test_a_kind_without_batches_has_no_fit(db):
    job = added(db, "sleep", {"seconds": 1})
    assert vram.learn_fit(db, "sleep", job.args, CARD, 15000, now=1) is None
    assert vram.fitted(db, job, CARD, 15000) == job


def test_a_job_that_outgrows_its_memory_three_times_without_progress_fails_and_progress_forgives(db):
    job_id = queue.add(db, NewJob("sleep", {}, "gpu"), now=0)

    def outgrow():
        job = queue.claim_job(db, job_id, now=1)
        assert job is not None
        return queue.outgrow(db, job_id, job.attempt, "too big", now=1)

    assert [outgrow(), outgrow()] == ["queued", "queued"]
    job = queue.claim_job(db, job_id, now=1)
    assert job is not None
    queue.note_progress(db, job_id, job.attempt, {"done": 5, "total": 10}, now=1)
    queue.release(db, job_id, job.attempt, "", now=1)
    assert [outgrow(), outgrow(), outgrow()] == ["queued", "queued", "failed"]
    assert "3 times without progress: give it more with --vram" in (queue.get(db, job_id).error or "")


# ── by a real jobd, without a card ────────────────────────────────────────────────────────────────────────────────

# As train does on a card: what does not fit ends with 71. The CPU has no such end, so a kind of the test's plays it.
KIND = """
from dataclasses import dataclass
from jobs.contract import OutOfGpuMemory
LANE = "gpu"

@dataclass(frozen=True)
class Args:
    fits: int
    micro_batch: int = 8
    grad_accum: int = 2

def run(args, job, prepared=None):
    if args.micro_batch > args.fits:
        raise OutOfGpuMemory(f"{args.micro_batch} do not fit")
    job.note(f"ran {args.micro_batch} x {args.grad_accum}")
"""


@pytest.fixture
def greedy(monkeypatch, tmp_path):
    """A kind that runs out of memory above `fits`, known to this process and to every child of its jobd."""
    bring_kind(monkeypatch, tmp_path, "greedy", KIND)


def test_out_of_memory_is_tried_smaller_until_it_fits_and_nobody_is_blamed(greedy, tower):
    tower.start()
    job = tower.until(tower.add("greedy", fits=2), "succeeded")
    assert (job.attempt, job.failures, job.note) == (3, 0, "ran 2 x 8")
    assert job.args["micro_batch"] == 8, "what its user said stays"
    said = [row["detail"] for row in tower.db.execute("select detail from event")]
    assert "out of GPU memory with micro_batch=8, grad_accum=2: next with micro_batch=4, grad_accum=4" in said
    assert "runs with micro_batch=2, grad_accum=8, not micro_batch=8, grad_accum=2: that fits the memory" in said
    again = tower.until(tower.add("greedy", fits=2), "succeeded")
    assert (again.attempt, again.note) == (1, "ran 2 x 8"), "the fit was remembered"


def test_what_does_not_fit_at_its_smallest_is_blamed(greedy, tower):
    tower.start()
    job = tower.until(tower.add("greedy", "--max-failures", 1, fits=0), "failed")
    assert (job.attempt, job.failures, job.cause) == (4, 1, "out of memory")
    assert "1 do not fit" in (job.error or "")
