"""A kind by its name, and its Args made of what a user gave."""

import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs.kind
from jobs.contract import BadArgs, HomePath, InputPath


@dataclass(frozen=True)
class Args:
    """One field of every sort there is."""

    needed: str
    whole: int = 1
    number: float = 1.0
    flag: bool = False
    maybe: int | None = None
    some: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    source: InputPath = InputPath("/data")  # noqa: RUF009 (text, by another name)
    out: HomePath = HomePath("packs/x")  # noqa: RUF009
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def a_kind(monkeypatch):
    """A kind named `every`."""
    module = types.ModuleType("jobs.kinds.every")
    module.Args, module.LANE = Args, "cpu"
    monkeypatch.setitem(sys.modules, "jobs.kinds.every", module)
    real = jobs.kind.names
    monkeypatch.setattr(jobs.kind, "names", lambda: sorted([*real(), "every"]))
    yield
    jobs.kind.load.cache_clear()


def parse(**given_):
    return jobs.kind.parse("every", {"needed": "x"} | given_, cwd=Path("/work"))


@pytest.mark.parametrize(
    ("name", "given_", "value"),
    [
        ("whole", "12", 12), ("whole", "1e6", 1_000_000), ("whole", 12.0, 12), ("whole", "-3", -3),
        ("number", "0.5", 0.5), ("number", 3, 3.0), ("number", "1e-4", 1e-4),
        ("flag", "true", True), ("flag", "NO", False), ("flag", "1", True), ("flag", True, True),
        ("maybe", "none", None), ("maybe", None, None), ("maybe", "7", 7),
        ("some", "1,2,3", (1, 2, 3)), ("some", [4, 5], (4, 5)), ("words", "a,b", ("a", "b")),
        ("source", "data/x", "/work/data/x"), ("source", "../x", "/x"), ("source", "/abs", "/abs"),
        ("out", "packs/demo", "packs/demo"),
        ("env", {"A": "b"}, {"A": "b"}),
    ],
)  # fmt: skip
def test_text_and_json_become_what_the_field_is(name, given_, value):
    found = getattr(parse(**{name: given_}), name)
    assert found == value
    assert not isinstance(value, int | float) or type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given_", "sentence"),
    [
        ("whole", "1.5", "whole='1.5' does not fit: it takes a whole number"),
        ("whole", "many", "it takes a whole number"),
        ("whole", True, "it takes a whole number"),
        ("whole", 1.5, "it takes a whole number"),
        ("whole", "1e400", "it takes a whole number"),
        ("whole", float("inf"), "it takes a whole number"),
        ("number", "fast", "it takes a number"),
        ("number", "nan", "it takes a number"),
        ("number", "inf", "it takes a number"),
        ("number", float("nan"), "it takes a number"),
        ("flag", "maybe", "it takes true or false"),
        ("maybe", "x", "it takes a whole number or none"),
        ("some", "1,x", "it takes a list of whole numbers, with commas between"),
        ("some", 7, "it takes a list"),
        ("needed", 7, "it takes text"),
        ("source", 7, "it takes a path"),
        ("env", "x", "does not fit"),
        ("out", "/etc", "is not a path inside the home"),
        ("out", "../x", "is not a path inside the home"),
    ],
)
def test_what_does_not_fit_gets_a_sentence(name, given_, sentence):
    with pytest.raises(BadArgs) as refused:
        parse(**{name: given_})
    assert sentence in str(refused.value)


def test_an_unknown_setting_is_named_with_those_there_are():
    with pytest.raises(BadArgs, match=r"every has no setting 'stepps': it takes needed \(needed\), whole=1,"):
        parse(stepps=3)


def test_a_missing_setting_is_named_with_what_to_do():
    with pytest.raises(BadArgs, match="every needs needed: give it with --set needed="):
        jobs.kind.parse("every", {})


@pytest.mark.parametrize("name", ["trane", "", "../contract", "os", "kinds.sleep"])
def test_an_unknown_kind_is_refused_with_those_there_are(name):
    with pytest.raises(BadArgs, match=r"there is no kind .*: take one of .*command.*sleep"):
        jobs.kind.load(name)


values = st.fixed_dictionaries(
    {"needed": st.text()},
    optional={
        "whole": st.integers(), "number": st.floats(allow_nan=False, allow_infinity=False), "flag": st.booleans(),
        "maybe": st.none() | st.integers(), "some": st.lists(st.integers()), "words": st.lists(st.text()),
        "source": st.sampled_from(["a", "/b/c", "../d"]), "out": st.sampled_from(["a", "b/c"]),
        "env": st.dictionaries(st.text(), st.text()),
    },
)  # fmt: skip


@given(values)
def test_args_come_back_from_the_queue_as_they_were_wherever_jobd_runs(a_kind_args):
    there = jobs.kind.parse("every", a_kind_args, cwd=Path("/work"))
    kept = json.loads(json.dumps(jobs.kind.as_given(there), allow_nan=False))
    assert jobs.kind.parse("every", kept, cwd=Path("/elsewhere")) == there


def test_every_kind_there_is_says_what_the_contract_asks():
    for name in [name for name in jobs.kind.names() if name != "every"]:
        kind = jobs.kind.load(name)
        assert jobs.kind.lane(name) in ("gpu", "cpu")
        assert kind.__doc__
        assert hasattr(kind, "run") != hasattr(kind, "argv")
        assert jobs.kind.describe(name)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"argv": []}, "command needs a program"),
        ({"argv": [""]}, "command needs a program"),
        ({"argv": ["/no/such/program"]}, "there is no program '/no/such/program'"),
        ({"argv": ["no-such-program"]}, "there is no program 'no-such-program'"),
        ({"argv": ["true"], "cwd": "/no/such/folder"}, "is not a folder"),
    ],
)
def test_a_command_that_can_never_run_is_refused_before_it_is_queued(settings, sentence, tmp_path):
    with pytest.raises(BadArgs, match=sentence):
        jobs.kind.check("command", jobs.kind.parse("command", settings), tmp_path)


def test_a_program_is_looked_for_on_the_path_of_its_own_environment(tmp_path):
    (tmp_path / "mine").write_text("#!/bin/sh\n")
    (tmp_path / "mine").chmod(0o755)
    for env, fits in (({"PATH": str(tmp_path)}, True), ({"PATH": "/bin"}, False)):
        args = jobs.kind.parse("command", {"argv": ["mine"], "env": env})
        if fits:
            jobs.kind.check("command", args, tmp_path)
        else:
            with pytest.raises(BadArgs):
                jobs.kind.check("command", args, tmp_path)


@pytest.mark.parametrize("settings", [{"seconds": -1}, {"tick_s": 0}])
def test_sleep_refuses_what_it_cannot_do(settings):
    with pytest.raises(BadArgs, match="sleep takes seconds >= 0 and tick_s > 0"):
        jobs.kind.parse("sleep", settings)
