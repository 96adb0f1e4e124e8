"""jobctl in a shell: what TAB offers in real shells, and the segment of a prompt."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tower import Tower

from jobs.contract import BadArgs
from supervisor import meta, queue
from supervisor.commands import shell
from supervisor.db import transaction
from supervisor.errors import Refused
from supervisor.job import NewJob
from supervisor.screen import completion, view

ENV = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


def run_in(name, script):
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    done = subprocess.run([name, "-c", script], env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def bash(line):
    """What bash offers behind a line."""
    return run_in("bash", f"""
        eval "$(jobctl completion bash)"
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
        COMPREPLY=()
        _python_argcomplete jobctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """)  # fmt: skip


@pytest.fixture
def three(tower):
    """A queued, a paused and a cancelled job."""
    for act in (None, "pause", "cancel"):
        job = tower.add("sleep", "--name", f"{act or 'wait'} it")
        if act:
            tower.ctl(act, job)
    return tower


def offered(tower, line):
    return sorted(word.strip() for word in bash(f"jobctl -C {tower.path} {line}"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sta", ["status"]), ("cancel ", ["1", "2"]), ("retry ", ["1", "3"]), ("resume ", ["2"]),
        ("show ", ["1", "2", "3"]), ("add tra", ["train"]), ("add sleep --set sec", ["seconds="]),
        ("list --state fai", ["failed"]), ("service un", ["uninstall"]), ("list --lim", ["--limit"]),
        ("show 99", [""]),
    ],
)  # fmt: skip
def test_bash_offers_what_fits(three, line, words):
    assert offered(three, line) == words


def test_fish_offers_ids_with_what_they_stand_for(three):
    found = run_in("fish", f'jobctl completion fish | source; complete -C "jobctl -C {three.path} cancel "')
    assert sorted(found) == ["1\twait it, queued", "2\tpause it, paused"]


def test_zsh_takes_the_script(three):
    found = run_in(
        "zsh", 'autoload -U compinit; compinit -u -D; eval "$(jobctl completion zsh)"; print $_comps[jobctl]'
    )
    assert found == ["_python_argcomplete"]


def test_where_there_is_no_home_nothing_is_offered_and_nothing_said(tmp_path):
    assert bash(f"jobctl -C {tmp_path}/none cancel ") == [""]


def test_an_unknown_shell_is_wrong_usage(tower):
    done = subprocess.run([sys.executable, "-P", "-m", "supervisor.jobctl", "completion", "tcsh"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2
    assert "bash" in done.stderr


def test_what_completes_an_argument_never_fails(tmp_path):
    for error in (Refused("x"), BadArgs("x"), OSError("x")):

        def broken(told, error=error):
            raise error

        assert completion._careful(broken)(prefix="", action=None, parser=None, parsed_args=None) == {}


# ── the prompt ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.setattr(view, "serving", lambda home: True)


def test_the_prompt_says_what_runs_how_far_it_is_and_how_long_yet(tower, serving, monkeypatch):
    for _ in range(4):
        tower.add("sleep", "--name", "train")
    job = queue.claim(tower.db, "gpu", now=time.time())
    assert tower.ctl("prompt") == "▶ train · 3 queued\n"
    now = time.time()
    monkeypatch.setattr(shell.time, "time", lambda: now)
    report = {"done": 43, "total": 100, "eta_at": now + 2 * 3600 + 600}
    queue.note_progress(tower.db, job.id, job.attempt, report, now=now)
    assert tower.ctl("prompt") == "▶ train 43% 2h10m · 3 queued\n"
    assert json.loads(tower.ctl("prompt", "--json"))["share"] == 0.43


def test_the_prompt_says_what_is_wrong_before_what_runs(tower, serving, monkeypatch):
    assert tower.ctl("prompt") == "", "nothing to say"
    tower.add("sleep")
    tower.ctl("pause", "--all")
    assert tower.ctl("prompt") == "‖ paused · 1 queued\n"
    meta.write(tower.db, "lane_closed", "a card that fell off the bus")
    assert tower.ctl("prompt") == "✗ GPU lane closed · 1 queued\n"
    meta.write(tower.db, "disk_low", "9 MiB")
    assert tower.ctl("prompt") == "✗ disk low · 1 queued\n"
    monkeypatch.setattr(view, "serving", lambda home: False)
    assert tower.ctl("prompt") == "✗ no jobd · 1 queued\n"


def test_the_prompt_is_empty_and_no_error_without_a_home_or_with_a_broken_one(tower, tmp_path):
    for home in (tmp_path, tmp_path / "none"):
        assert Tower.ctl(_at(home), "prompt") == ""
    (tmp_path / "queue.db").write_bytes(b"this is no database, but long enough to be read as one" * 20)
    assert Tower.ctl(_at(tmp_path), "prompt") == ""


def _at(path):
    class Elsewhere:
        def __init__(self) -> None:
            self.path = path

    return Elsewhere()


def test_a_jobs_name_in_the_prompt_is_cut_and_cannot_move_a_cursor(tower, serving):
    tower.add("sleep", "--name", "\x1b[2J" + "x" * 99)
    queue.claim(tower.db, "gpu", now=time.time())
    said = tower.ctl("prompt")
    assert said == f"▶ �[2J{'x' * (shell.NAME_COLUMNS - 5)}…\n"


def test_very_many_queued_jobs_are_not_counted_to_the_end(tower, serving):
    new = NewJob("sleep", {}, "gpu")
    with transaction(tower.db):
        for _ in range(shell.MOST_COUNTED + 5):
            queue.add(tower.db, new, now=1.0)
    assert tower.ctl("prompt") == "999+ queued\n"


def test_the_prompt_costs_hardly_more_than_list(tower):
    def cpu_s(command):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = used.ru_utime + used.ru_stime
        subprocess.run([sys.executable, "-P", "-m", "supervisor.jobctl", "-C", tower.path, command],
                       env=ENV, capture_output=True, check=True)  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime - before

    rounds = [(cpu_s("prompt"), cpu_s("list")) for _ in range(5)]  # in turn: a busy machine is busy for both
    prompt, listing = (min(one) for one in zip(*rounds, strict=True))
    assert prompt < 1.5 * listing


def test_nothing_of_argcomplete_is_loaded_unless_a_shell_asks():
    code = "import sys, supervisor.jobctl as j; j.parser(); sys.exit('argcomplete' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
