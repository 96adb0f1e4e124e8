"""A kept model in llama.cpp: the same tokens of the same text, the same logits, the same greedy answer."""

import json
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from datagen import files
from gpt import archive, source
from gpt.attention import Documents
from gpt.config import PRESETS, BadConfig
from gpt.model import GPT
from gpt.sample import Sampling, generate
from gpt.to_gguf import to_gguf
from gpt.tokenizer import Tokenizer
from gpt.train_tokenizer import TokenizerConfig, make_tokenizer
from tests.gpt.small_factory import make_factory
from tests.gpt.tiny import shape

if TYPE_CHECKING:
    from llama_cpp import Llama

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TEXTS = (
    "When did the Battle of Midway begin? On 4 June 1942, in the morning.",
    "1944 and 1945, in May 1944; Mayor March marched 19441 times, 7.5 percent",
    "  two  spaces\n\nand a tab\t, ümlauts, 日本, 🦆, <|im_end|> said as text",
    "Junkers",
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    home = tmp_path_factory.mktemp("tokenizer")
    with source.opened(make_factory(home / "factory.db", 30)) as db:
        make_tokenizer(db, home / "made", home, TokenizerConfig(800, terms=("Battle of Midway",)))
    return Tokenizer.load(home / "made")


def kept(home: Path, tokenizer: Tokenizer, **changes: Any) -> tuple[Path, GPT]:
    """A model of random weights in models/: every one of them, so that no gain and no bias is what it began as."""
    settings = {"vocab_size": tokenizer.vocab_size, "context_len": 64, "n_embd": 64, "n_head": 4, **changes}
    model = GPT(shape(**settings)).eval()
    dice = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=dice) * 0.1)
    folder = home / "models" / "tried"
    facts = {"kind": "snapshot", "parent": None, "run": 5, "step": 12, "longest": 40}
    archive.write_model(folder, model.state_dict(), model.config, tokenizer.model_bytes, facts)
    return folder, model


def preset(name: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in PRESETS[name].items() if key not in ("optimizer", "decay")} | changes


@contextmanager
def llama(folder: Path) -> "Iterator[Llama]":
    """Keys and values in float32: halves, which llama.cpp keeps unless told, differ by 3e-3 in logits of 3."""
    from llama_cpp import GGML_TYPE_F32, Llama

    path, exact = str(folder / f"{folder.name}.gguf"), {"type_k": GGML_TYPE_F32, "type_v": GGML_TYPE_F32}
    with closing(Llama(path, n_ctx=64, n_threads=1, logits_all=True, verbose=False, **exact)) as opened:
        yield opened


def logits(opened: "Llama", tokens: list[int]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    opened.reset()
    opened.eval(tokens)
    return np.array(opened.scores[: len(tokens)])


@pytest.mark.parametrize(
    ("changes", "far"),
    [  # far: the most that a logit may differ; measured 0.002 for gpt2, whose GELU is another, and 4e-6
        (preset("gpt2"), 1e-2),
        (preset("gpt2", bias=False, tied=True, num_positions=80), 1e-2),
        (preset("modern"), 1e-4),
        (preset("modern", n_kv_head=2, tied=True), 1e-4),
    ],
)
def test_llama_cpp_gives_our_logits_and_our_greedy_answer(tokenizer, tmp_path, changes, far):
    folder, model = kept(tmp_path, tokenizer, **changes)
    to_gguf(folder, tmp_path / "gguf" / "tried")
    prompt = tokenizer.prompt(TEXTS[0])
    with torch.no_grad():
        ours = model.logits(model(torch.tensor(prompt), Documents.of([0, len(prompt)]))).numpy()
    with llama(tmp_path / "gguf" / "tried") as opened:
        assert opened.n_vocab() == tokenizer.vocab_size
        theirs = logits(opened, prompt)
        greedy = []
        for _ in range(8):
            greedy.append(int(logits(opened, prompt + greedy)[-1].argmax()))
    assert np.abs(ours).max() > 3, "logits near zero would prove nothing"
    assert np.abs(ours - theirs).max() < far
    assert greedy == generate(model, [prompt], Sampling(max_new_tokens=8), stop_token=None)[0].tokens


def test_llama_cpp_makes_our_tokens_of_texts_and_of_a_question(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer)
    to_gguf(folder, tmp_path / "gguf" / "tried")
    with llama(tmp_path / "gguf" / "tried") as opened:
        for text in TEXTS:
            assert opened.tokenize(text.encode(), add_bos=False, special=False) == tokenizer.encode(text)
        asked = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
        assert opened.tokenize(asked.encode(), add_bos=False, special=True) == tokenizer.prompt("Who?")
        assert opened.detokenize(tokenizer.encode(TEXTS[1])).decode() == TEXTS[1]
        assert (opened.token_bos(), opened.token_eos()) == (tokenizer.endoftext, tokenizer.im_end)
        assert "<|im_start|>assistant" in opened.metadata["tokenizer.chat_template"]


def test_a_vocabulary_larger_than_the_tokenizer_is_filled_up(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer, vocab_size=tokenizer.vocab_size + 24)
    to_gguf(folder, tmp_path / "gguf" / "tried")
    with llama(tmp_path / "gguf" / "tried") as opened:
        assert opened.n_vocab() == tokenizer.vocab_size + 24


def test_the_manifest_says_what_it_came_from_and_the_same_again_changes_nothing(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer)
    made = tmp_path / "gguf" / "other-name"
    to_gguf(folder, made)
    about = files.read_manifest(made)
    assert (about["model"], about["run"], about["step"], about["architecture"]) == ("tried", 5, 12, "gpt2")
    assert about["model_sha256"] == files.read_manifest(folder)["sha256"]
    assert about["sha256"] == {"other-name.gguf": files.sha256(made / "other-name.gguf")}
    assert sorted(path.name for path in made.iterdir()) == ["manifest.json", "other-name.gguf"]
    before = (made / "manifest.json").stat().st_mtime_ns
    to_gguf(folder, made)
    assert (made / "manifest.json").stat().st_mtime_ns == before


def test_a_shape_that_llama_cpp_does_not_know_is_refused_with_what_is_in_the_way(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer, **preset("modern", qk_norm=False, mlp="relu2"))
    with pytest.raises(BadConfig, match=r"as qwen3; this model has .* and for qwen3 mlp=relu2 qk_norm=False: it can't"):
        to_gguf(folder, tmp_path / "gguf" / "tried")
    assert not (tmp_path / "gguf").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # gguf's writer keeps its file open
def test_a_file_that_the_disk_has_no_room_for_is_taken_away_again(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            to_gguf(folder, tmp_path / "gguf" / "tried")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list((tmp_path / "gguf" / "tried").iterdir()) == []


def test_a_damaged_model_is_named(tokenizer, tmp_path):
    folder, _ = kept(tmp_path, tokenizer)
    (folder / archive.CONFIG).write_text(json.dumps({}))
    with pytest.raises(archive.DamagedModel, match=r"config.json is damaged"):
        to_gguf(folder, tmp_path / "gguf" / "tried")
