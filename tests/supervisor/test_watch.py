"""The lines of `jobctl run`: they fit the terminal, whatever the jobs are called and however many there are."""

import dataclasses
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor import queue
from supervisor.home import Home
from supervisor.job import Job, NewJob
from supervisor.screen import view, watch
from supervisor.screen.line import line


@pytest.fixture
def home(db, tmp_path) -> Home:
    return Home(tmp_path)


def job_in(db, state: str, **fields) -> Job:
    """A queued job as the queue has it, shown as if it were in another state."""
    added = queue.add(db, NewJob("train", {}, "gpu", name=fields.pop("name", "train")), now=1.0)
    return dataclasses.replace(queue.get(db, added), state=state, **fields)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    width=st.integers(40, 200),
    state=st.sampled_from(queue.STATES),
    name=st.text(max_size=40) | st.text("日本語🚀", min_size=20, max_size=40),
    numbers=st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)),
    metrics=st.dictionaries(st.sampled_from(["loss", "tokens_per_s", "val_loss", "pass_rate"]), st.floats(0, 1e9)),
    error=st.none() | st.text(max_size=300),
    unit=st.text(max_size=20) | st.just("steps\x1b[2J"),
)
def test_a_line_never_wraps_and_holds_nothing_that_moves_a_cursor(
    db, home, width, state, name, numbers, metrics, error, unit
):
    done, total = numbers
    job = job_in(db, state, name=name, done=done, total=total, metrics=metrics, error=error, unit=unit, failures=1)
    text = line(db, home, job, time.time(), width, 20)
    assert view.columns(text) <= max(width, 75)  # so wide is what is never left out: name, bar, how far
    assert text.isprintable()


def test_in_80_columns_a_training_shows_all_that_matters(db, home):
    now = time.time()
    job = job_in(
        db, "running", done=12_345, total=20_000, unit="steps", eta_at=now + 3800,
        metrics={"loss": 1.2345, "tokens_per_s": 12_345.6, "val_loss": 2.5},
    )  # fmt: skip
    shown = line(db, home, job, now, 79, 16)
    assert shown == "▶ train             █████░░░ 12,345/20,000  1h03m left  loss 1.234  12.3k tok/s"
    assert "val 2.500" in line(db, home, job, now, 119, 16)


def test_what_failed_says_why_and_what_waits_says_for_what(db, home):
    failed = job_in(db, "failed", error="there is no pack: run a pack job first")
    assert line(db, home, failed, 2.0, 79, 5) == "✗ train  there is no pack: run a pack job first"
    queued = job_in(db, "queued")
    assert line(db, home, queued, 2.0, 79, 5) == "· train  waits for jobd, which does not run"
    again = job_in(db, "queued", failures=1, error="exit code 1: oh")
    assert "waits for jobd, which does not run: exit code 1: oh" in line(db, home, again, 2.0, 79, 5)


@given(st.lists(st.sampled_from(queue.STATES), min_size=1, max_size=80), st.integers(5, 60))
def test_many_jobs_are_folded_into_the_rows_there_are_and_none_is_miscounted(states, rows):
    found = [dataclasses.replace(ANY, id=number, state=state) for number, state in enumerate(states)]
    above, shown, below = watch.fold(found, rows)
    counted = sum(int(text.split()[1]) for text in (*above, *below))
    assert counted + len(shown) == len(found)
    assert [job for job in found if job in shown] == shown
    assert {job.state for job in found if job not in shown} <= {"succeeded", "queued"}
    folds = sum(job.state in ("succeeded", "queued") for job in found)
    assert len(above) + len(shown) + len(below) <= rows or folds < len(found) - rows + 2


ANY = Job(
    id=0, key=None, kind="sleep", name="sleep", args={}, lane="gpu", priority=0, preemptible=True, state="queued",
    wish=None, blockers=0, available_at=0.0, attempt=0, failures=0, max_failures=3, losses=0, idle_releases=0, done=0.0,
    total=0.0, unit="", metrics={}, best_done=0.0, eta_at=None, note=None, error=None, parent_id=None, created_at=0.0,
    started_at=None, finished_at=None, needs_vram_mib=None, peak_vram_mib=None, stall_s=None, cause="", memo="",
    evergreen_id=None, origin={},
)  # fmt: skip
