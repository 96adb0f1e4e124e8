"""The optimizer: AdamW for every parameter, or Muon for the blocks' matrices and AdamW for the rest.

Matrices decay, gains and biases do not. It is one thing to its user, whatever it is made of.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


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
    """

    def __init__(self, model: nn.Module, kind: str, *, betas: tuple[float, float], eps: float) -> None:
        matrices, vectors = split_parameters(model)
        turned = of_blocks(model) if kind == "muon" else set()
        groups = [
            {"params": [p for p in matrices if p not in turned], "decays": True},
            {"params": vectors, "decays": False},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=0.0, fused=True)
        ]
        if turned:
            group = {"params": [p for p in matrices if p in turned], "decays": True}
            self.parts.append(torch.optim.Muon([group], lr=0.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}

    def groups(self) -> Iterable[dict[str, object]]:
        return (group for part in self.parts for group in part.param_groups)

    def set_rates(self, lr: float, decay: float) -> None:
        for group in self.groups():
            group["lr"] = lr
            group["weight_decay"] = decay if group["decays"] else 0.0

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Its state by parameter name: '<name>|exp_avg' and so on."""
        return {
            f"{self.names[parameter]}|{key}": value
            for part in self.parts
            for parameter, state in part.state.items()
            for key, value in state.items()
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """The reverse, into a new one. Tensors go to their parameter's device."""
        owners = {self.names[p]: (part, p) for part in self.parts for g in part.param_groups for p in g["params"]}
        for key, tensor in tensors.items():
            name, what = key.rsplit("|", 1)
            part, parameter = owners[name]
            part.state[parameter][what] = tensor.to(parameter.device, copy=True)
