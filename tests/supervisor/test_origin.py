"""Where a job came from, and what has changed since."""

import json
import os
import subprocess
import sys

import pytest

from supervisor import origin, queue
from supervisor.commands import looking
from supervisor.screen import view


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with a program in it, committed."""
    place = tmp_path / "code"
    place.mkdir()
    (place / "train.sh").write_text("#!/bin/sh\necho one\n")
    (place / "train.sh").chmod(0o755)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@example.org")
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-qm", "One")
    monkeypatch.chdir(place)
    return place


def git(place, *words) -> str:
    done = subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_job_remembers_who_added_it_from_where_and_from_which_code(tower, checkout):
    job = tower.shown(tower.add("command", argv=("./train.sh", "--epochs", "3")))
    came = job["origin"]
    assert came["said"][-5:] == ["command", "--", "./train.sh", "--epochs", "3"]
    assert came["cwd"] == str(checkout)
    assert came["code"] == {"folder": str(checkout), "commit": git(checkout, "rev-parse", "HEAD"), "changes": ""}
    assert list(came["files"]) == [str(checkout / "train.sh")]
    assert job["changed"] == []
    shown = tower.ctl("show", job["id"])
    assert f"{checkout} at {came['code']['commit']}, clean" in shown
    assert "jobctl -C" in shown


def test_what_changed_since_is_said(tower, checkout):
    job = tower.add("command", argv=("./train.sh",))
    (checkout / "train.sh").write_text("#!/bin/sh\necho two\n")
    changed = tower.shown(job)["changed"]
    assert any("train.sh has changed since" in line for line in changed)
    assert any("has other uncommitted changes than it had" in line for line in changed)
    dirty = tower.shown(tower.add("command", argv=("./train.sh",)))
    assert dirty["origin"]["code"]["changes"]
    assert dirty["changed"] == []
    git(checkout, "commit", "-qam", "Two")
    assert any("was at commit" in line for line in tower.shown(job)["changed"])
    (checkout / "train.sh").unlink()
    assert any("train.sh has gone since" in line for line in tower.shown(job)["changed"])
    assert "changed" in tower.ctl("show", job)


def test_list_marks_a_job_that_waits_and_whose_file_has_changed(tower, checkout, monkeypatch):
    monkeypatch.setattr(looking, "CHANGED_S", 60.0)  # its moment: on a machine that is busy it is over too soon
    waits, over = (tower.add("command", argv=("./train.sh",)) for _ in range(2))
    tower.ctl("cancel", over)
    assert "changed" not in tower.ctl("list")
    (checkout / "train.sh").write_text("#!/bin/sh\necho two\n")
    [marked] = [line for line in tower.ctl("list").splitlines() if "train.sh changed since it was added; jobd" in line]
    assert marked.startswith(str(waits))
    told = {job["id"]: job["changed_files"] for job in json.loads(tower.ctl("list", "--json"))}
    assert told == {waits: [str(checkout / "train.sh")], over: []}


def test_looking_for_changes_ends_when_its_moment_is_over(tmp_path):
    (tmp_path / "new").write_text("x")
    origins = {number: {"files": {str(tmp_path / "new"): "other"}} for number in range(3)}
    assert list(origin.changed_files(origins, most_s=60.0)) == [0, 1, 2]
    assert origin.changed_files(origins, most_s=0.0) == {}


def test_a_recipes_jobs_remember_who_planned_them(tower, tmp_path):
    (tmp_path / "two.toml").write_text('name = "two"\n[[job]]\nname = "a"\nkind = "sleep"\n')
    [job] = map(int, tower.ctl("plan", tmp_path / "two.toml").split())
    assert tower.shown(job)["origin"]["said"][-2:] == ["plan", str(tmp_path / "two.toml")]


def test_of_a_kind_the_code_is_neverrests_own(tower):
    code = tower.shown(tower.add("sleep"))["origin"].get("code", {})
    if not (origin.CODE / ".git").exists():
        pytest.skip("Neverrest does not lie in a git checkout here")
    assert code["folder"] == str(origin.CODE)


def test_outside_of_a_checkout_and_without_git_a_job_is_added_all_the_same(tower, tmp_path, monkeypatch):
    assert origin.checkout(tmp_path) == {}
    (tmp_path / ".git").mkdir()  # no repository: git gives no answer
    assert "not known" in origin.checkout(tmp_path)["commit"]
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert tower.shown(tower.add("sleep"))["state"] == "queued"


def test_a_git_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    slow = tmp_path / "git"
    slow.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(origin, "GIT_S", 0.05)
    assert "not known" in origin.checkout(tmp_path)["commit"]


def test_secrets_of_a_command_line_are_not_shown(tower):
    job = tower.add(
        "command", argv=("/bin/echo", "--token", "abc", "--api-key=def", "HF_TOKEN=ghi", "--tokenizer", "x")
    )
    shown = tower.shown(job)
    hidden = ["/bin/echo", "--token", "(hidden)", "--api-key=(hidden)", "HF_TOKEN=(hidden)", "--tokenizer", "x"]
    assert shown["args"]["argv"] == hidden
    assert shown["origin"]["said"][-7:] == hidden
    assert tower.job(job).args["argv"][2] == "abc"  # what runs gets the real one
    assert view.hide_words(["--key", "--other"]) == ["--key", "--other"]


def test_an_environment_is_kept_once_however_many_jobs_have_it(tower):
    jobs = [tower.add("command", argv=("true",)) for _ in range(3)]
    env = [tower.job(job).args["env"] for job in jobs]
    assert env[0] == env[1] == env[2] == dict(os.environ)
    stored = tower.db.execute("select count(*) from shared where text = ?", (json.dumps(env[0], sort_keys=True),))
    assert stored.fetchone()[0] == 1
    assert "env" not in json.loads(tower.db.execute("select args from job where id = 1").fetchone()[0])
    queue.set_args(tower.db, 1, {"argv": ["true"], "env": {"A": "b"}}, now=1.0)
    assert tower.job(1).args["env"] == {"A": "b"}
