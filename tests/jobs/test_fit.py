"""`jobctl fit`: what a recipe's training takes of a card, asked before anything is queued."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import jobs.kind
from gpt.fit import Found
from jobs.batches import Fits, recipe
from jobs.kinds.train import model_config

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"
JOBCTL = [sys.executable, "-P", "-m", "supervisor.jobctl"]


def fit(*words: str, code: int = 0) -> str:
    answer = subprocess.run([*JOBCTL, "fit", *words], capture_output=True, text=True, check=False)
    assert answer.returncode == code, answer.stderr
    return answer.stdout if code == 0 else answer.stderr


def test_the_big_recipe_on_a_card_of_16_gib():
    said = fit(str(RECIPES / "ww2-183m.toml"), "--vram", "16376")
    assert "183.0 M parameters, 120 contexts of 4096 tokens a step" in said
    [here] = [line for line in said.splitlines() if line.endswith("<- the recipe's")]
    assert here.split()[:2] == ["6", "20"], "it says auto"
    assert said.splitlines()[-1] == "The largest that fits: micro_batch=6 grad_accum=20, the step stays the same"


def test_the_same_as_json_and_every_row_keeps_the_step():
    found = json.loads(fit(str(RECIPES / "ww2-183m.toml"), "--vram", "16376", "--json"))
    assert (found["now"], found["best"], found["reserve_mib"]) == ("auto", 6, 1024)
    assert {row["micro_batch"] * row["grad_accum"] for row in found["table"]} == {120}
    sums = [row["states_mib"] + row["kept_mib"] + row["passing_mib"] for row in found["table"]]
    assert all(row["total_mib"] > known for row, known in zip(found["table"], sums, strict=True))
    assert [row["fits"] for row in found["table"]] == [row["total_mib"] <= 16376 - 1024 for row in found["table"]]


def test_what_was_measured_stands_beside_what_is_predicted(tmp_path):
    args = jobs.kind.parse("train", {"pack": "p", "num_positions": 8192})
    model = model_config(args, vocab_size=32_000, context_len=4096)
    Fits(tmp_path, recipe(args, model, 4096), "cpu").keep(Found(6, 14_301, took_mib=1))
    Fits(tmp_path, recipe(args, model, 4096), "NVIDIA A").keep(Found(6, 14_301, took_mib=13_377))
    Fits(tmp_path, recipe(args, model, 4096), "NVIDIA A").keep(Found(8, 17_806, more_than_mib=14_752))
    said = fit("-C", str(tmp_path), str(RECIPES / "ww2-183m.toml"), "--vram", "16376")
    rows = {line.split()[0]: line.split()[6] for line in said.splitlines() if line[:11].strip().isdigit()}
    assert (rows["5"], rows["6"], rows["8"]) == ("-", "13,377", "-")
    assert "measured: what training steps took on NVIDIA A, CUDA's own not counted" in said
    assert "measured: " not in fit(str(RECIPES / "ww2-183m.toml"), "--vram", "16376"), "nothing is known here"


def test_the_reserve_is_the_one_of_the_settings(tmp_path):
    (tmp_path / "settings.toml").write_text("reserve_mib = 4096\n")
    found = json.loads(fit("-C", str(tmp_path), str(RECIPES / "ww2-183m.toml"), "--vram", "16376", "--json"))
    assert (found["reserve_mib"], found["best"]) == (4096, 4)


def test_sizes_come_from_the_recipes_own_tokenizer_and_pack(tmp_path):
    demo = json.loads(fit(str(RECIPES / "demo.toml"), "--vram", "8000", "--json"))
    assert (demo["context_len"], demo["parameters"]) == (512, 3_459_200)


def test_what_processes_can_not_share_is_not_offered(tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[[job]]\nname = "a"\nkind = "train"\n'
        'args = { pack = "p", n_layer = 1, n_embd = 48, contexts_per_step = 12, processes = 2 }\n'
    )
    found = json.loads(fit(str(tmp_path / "mine.toml"), "--vram", "16376", "--json"))
    assert [row["micro_batch"] for row in found["table"]] == [1, 2, 3, 6]
    best = {"micro_batch": found["best"], "grad_accum": 12 // found["best"], "processes": 2}
    assert jobs.kind.parse("train", {"pack": "p", **best}).processes == 2, "what it says to take is taken"


def test_a_card_too_small_for_one_context_is_said():
    assert "Not even one context fits" in fit(str(RECIPES / "ww2-183m.toml"), "--vram", "6000")


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ('[[job]]\nname = "a"\nkind = "sleep"\n', [], "holds no job of kind train"),
        (
            "".join(f'[[job]]\nname = "{name}"\nkind = "train"\nargs = {{ pack = "p" }}\n' for name in "ab"),
            [],
            "trains more than once",
        ),
        ('[[job]]\nname = "a"\nkind = "train"\nargs = { pack = "p" }\n', ["--job", "b"], "has no train job 'b'"),
        (
            '[[job]]\nname = "a"\nkind = "train"\nargs = { pack = "p", n_head = 7 }\n',
            [],
            "does not split into n_head=7",
        ),
    ],
)
def test_what_can_not_be_fitted_is_said(tmp_path, text, words, says):
    (tmp_path / "mine.toml").write_text(text)
    assert says in fit(str(tmp_path / "mine.toml"), "--vram", "16376", *words, code=1)
