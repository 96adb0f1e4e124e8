"""The optimizer: AdamW for every parameter, the same with moments of a byte each, or Muon for the blocks' matrices and
AdamW for the rest.

Matrices decay, gains and biases do not. It is one thing to its user, whatever it is made of.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gpt import compiled


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices, which decay; gains and biases, which do not). Every parameter is in exactly one."""
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    assert len(matrices) + len(vectors) == len(parameters), "a parameter would not train"
    assert all(p.requires_grad for p in parameters), "a parameter would not train"
    return matrices, vectors


def of_blocks(model: nn.Module) -> set[nn.Parameter]:
    """The matrices inside the blocks: what Muon is made for. The embeddings and the head are tables of rows."""
    return {p for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 2}


class Optimizer:
    """torch's optimizers, one or two, with one learning rate. kind: one of config.OPTIMIZERS.

    Muon's steps are scaled to the size of AdamW's ("match_rms_adamw", arXiv:2502.16982), so the same rate and the same
    decay serve both. AdamW is fused: one kernel, on the CPU too. Rate and decay are set for each step by set_rates.
    adamw8bit is torchao's; its step is compiled on a card where a compiler is there, else it is slow.
    """

    def __init__(self, model: nn.Module, kind: str, *, betas: tuple[float, float], eps: float) -> None:
        matrices, vectors = split_parameters(model)
        turned = of_blocks(model) if kind == "muon" else set()
        groups = [
            {"params": [p for p in matrices if p not in turned], "decays": True},
            {"params": vectors, "decays": False},
        ]
        self.eight_bit = kind == "adamw8bit"
        self.as_written = self.eight_bit and not compiled.choose("auto", str(matrices[0].device))
        self.parts: list[torch.optim.Optimizer] = [
            _eight_bit(groups, betas=betas, eps=eps)
            if self.eight_bit
            else torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=0.0, fused=True)
        ]
        if turned:
            group = {"params": [p for p in matrices if p in turned], "decays": True}
            self.parts.append(torch.optim.Muon([group], lr=0.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}

    def groups(self) -> Iterable[dict[str, Any]]:
        return (group for part in self.parts for group in part.param_groups)

    def set_rates(self, lr: float, decay: float) -> None:
        for group in self.groups():
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)  # a compiled step reads it there
            else:
                group["lr"] = lr
            group["weight_decay"] = decay if group["decays"] else 0.0

    def step(self) -> None:
        with torch.compiler.set_stance("force_eager") if self.as_written else nullcontext():
            for part in self.parts:
                part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Its state by parameter name: '<name>|exp_avg' and so on; of a moment in 8 bits '<name>|exp_avg.codes' ..."""
        return {
            f"{self.names[parameter]}|{key}": tensor
            for part in self.parts
            for parameter, state in part.state.items()
            for what, value in state.items()
            for key, tensor in _plain(what, value)
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The reverse, into a new one. Tensors go to their parameter's device."""
        owners = {self.names[p]: (part, p) for part in self.parts for g in part.param_groups for p in g["params"]}
        pieces: dict[tuple[str, str], dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, what = key.rsplit("|", 1)
            part, parameter = owners[name]
            at = "cpu" if self.eight_bit and what == "step" else parameter.device  # torchao counts its steps there
            what, _, piece = what.partition(".")
            if piece:
                pieces.setdefault((name, what), {})[piece] = tensor.to(at, copy=True)
            else:
                part.state[parameter][what] = tensor.to(at, copy=True)
        for (name, what), of in pieces.items():
            part, parameter = owners[name]
            part.state[parameter][what] = _quantised(what, of)


# ── moments of a byte each ────────────────────────────────────────────────────────────────────────────────────────

PARTS = (
    "codes",
    "scale",
    "qmap",
)  # of a moment: a byte for each weight, a scale for 256 of them, what a byte stands for


def _eight_bit(groups: list[dict[str, Any]], *, betas: tuple[float, float], eps: float) -> torch.optim.Optimizer:
    """AdamW as in arXiv:2110.02861: a byte for each moment, a scale for every 256. Short vectors stay fp32."""
    from torchao.optim import AdamW8bit

    made: torch.optim.Optimizer = AdamW8bit(groups, lr=0.0, betas=betas, eps=eps, weight_decay=0.0)
    return made


def _plain(what: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A state as tensors that a file can hold: itself, or the parts that a quantised one is made of."""
    if type(value) is Tensor:
        yield what, value
    else:
        yield from ((f"{what}.{part}", getattr(value, part)) for part in PARTS)


def _quantised(what: str, parts: dict[str, Tensor]) -> Tensor:
    """The reverse. Only the first moment has a sign."""
    from torchao.optim.subclass_8bit import OptimState8bit

    made: Tensor = OptimState8bit(**parts, signed=what == "exp_avg", dtype=torch.float32)
    return made
