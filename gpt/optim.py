"""AdamW over every parameter: matrices decay, the rest does not."""

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


def make_optimizer(model: nn.Module, betas: tuple[float, float], eps: float) -> torch.optim.AdamW:
    """lr and weight decay are set anew for each step by set_rates. Fused: one kernel, on the CPU too."""
    matrices, vectors = split_parameters(model)
    groups = [{"params": matrices, "decays": True}, {"params": vectors, "decays": False}]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=eps, weight_decay=0.0, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, lr: float, decay: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
        group["weight_decay"] = decay if group["decays"] else 0.0


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: '<name>|exp_avg' and so on."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{name}|{key}": value for parameter, name in names.items() for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The reverse. Tensors go to their parameter's device, but the step counter stays where AdamW made it."""
    parameters = dict(model.named_parameters())
    for key, tensor in tensors.items():
        name, what = key.rsplit("|", 1)
        parameter = parameters[name]
        optimizer.state[parameter][what] = tensor.to(parameter.device, copy=True)
