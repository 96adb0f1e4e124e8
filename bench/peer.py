"""nanoGPT beside us: the user's own checkout of it, given our weights, so that both do the same work.

Nothing of it is here: model.py is loaded from where the user says (github.com/karpathy/nanoGPT), and its loop's step is
what its train.py does between two batches. On the CPU that trains in float32; autocast is given to it there, too, when
it is measured in bfloat16.
"""

import contextlib
import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gpt.config import BadConfig, TrainConfig
from gpt.data import Batch
from gpt.model import GPT

IGNORE = -1  # a target that gives no loss, in its words
NAMES = {  # theirs: ours; both keep the queries' rows first, then keys', then values'
    "transformer.wte": "wte",
    "transformer.wpe": "wpe",
    "transformer.ln_f": "norm",
    "ln_1": "attn_norm",
    "ln_2": "mlp_norm",
    "attn.c_attn": "attn.qkv",
    "attn.c_proj": "attn.out",
    "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}


def checkout(folder: Path) -> ModuleType:
    """Its model.py as a module. Raises BadConfig when there is none."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    if spec is None or spec.loader is None or not (folder / "model.py").is_file():
        raise BadConfig(f"{folder} holds no model.py: give the folder of a checkout of github.com/karpathy/nanoGPT")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Peer:
    """Its model with our weights, its optimizer, its step."""

    def __init__(
        self, folder: Path, model: GPT, config: TrainConfig, dtype: torch.dtype, *, compiled: bool = False
    ) -> None:
        shape = model.config
        if (shape.pos, shape.norm, shape.mlp, shape.tied, shape.qk_norm) != ("learned", "layer", "gelu", True, False):
            raise BadConfig("nanoGPT has learned positions, layer norms, a GELU, a tied head and nothing else")
        module = checkout(folder)
        sizes = {"block_size": shape.positions, "vocab_size": shape.vocab_size, "n_layer": shape.n_layer}
        sizes |= {"n_head": shape.n_head, "n_embd": shape.n_embd, "bias": shape.bias, "dropout": shape.dropout}
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its number of parameters
            self.plain = module.GPT(module.GPTConfig(**sizes)).to(model.device)
            decay = config.weight_decay[0][1]
            self.optimizer = self.plain.configure_optimizers(decay, config.lr, config.betas, model.device.type)
        self.plain.load_state_dict(weights_for_it(model))
        self.model: Any = torch.compile(self.plain) if compiled else self.plain
        self.device, self.dtype, self.grad_clip = model.device, dtype, config.grad_clip

    def step(self, batches: list[tuple[Tensor, Tensor]], lr: float) -> float:
        """One step of its train.py, of so many micro-batches (tokens, targets); the mean of their losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        total = 0.0
        for x_BT, y_BT in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                _, loss = self.model(x_BT, y_BT)
                loss = loss / len(batches)
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.plain.parameters(), self.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(total)


def padded_rows(batch: Batch, most: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """(tokens, targets) of a batch with one document a row, padded to the longest: what it can be given of them.

    most: slots of a piece, so that its memory is as of a packed micro-batch; one row at least.
    """
    documents, length = batch.docs.spans, batch.docs.longest
    targets = torch.full_like(batch.tokens_T, IGNORE).index_copy(0, batch.rows_R, batch.labels_R)
    x, y = torch.zeros((len(documents), length), dtype=torch.int64), torch.full((len(documents), length), IGNORE)
    for row, (start, end) in enumerate(documents):
        x[row, : end - start] = batch.tokens_T[start:end]
        y[row, : end - start] = targets[start:end]
    rows = max(1, most // length)
    return [(x[at : at + rows].to(device), y[at : at + rows].to(device)) for at in range(0, len(documents), rows)]


def weights_for_it(model: GPT) -> dict[str, Tensor]:
    """Our weights under its names."""
    found = {}
    for name, tensor in model.state_dict().items():
        theirs = name.replace("blocks.", "transformer.h.")
        for its, our in NAMES.items():
            if name.startswith(our + ".") or f".{our}." in name:
                theirs = theirs.replace(f"{our}.", f"{its}.")
                break
        found[theirs] = tensor.clone()
    return found | {"lm_head.weight": found["transformer.wte.weight"]}
