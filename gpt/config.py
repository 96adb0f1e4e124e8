"""The shape of a GPT: what is needed to build one, and nothing about how it is trained. Standard library only."""

from dataclasses import asdict, dataclass, fields
from typing import Any


class BadConfig(ValueError):
    """A model or a training that can't be: what we got, what we take."""


CHOICES = {"pos": ("learned", "rope"), "norm": ("layer", "rms"), "mlp": ("gelu", "relu2")}


@dataclass(frozen=True)
class GPTConfig:
    """GPT-2's names and shape by default; every field is written into the model's config.json.

    n_kv_head: key/value heads, n_head / n_kv_head query heads share one (None = n_head, no sharing).
    num_positions: rows of the learned position table (None = context_len); unused with pos="rope".
    bias: biases in the linear layers and the layer norms. tied: the head is the token embedding.
    qk_norm: normalise each query and key head before attention.
    """

    n_layer: int = 18
    n_head: int = 12
    n_kv_head: int | None = None
    n_embd: int = 768
    vocab_size: int = 32_000
    context_len: int = 4096
    num_positions: int | None = None
    bias: bool = True
    pos: str = "learned"
    norm: str = "layer"
    mlp: str = "gelu"
    tied: bool = False
    qk_norm: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("n_layer", "n_head", "n_embd", "vocab_size", "context_len"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name}={getattr(self, name)}: take 1 or more")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise BadConfig(f"{name}={getattr(self, name)!r}: take one of {', '.join(choices)}")
        if self.n_embd % self.n_head or (self.pos == "rope" and self.head_size % 2):
            raise BadConfig(
                f"n_embd={self.n_embd} does not split into n_head={self.n_head} heads"
                f"{' of an even size' if self.pos == 'rope' else ''}: take a multiple"
            )
        if self.kv_heads < 1 or self.n_head % self.kv_heads:
            raise BadConfig(f"n_kv_head={self.n_kv_head} does not divide n_head={self.n_head}")
        if self.positions < self.context_len:
            raise BadConfig(f"num_positions={self.num_positions} is less than context_len={self.context_len}")
        if not 0 <= self.dropout < 1:
            raise BadConfig(f"dropout={self.dropout}: take 0 to below 1")

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_heads(self) -> int:
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def positions(self) -> int:
        return self.context_len if self.num_positions is None else self.num_positions

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> "GPTConfig":
        """A config.json's content. Raises BadConfig for a field this version does not know."""
        if unknown := set(given) - {field.name for field in fields(cls)}:
            raise BadConfig(f"config.json has {', '.join(sorted(unknown))}, which this version does not know: update")
        return cls(**given)
