"""Compiled blocks: the same training as without, kept for the next start, never a reason that one fails."""

import fcntl
import hashlib
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt import checkpoint, compiled
from gpt.config import BadConfig, TrainConfig
from gpt.data import read_batch
from gpt.model import GPT
from gpt.shards import open_pack
from gpt.train import Trainer, batch_loss
from tests.gpt.tiny import CONTEXT_LEN, config, make_pack, shape


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("pack") / "tiny")


def steps(settings: TrainConfig, workdir: Path, cache: Path, num: int) -> tuple[list[float], str, dict[str, int]]:
    """So many steps from the newest checkpoint on: losses, sha256 of the state then, what the compiler counted."""
    from torch._dynamo.utils import counters

    kept = compiled.Cache(cache)
    found = checkpoint.load_newest(workdir / "checkpoint", print)
    trainer = Trainer(settings, workdir, found, open_pack(settings.pack), tell=print)
    losses = []
    for _ in range(num):
        step = trainer.advance(lambda: False)
        assert step is not None
        kept.proven()
        losses.append(step.loss)
        trainer.save()
    trainer.close()
    newest = checkpoint.saved(workdir / "checkpoint")[0]
    state = b"".join(path.read_bytes() for path in sorted(newest.glob("*.safetensors")))
    return losses, hashlib.sha256(state).hexdigest(), dict(counters["inductor"])


@pytest.mark.filterwarnings("ignore")  # torch warns itself while it compiles
def test_compiled_equals_eager_and_coming_back_finds_it_compiled_and_ends_with_the_same_bits(
    pack, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    common: dict[str, Any] = {"model": shape(n_layer=1), "eval_every": 1000, "threads": 2, "deterministic": True}
    plain, _, _ = steps(config(pack, **common), tmp_path / "eager", tmp_path / "none", 4)
    settings, cache = config(pack, compile="on", **common), tmp_path / "cache" / "compiled"
    losses, state, counted = steps(settings, tmp_path / "straight", cache, 4)
    assert losses == pytest.approx(plain, rel=1e-5)
    assert counted["fxgraph_cache_miss"] > 0, "nothing was compiled"
    assert counted["fxgraph_cache_miss"] < 20, "a shape that changes compiles again and again"
    assert not cache.with_suffix(".unproven").exists()

    middle = checkpoint.saved(tmp_path / "straight" / "checkpoint")[1]  # the newest but one
    shutil.copytree(middle, tmp_path / "resumed" / "checkpoint" / middle.name)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as another:
        again, state_again, found = another.submit(steps, settings, tmp_path / "resumed", cache, 1).result()
    assert found.get("fxgraph_cache_miss", 0) == 0
    assert found["fxgraph_cache_hit"] > 0
    assert again == losses[3:]
    assert state_again == state


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="compiled for a card on a card only")
def test_on_the_card_compiled_and_deterministic_gives_the_same_bits_twice_and_eager_the_same_losses(
    pack, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    common: dict[str, Any] = {"model": shape(), "eval_every": 1000, "device": "cuda", "deterministic": True}
    plain, _, _ = steps(config(pack, compile="off", **common), tmp_path / "eager", tmp_path / "none", 4)
    runs = [steps(config(pack, **common), tmp_path / name, tmp_path / "cache" / "compiled", 4) for name in "ab"]
    assert runs[0][:2] == runs[1][:2]
    assert runs[0][0] == pytest.approx(plain, rel=1e-2)


@pytest.mark.parametrize("changes", [{}, {"pos": "rope", "qk_norm": True, "norm": "rms", "bias": False}], ids=str)
def test_documents_that_fill_up_the_row_change_no_loss_and_no_gradient(pack, changes):
    model = GPT(shape(**changes), seed=3, attention="bucket")
    batch = read_batch(open_pack(pack), "train", [0, 1, 2])
    filled = compiled.padded(batch, 3 * CONTEXT_LEN + 40)
    assert len(filled.tokens_T) == 3 * CONTEXT_LEN + 40 > len(batch.tokens_T)
    assert filled.docs.longest == batch.docs.longest, "else positions past the table"
    found = []
    for one in (batch, filled):
        loss = batch_loss(model, one)
        found.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_auto_is_off_without_a_card_and_on_is_refused_where_nothing_compiles(monkeypatch):
    assert not compiled.choose("auto", "cpu")
    assert not compiled.choose("off", "cuda")
    assert compiled.choose("on", "cpu"), "the tests compile llama.cpp, so there is a compiler"
    monkeypatch.setattr(compiled, "has_triton_package", lambda: True)
    assert compiled.choose("auto", "cuda")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not compiled.choose("auto", "cuda")
    with pytest.raises(BadConfig, match="apt install gcc"):
        compiled.choose("on", "cuda:0")
    with pytest.raises(BadConfig, match=r"g\+\+"):
        compiled.choose("on", "cpu")
    monkeypatch.setattr(compiled, "has_triton_package", lambda: False)
    with pytest.raises(BadConfig, match="Triton"):
        compiled.choose("on", "cuda")


def test_what_died_before_its_first_step_leaves_no_half_compiled_kernels_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    folder = tmp_path / "cache" / "compiled"
    first = compiled.Cache(folder)
    (folder / "kernel.so").write_bytes(b"")
    other = compiled.Cache(folder)  # while the first is at it: nothing is taken from it
    other.proven()
    assert (folder / "kernel.so").exists()
    first.held.close()  # the kernel does that for who dies
    second = compiled.Cache(folder)
    assert not (folder / "kernel.so").exists()
    (folder / "kernel.so").write_bytes(b"whole")
    second.proven()
    second.proven()
    third = compiled.Cache(folder)
    assert (folder / "kernel.so").read_bytes() == b"whole"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    assert folder.stat().st_mode & 0o077 == 0
    fcntl.flock(third.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    third.proven()
