"""The main job, as small as it can be: articles to a judged, talking model, under a real jobd, really killed.

Every test runs `jobctl run` on tests/whole/tiny.toml as a process of its own, as a user would.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tower import CHECKOUT, until

from datagen import files
from supervisor import meta, recovery
from supervisor.children import cgroup, tree
from supervisor.home import Home
from supervisor.job import Job

RECIPE = CHECKOUT / "tests" / "whole" / "tiny.toml"
ARTICLES = (
    *("operation-overlord", "normandy-landings", "battle-of-kursk"),
    *("battle-of-midway", "siege-of-tobruk", "winter-war"),
)
LIMIT_S = 280.0  # a whole run takes 13 s of two idle cores
JOBCTL = (sys.executable, "-P", "-m", "supervisor.jobctl")
PNG = b"\x89PNG\r\n\x1a\n"


class Project:
    """A home, and `jobctl run` of the tiny recipe in it."""

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.home, self.source = path, Home(path), source
        self.running: subprocess.Popen[str] | None = None

    def start(self, **variables: object) -> "subprocess.Popen[str]":
        said = {"source": self.source, **variables}
        pairs = [f"{key}={value}" for key, value in said.items()]
        self.running = subprocess.Popen(
            [*JOBCTL, "-C", str(self.path), "run", str(RECIPE), "--set", *pairs],
            cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        )  # fmt: skip
        until(lambda: self.is_planned() or self.running.poll() is not None, "the recipe is planned")
        return self.running

    def is_planned(self) -> bool:
        return self.home.queue_db.exists() and bool(self.jobs())

    def run(self, code: int = 0, **variables: object) -> str:
        """`jobctl run` to its end; what it printed."""
        process = self.start(**variables)
        said, _ = process.communicate(timeout=LIMIT_S)
        assert process.returncode == code, said
        return said

    def interrupt(self) -> str:
        """Ctrl-C; what it had printed."""
        assert self.running is not None
        self.running.send_signal(signal.SIGINT)
        said, _ = self.running.communicate(timeout=LIMIT_S)
        assert self.running.returncode == 130, said
        return said

    def kill_everything(self) -> None:
        """SIGKILL to jobctl, jobd and all their children, as at once as can be."""
        assert self.running is not None
        victims = [self.running.pid, *self.processes()]
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # nobody sees the others die
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        self.running.communicate(timeout=LIMIT_S)
        until(lambda: not self.processes(), "the killed are gone")

    def processes(self) -> list[int]:
        """jobd and all that the jobs of this home started."""
        named = [process.pid for process in tree.marked(f"{self.home_id}:")]
        return list({*named, *_pids_with_home(self.path)})

    @property
    def home_id(self) -> str:
        with self.db() as db:
            return meta.read(db, "home_id") or ""

    def db(self) -> sqlite3.Connection:
        return self.home.connect()

    def jobs(self, kind: str | None = None) -> list[Job]:
        db = self.db()
        found = [Job.from_row(row) for row in db.execute("select * from job order by id")]
        db.close()
        return [job for job in found if kind in (None, job.kind)]

    def events(self, job_id: int) -> list[tuple[int, str, str]]:
        db = self.db()
        rows = db.execute("select attempt, what, detail from event where job_id = ? order by id", (job_id,)).fetchall()
        db.close()
        return [tuple(row) for row in rows]

    def claims(self) -> list[int]:
        """Job ids in the order in which they were claimed."""
        db = self.db()
        rows = db.execute("select job_id from event where what = 'claimed' order by id").fetchall()
        db.close()
        return [row["job_id"] for row in rows]

    def models(self) -> list[dict[str, Any]]:
        """The archive's manifests, in the order of (run, step)."""
        found = [files.read_manifest(path.parent) for path in self.path.glob("models/*/manifest.json")]
        return sorted(found, key=lambda about: (about["run"], about["step"]))

    def pack(self) -> dict[str, str]:
        """The sha256 of each file that the training read."""
        found: dict[str, str] = files.read_manifest(self.path / "packs" / "tiny")["sha256"]
        return found

    def weights(self) -> list[tuple[int, str]]:
        """(step, sha256 of the weights) of each model."""
        return [(about["step"], about["sha256"]["model.safetensors"]) for about in self.models()]

    def made(self) -> dict[str, int]:
        """When each file that jobs make was last written (ns), by path."""
        folders = ("corpus", "factory", "tokenizers", "packs", "models", "answers", "reports", "runs")
        found = (path for folder in folders for path in (self.path / folder).rglob("*") if path.is_file())
        return {str(p.relative_to(self.path)): p.stat().st_mtime_ns for p in found if p.suffix not in (".db-shm",)}

    def wait_for_step(self, step: int) -> None:
        until(lambda: self.trained() >= step, f"step {step}", LIMIT_S)

    def trained(self) -> int:
        """The newest step of the newest train job that is on the disk."""
        found = self.jobs("train")
        path = self.home.workdir(found[-1].id) / "metrics.db" if found else Path("/none")
        if not path.exists():
            return 0
        try:
            db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            row = db.execute("select max(step) from step").fetchone()
            db.close()
        except sqlite3.OperationalError:  # it is just being made
            return 0
        return int(row[0] or 0)

    def sweep(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.kill()
            self.running.communicate()
        if self.home.queue_db.exists():
            while left := self.processes():
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
            groups = cgroup.Cgroups()
            for group in groups.left(f"neverrest-{self.home_id}-"):
                cgroup.remove(group)


def _pids_with_home(home: Path) -> list[int]:
    """Processes that were started with this home as an argument: a jobd, a jobctl, a talk with a model."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(home).encode() in words and tree.read(int(entry.name)) is not None:
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("articles")
    for name in ARTICLES:
        shutil.copy(CHECKOUT / "datagen" / "sample" / f"{name}.txt", folder)
    return folder


@pytest.fixture(scope="module")
def straight(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """A project that nobody disturbed, and what its run printed."""
    project = Project(tmp_path_factory.mktemp("straight") / "home", source)
    try:
        yield project, project.run()
    finally:
        project.sweep()


@pytest.fixture
def project(source: Path, tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "home", source)
    yield made
    made.sweep()


@pytest.fixture
def copied(straight: tuple[Project, str], tmp_path: Path) -> Iterator[Project]:
    """The finished project, in a home of its own."""
    before, place = straight[0], tmp_path / "home"
    shutil.copytree(before.path, place, ignore=shutil.ignore_patterns("jobd.bell"))
    made = Project(place, before.source)
    yield made
    made.sweep()


# ── what it makes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_with_the_report_the_picture_the_answer_and_where_the_time_went(straight):
    project, said = straight
    newest = project.models()[-1]["name"]
    report = (project.path / "reports" / newest / "report.md").read_text()
    assert report.strip() in said
    picture = said.split("The picture of train: ")[1].splitlines()[0]
    assert Path(CHECKOUT, picture).read_bytes().startswith(PNG)
    judged_at = (project.path / "reports" / newest / "report.json").stat().st_mtime
    assert Path(CHECKOUT, picture).stat().st_mtime > judged_at  # the last verdict is in it
    answer = said.split("When did Operation Overlord begin?\n")[1].splitlines()[0]
    assert answer.strip().startswith("→")
    times = said.split("Where the time went:\n")[1]
    for kind in ("corpus", "generate", "tokenizer", "pack", "train", "answer", "judge"):
        assert f"\n  {kind} " in f"\n{times}"
    assert "% train" in times
    assert f"jobctl chat {newest}" in said


def test_every_model_of_the_archive_says_where_it_came_from(straight):
    project, _ = straight
    first, second = project.models()
    [train] = project.jobs("train")
    assert (first["step"], second["step"]) == (30, 60)
    assert (first["parent"], second["parent"]) == (None, first["name"])
    for about in (first, second):
        assert about["pack"] == train.args["pack"] == "packs/tiny"
        assert about["pack_sha256"] == files.read_manifest(project.path / about["pack"])["sha256"]
        assert about["name"] == (
            f"tiny_step{about['step']:06d}_tok{about['tokens_seen'] / 1000:.1f}k_val{about['val_loss']:.3f}"
        )
    assert 0 < first["tokens_seen"] < second["tokens_seen"]
    listed = subprocess.run(
        [*JOBCTL, "-C", str(project.path), "models", "list", "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [model["name"] for model in json.loads(listed.stdout)] == [first["name"], second["name"]]


def test_train_left_for_its_judge_and_came_back(straight):
    project, _ = straight
    [train] = project.jobs("train")
    by_name = {job.name: job for job in project.jobs()}
    judging = [by_name[name] for name in ("answer 30", "answer untrained", "judge 30", "answer 60", "judge 60")]
    assert all((job.parent_id, job.priority) == (train.id, 1) for job in judging)
    assert train.attempt == 2
    assert (1, "queued", "unfinished") in project.events(train.id)
    order = project.claims()
    back = len(order) - 1 - order[::-1].index(train.id)
    assert order.index(train.id) < order.index(by_name["answer 30"].id) < back < order.index(by_name["answer 60"].id)
    assert all(job.state == "succeeded" for job in project.jobs())


def test_each_report_says_what_its_verdicts_say(straight):
    project, _ = straight
    for about in project.models():
        folder = project.path / "reports" / about["name"]
        report = json.loads((folder / "report.json").read_text())
        verdicts = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
        assert (report["model"], report["step"], report["trusted"]) == (about["name"], about["step"], True)
        for group, found in report["groups"].items():
            mine = [verdict for verdict in verdicts if verdict["group"] == group]
            assert found["n"] == len(mine) == 40
            assert found["passed"] == sum(verdict["verdict"] == "PASS" for verdict in mine)
        assert set(report["groups"]) == {"seen_facts", "unseen_articles"}
        answers = (project.path / "answers" / about["name"] / "answers.jsonl").read_text().splitlines()
        assert len(answers) == len(verdicts) == 80


def test_said_again_it_says_that_all_is_done_and_makes_nothing_anew(straight):
    project, _ = straight
    before, claims = project.made(), project.claims()
    began = time.monotonic()
    said = project.run()
    assert time.monotonic() - began < 10
    assert "everything is done already (10 jobs)" in said
    assert "When did Operation Overlord begin?" in said
    assert project.made() == before
    assert project.claims() == claims


# ── stopped and killed ────────────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_saves_and_the_same_command_ends_with_the_same_bits(straight, project):
    project.start()
    project.wait_for_step(12)
    said = project.interrupt()
    assert "Saved. The same command goes on from here." in said
    assert project.processes() == []
    stopped_at = project.trained()
    assert stopped_at < 60
    [train] = project.jobs("train")
    assert train.state == "queued"
    project.run()
    assert project.pack() == straight[0].pack()
    assert project.weights() == straight[0].weights()
    [train] = project.jobs("train")
    assert train.attempt >= 3  # claimed, interrupted, judged, done
    assert _steps_in_order(project, train.id)


def _steps_in_order(project: Project, job_id: int) -> bool:
    """Each step is in the metrics once, from the first to the last."""
    db = sqlite3.connect(project.home.workdir(job_id) / "metrics.db")
    steps = [row[0] for row in db.execute("select step from step order by step")]
    db.close()
    return steps == list(range(1, 61))


def test_killed_with_everything_at_random_moments_it_ends_with_the_same_bits(straight, project):
    dice = random.Random(f"{os.getpid()} {time.time()}")
    hit = []
    for _ in range(2):
        life_s = dice.uniform(0.5, 8)
        project.start()
        time.sleep(life_s)
        if project.running is not None and project.running.poll() is None:
            hit.append((life_s, [job.name for job in project.jobs() if job.state == "running"]))
            project.kill_everything()
    assert hit
    project.run()
    assert project.pack() == straight[0].pack(), hit
    assert project.weights() == straight[0].weights(), hit
    [train] = project.jobs("train")
    assert _steps_in_order(project, train.id), hit
    assert _answers(project) == _answers(straight[0]), hit


def _answers(project: Project) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(project.path.glob("answers/*/answers.jsonl"))}


# ── edited ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_line_makes_anew_what_comes_after_it_and_nothing_before(copied):
    before = copied.made()
    said = copied.run(steps=40)
    old, new = copied.jobs("train")
    assert (old.state, new.state) == ("succeeded", "succeeded")
    assert (old.args["name"], new.args["name"]) == ("tiny", "tiny-2")
    assert new.args["pack"] == old.args["pack"] == "packs/tiny"
    assert len(copied.jobs("pack")) == len(copied.jobs("corpus")) == 1
    assert [about["step"] for about in copied.models()] == [30, 60, 30, 40]
    assert copied.models()[-1]["name"] in said
    after = copied.made()
    assert {path: after[path] for path in before} == before


def test_a_change_at_the_start_makes_all_of_it_anew_and_the_old_line_finds_the_old_model(copied):
    old = copied.models()[-1]["name"]
    before = copied.made()
    said = copied.run(facts_per_article=4)
    new = copied.models()[-1]["name"]
    assert new.startswith("tiny-2_step000060")
    assert f"jobctl ask {new}" in said
    for kind, number in {"corpus": 1, "generate": 2, "tokenizer": 2, "pack": 2, "train": 2}.items():
        assert len(copied.jobs(kind)) == number, kind
    assert {path: time_ns for path, time_ns in copied.made().items() if path in before} == before
    claims = copied.claims()
    said = copied.run()
    assert f"jobctl ask {old}" in said
    assert copied.claims() == claims


def test_an_article_put_into_the_folder_later_begins_anew(copied, tmp_path):
    copied.source = Path(shutil.copytree(copied.source, tmp_path / "articles"))
    copied.run(steps=1, judge_every="none", name="other")
    assert len(copied.jobs("corpus")) == 2
    shutil.copy(CHECKOUT / "datagen" / "sample" / "the-blitz.txt", copied.source)
    copied.run(steps=1, judge_every="none", name="other")
    first, second = copied.jobs("corpus")[1:]
    assert (first.args["factory"], second.args["factory"]) == ("corpus/other.db", "corpus/other-2.db")
    assert "7 articles" in (second.note or "")


def test_what_an_earlier_line_left_unfinished_is_replaced_and_said(project):
    project.start()
    project.wait_for_step(3)
    project.interrupt()
    [old] = project.jobs("train")
    said = project.run(steps=20, judge_every="none")
    assert f"Replaced: job {old.id} train (`jobctl retry {old.id}` queues it again)" in said
    old, new = project.jobs("train")
    assert (old.state, new.state, new.args["steps"]) == ("cancelled", "succeeded", 20)


# ── a jobd that serves already ────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_leaves_a_jobd_alone_that_served_before(project):
    project.path.mkdir(parents=True)
    subprocess.run(
        [*JOBCTL, "-C", str(project.path), "init"],
        check=True, capture_output=True,
    )  # fmt: skip
    jobd = subprocess.Popen(
        [sys.executable, "-P", "-m", "supervisor.daemon", "-C", str(project.path)], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: project.home.served_by() is not None, "jobd serves")  # else `jobctl run` starts its own
        project.start(steps=1, judge_every="none")
        until(lambda: bool(project.jobs()) and project.jobs()[0].state == "succeeded", "corpus")
        said = project.interrupt()
        assert "goes on. The same command watches it again" in said
        assert jobd.poll() is None
        assert "Where the time went:" in project.run(steps=1, judge_every="none")
    finally:
        jobd.terminate()
        jobd.wait(60)


def test_a_killed_jobctl_takes_its_jobd_with_it(project):
    project.start()
    until(lambda: any(job.state == "running" for job in project.jobs()), "running")
    assert project.running is not None
    project.running.kill()
    project.running.communicate()
    until(lambda: project.processes() == [], "jobd and its children have saved and left")
    assert recovery.strays(project.home, project.home_id, cgroup.Cgroups()) == []
