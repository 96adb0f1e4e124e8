"""The house rules, held by a machine: which way imports run, what start-up costs, that nothing heavy leaks in."""

import ast
import dataclasses
import json
import os
import pkgutil
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import jobs.kind
import jobs.kinds

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "numpy", "matplotlib", "sentencepiece", "safetensors", "llama_cpp", "apscheduler", "sqlite_utils")


def python(code: str, *flags: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_imports_run_one_way():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout


def imports_of(path: Path) -> set[str]:
    """Every module a file names in an import, wherever it stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(
    ("room", "of", "allowed"),
    [
        ("gpt", "datagen", {"records", "files"}),
        ("judge", "datagen", {"records", "files", "llm"}),
        ("supervisor", "jobs", {"contract", "kind"}),
    ],
)
def test_a_room_takes_from_another_only_what_was_agreed(room, of, allowed):
    for path in (ROOT / room).rglob("*.py"):
        taken = {name.split(".")[1] for name in imports_of(path) if name.startswith(f"{of}.")}
        assert taken <= allowed, f"{path.name} takes {taken - allowed} from {of}"


@pytest.mark.parametrize(
    "module",
    [
        "supervisor.daemon",
        "supervisor.jobctl",
        "supervisor.screen.watch",
        "supervisor.screen.finale",
        "judge.reference",
        "datagen.records",
        *(f"jobs.kinds.{module.name}" for module in pkgutil.iter_modules(jobs.kinds.__path__)),
    ],
)
def test_nothing_heavy_comes_in_with(module):
    loaded = json.loads(python(f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"))
    assert not set(HEAVY) & set(loaded)


def test_jobctl_help_needs_no_installed_package():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from supervisor.jobctl import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "add" in done.stdout


def test_jobctl_help_costs_a_few_bare_pythons():
    """0.15 s on an idle machine; on a busy one it is measured against the interpreter's own start."""

    def best(command: list[str]) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
            times.append(time.perf_counter() - began)
        return min(times)

    bare = best([sys.executable, "-c", "import sqlite3, argparse, json, dataclasses"])
    ours = best([sys.executable, "-P", "-m", "supervisor.jobctl", "--help"])
    assert ours < max(0.15, 3 * bare), f"jobctl --help took {ours:.3f} s, the libraries it needs alone {bare:.3f} s"


def test_every_kind_is_whole():
    for name in jobs.kind.names():
        kind = jobs.kind.load(name)
        assert kind.__doc__, f"{name} says what it does"
        assert kind.LANE in ("gpu", "cpu")
        assert hasattr(kind, "run") != hasattr(kind, "argv"), f"{name} is either run by us or another program"
        assert jobs.kind.describe(name)


def test_no_file_holds_a_path_of_the_machine_it_was_written_on():
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=False).stdout
    for name in filter(None, listed.split("\0")):
        text = (ROOT / name).read_bytes()
        assert b"/work/" + b"main" not in text, name


def test_the_readme_names_every_command_and_every_kind():
    readme = (ROOT / "README.md").read_text()
    for command in _commands():
        assert f"jobctl {command}" in readme, f"README does not name jobctl {command}"
    for kind in jobs.kind.names():
        assert f"`{kind}`" in readme, f"README does not name the kind {kind}"


def test_the_readme_has_every_setting_with_the_default_it_really_has():
    from supervisor.settings import Notify, Settings

    readme = (ROOT / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", readme, re.MULTILINE))
    for field in dataclasses.fields(Settings):
        if field.name == "cpu_slots":  # by the machine
            assert rows[field.name] == "half the cores"
        elif field.name != "notify":
            said = tomllib.loads(f"value = {rows[field.name]}")["value"]
            assert said == field.default, f"README says {field.name} = {said}, it is {field.default}"
    example = tomllib.loads(readme.split("```toml\n")[1].split("```")[0])["notify"]
    assert set(example) == {field.name for field in dataclasses.fields(Notify)}


def _commands() -> list[str]:
    from supervisor.jobctl import parser

    [actions] = [action for action in parser()._actions if action.choices and action.dest == "command"]
    return list(actions.choices)


def test_what_a_home_in_the_checkout_makes_is_never_committed():
    text = "".join(recipe.read_text() for recipe in (ROOT / "jobs" / "recipes").glob("*.toml"))
    made = {f"{folder}/x" for folder in re.findall(r'(?:factory|out) = "(\w+)/', text)}
    made |= {"queue.db", "queue.db-wal", "jobd.lock", "jobd.bell", "settings.toml", "lanes/gpu0.lock", "runs/1/log"}
    made |= {"models/x", "gguf/x", "answers/x", "reports/x", "backups/x"}
    assert len(made) > 12
    answer = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(answer.stdout.split()) == made


def test_nothing_of_ours_is_written_or_read_as_a_pickle():
    """Checkpoints and models are files that others may bring: data, never code. Ranks tell each other numbers."""
    loads = re.compile(r"import pickle|torch\.(load|save)\(|dist\.\w+_object|allow_pickle=True")
    rooms = ("supervisor", "jobs", "gpt", "judge", "datagen")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    assert len(sources) > 100
    assert loads.search("dist.all_gather_object(parts, mine)")
    assert [str(path) for path in sources if loads.search(path.read_text())] == []


def test_no_two_test_files_share_a_name():
    """pytest imports them by it: the second one would end the collection of a clean clone."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
