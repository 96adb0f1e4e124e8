"""torch.compile for a training's blocks: when, what of them, in which shapes, and where it is kept.

What is compiled is what lies between two attentions: norm, projections, rotation on the one side, residual and MLP on
the other. All blocks share the two pieces, so a model of any depth compiles as fast as a block. Attention stays
outside: it alone knows of documents, whose number and lengths change with every micro-batch, and is one fused kernel
already. So the only shape the compiler sees is the number of tokens, and that is kept the same (padded); labelled rows
may vary.

torch keeps what it compiled in a folder; a run that comes back finds it there, by the hash of what it asks for.
"""

import fcntl
import importlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo
import torch._inductor.config
from torch.utils._triton import has_triton_package

from datagen import files
from gpt.attention import Documents
from gpt.config import BadConfig
from gpt.data import Batch
from gpt.model import GPT, Block

COMPILERS = ("cc", "gcc", "clang")  # Triton takes the first of these that is there for what launches a kernel


def choose(name: str, device: str) -> bool:
    """Resolve one of config.COMPILES. "auto": on CUDA, where Triton and a C compiler are there; "on" is obeyed or
    refused. Raises BadConfig."""
    on_card = device.startswith("cuda")
    if name == "off" or (name == "auto" and not on_card):
        return False
    missing = _missing(on_card)
    if missing and name == "on":
        raise BadConfig(f"compile='on' takes {missing}, which is not here: install it, or take auto or off")
    return not missing


def _missing(on_card: bool) -> str | None:
    """What torch.compile would fail without, in words."""
    if on_card:
        if not has_triton_package():
            return "Triton (python -m pip install triton)"
        return None if any(map(shutil.which, COMPILERS)) else "a C compiler (apt install gcc)"
    return None if any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))) else "a C++ compiler (g++)"


def warm(name: str) -> None:
    """Import what compiling takes, which is seconds, where this torch will compile. Touches no card."""
    if name == "on" or (name == "auto" and torch.version.cuda is not None):
        importlib.import_module("torch._inductor.compile_fx")


class Cache:
    """The folder in which torch looks for compiled kernels, and keeps new ones. It may be deleted at any time.

    torch flushes nothing to the disk, and dies of files that lost their end. So whoever compiles holds a mark until
    what it made has served for a step and is on the disk; a mark that nobody holds any more condemns the folder.
    For this user alone: torch reads parts of it as pickles. Made after torch's import, but before it compiles.
    """

    def __init__(self, folder: Path) -> None:
        self.mark = folder.with_suffix(".unproven")
        folder.parent.mkdir(parents=True, exist_ok=True)
        left = self.mark.exists()
        self.held = open(self.mark, "a")  # noqa: SIM115 (as long as we hold it)
        try:
            fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody is at it, and answers for it
            self.held.close()
        else:
            files.sync_folder(folder.parent)
            if left:
                shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True, mode=0o700)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)

    def proven(self) -> None:
        """A step is done with what is there. Called again it does nothing."""
        if not self.held.closed:
            os.sync()
            self.mark.unlink(missing_ok=True)
            self.held.close()


def use_deterministic(wanted: bool) -> None:
    """The same bits from the same run again, of the whole process. Before anything is compiled or runs on a card."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses
    torch.use_deterministic_algorithms(wanted)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # for debugging: a write each


def compile_blocks(model: GPT) -> None:
    """From now on the blocks' two halves are compiled, each when it is first needed."""
    torch._inductor.config.compile_threads = 1  # a handful of kernels; its helper processes would outlive a kill
    for block in model.blocks:
        assert isinstance(block, Block)
        block.before = torch.compile(block.before, dynamic=False)  # type: ignore[method-assign]
        block.after = torch.compile(block.after, dynamic=False)  # type: ignore[method-assign]


def padded(batch: Batch, num_tokens: int) -> Batch:
    """The batch in the compiler's shape: documents without labels at the end, of which nothing comes back."""
    have = len(batch.tokens_T)
    if have == num_tokens:
        filled = batch
    else:
        ends = range(have, num_tokens, max(1, batch.docs.longest))  # no longer than others: positions have an end
        docs = Documents((*batch.docs.bounds[:-1], *ends, num_tokens), batch.docs.device)
        tokens = torch.nn.functional.pad(batch.tokens_T, (0, num_tokens - have))
        filled = replace(batch, tokens_T=tokens, docs=docs)
    if len(batch.rows_R):
        torch._dynamo.maybe_mark_dynamic(filled.rows_R, 0)
    return filled
