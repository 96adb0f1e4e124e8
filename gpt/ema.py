"""An average of the weights of the last steps: less noise than the newest ones have, at any learning rate.

A plain mean at first, exponential after that. It is what is evaluated and kept as a model; training never sees it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gpt.model import GPT


class Ema:
    """average: by parameter name, fp32, on the model's device. decay: 0 to below 1: about 1/(1 - decay) steps count."""

    def __init__(self, model: GPT, decay: float) -> None:
        self.decay = decay
        self.average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: GPT, step: int) -> None:
        """Take in the weights after step 1, 2, ... Only the model and these numbers decide what comes out."""
        share = max(1 - self.decay, 1 / step)
        for name, parameter in model.named_parameters():
            self.average[name].lerp_(parameter, share)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """As a checkpoint holds it."""
        for name, average in self.average.items():
            average.copy_(tensors[name])

    @contextmanager
    def shown(self, model: GPT) -> Iterator[None]:
        """Inside, the model has the averages for its weights; afterwards its own again, not a bit of them changed."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    def _swap(self, model: GPT) -> None:
        for name, parameter in model.named_parameters():
            parameter.data, self.average[name] = self.average[name], parameter.data
