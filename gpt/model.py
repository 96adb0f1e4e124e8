"""The GPT. One flat row of T tokens, documents side by side; attention and positions know where each begins.

T tokens, C width (n_embd), H query heads, G key/value heads, D head size, V vocabulary.
Weights are fp32 masters, cast inside each layer to the stream's dtype: fp32 on the CPU, bf16 on CUDA.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt.attention import BACKENDS, Attend, Documents
from gpt.config import GPTConfig

# q (..., H, D), k and v (..., G, D) -> (..., H, D): how positions see each other; training and sampling bring their own
Mix = Callable[[Tensor, Tensor, Tensor], Tensor]
Turns = tuple[Tensor, Tensor] | None  # cosines and sines (..., 1, D / 2) of the rows' positions; None without rope
ROPE_BASE = 10_000.0  # arXiv:2104.09864


class Linear(nn.Linear):
    """A linear layer whose fp32 weights follow the stream's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Norm(nn.Module):
    """LayerNorm, or RMSNorm, over the last axis, with a learned gain (and bias)."""

    def __init__(self, size: int, kind: str, bias: bool) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias and kind == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        if self.kind == "rms":
            return F.rms_norm(x, weight.shape, weight)
        return F.layer_norm(x, weight.shape, weight, None if self.bias is None else self.bias.to(x.dtype))


class Attention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        heads = config.n_head + 2 * config.kv_heads
        self.qkv = Linear(config.n_embd, heads * config.head_size, bias=config.bias)
        self.out = Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.q_norm = Norm(config.head_size, config.norm, bias=False) if config.qk_norm else None
        self.k_norm = Norm(config.head_size, config.norm, bias=False) if config.qk_norm else None

    def split(self, x_TC: Tensor, turns: Turns) -> tuple[Tensor, Tensor, Tensor]:
        """x: (..., C). Gives q (..., H, D), k and v (..., G, D), normed and turned as configured."""
        heads = self.config.n_head, self.config.kv_heads, self.config.kv_heads
        q, k, v = self.qkv(x_TC).unflatten(-1, (sum(heads), -1)).split(heads, dim=-2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        return q, k, v


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        gated = config.mlp == "swiglu"
        self.up = Linear(config.n_embd, (2 if gated else 1) * config.mlp_width, bias=config.bias)
        self.down = Linear(config.mlp_width, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(x)
        if self.kind == "swiglu":  # arXiv:2002.05202: one half of the columns opens the other
            gate, value = hidden.chunk(2, dim=-1)
            return cast(Tensor, self.down(F.silu(gate) * value))
        # exact GELU: on the CPU it is faster than the tanh form, and than relu squared
        return cast(Tensor, self.down(F.gelu(hidden) if self.kind == "gelu" else F.relu(hidden).square()))


class Block(nn.Module):
    """One layer, in two halves with what rows see of each other between them: only that knows of documents."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attn_norm = Norm(config.n_embd, config.norm, config.bias)
        self.attn = Attention(config)
        self.mlp_norm = Norm(config.n_embd, config.norm, config.bias)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TC: Tensor, turns: Turns, mix: Mix, rows: Tensor | None = None) -> Tensor:
        """rows: give only these, (R, C); attention reads all of them all the same."""
        return self.after(x_TC, mix(*self.before(x_TC, turns)), rows)

    def before(self, x_TC: Tensor, turns: Turns) -> tuple[Tensor, Tensor, Tensor]:
        """The queries, keys and values."""
        return self.attn.split(self.attn_norm(x_TC), turns)

    def after(self, x_TC: Tensor, y_THD: Tensor, rows: Tensor | None) -> Tensor:
        """What attention gave, through its projection and the MLP, on to the stream."""
        x_TC = x_TC + self.dropout(self.attn.out(y_THD.flatten(-2)))
        x_RC = x_TC if rows is None else x_TC.index_select(0, rows)
        return x_RC + cast(Tensor, self.dropout(self.mlp(self.mlp_norm(x_RC))))


class GPT(nn.Module):
    """tokens -> hidden -> logits. The head is apart from the body: training asks it for the labelled rows only.

    A new model's weights depend on config and seed alone.

    parameter          starts as
    embeddings         normal, std 0.02
    linear weights     normal, std 0.02 at width 768, else 0.02 * sqrt(768 / width in)
    out, down          the same / sqrt(2 * n_layer): the residual stream does not grow with depth (GPT-2)
    biases, gains      0, 1
    """

    def __init__(self, config: GPTConfig, *, seed: int = 0, attention: str = "loop") -> None:
        super().__init__()
        self.config = config
        self.attend: Attend = BACKENDS[attention]
        self.dtype = torch.float32
        self.recompute = (
            False  # in backward each block's forward runs again: a third more work, a sixteenth of the memory
        )
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.positions, config.n_embd) if config.pos == "learned" else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = Norm(config.n_embd, config.norm, config.bias)
        self.head = None if config.tied else Linear(config.n_embd, config.vocab_size, bias=False)
        self._init_weights(torch.Generator().manual_seed(seed))

    def use_attention(self, name: str) -> None:
        """Take a backend by name, as attention.choose resolved it."""
        self.attend = BACKENDS[name]

    @property
    def head_weight(self) -> Tensor:
        """(V, C)"""
        return self.wte.weight if self.head is None else self.head.weight

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    @torch.no_grad()
    def _init_weights(self, generator: torch.Generator) -> None:
        depth = math.sqrt(2 * self.config.n_layer)
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                nn.init.ones_(parameter)
            elif parameter.ndim < 2:
                nn.init.zeros_(parameter)
            else:
                embedding = name.startswith(("wte", "wpe", "head"))
                std = 0.02 if embedding else 0.02 * math.sqrt(768 / parameter.shape[1])
                std /= depth if name.endswith(("out.weight", "down.weight")) else 1
                nn.init.normal_(parameter, std=std, generator=generator)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """(...) token ids and positions -> (..., C)"""
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe(positions)
        return cast(Tensor, self.dropout(x)).to(self.dtype)

    def turns(self, positions: Tensor) -> Turns:
        """How far each row's queries and keys are turned: the same in every layer."""
        if self.config.pos != "rope":
            return None
        half = self.config.head_size // 2
        speed = ROPE_BASE ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
        angle = positions[..., None, None].float() * speed
        return angle.cos().to(self.dtype), angle.sin().to(self.dtype)

    def forward(self, tokens_T: Tensor, docs: Documents, rows: Tensor | None = None) -> Tensor:
        """(T,) token ids -> (T, C) hidden, ready for the head.

        rows: (R,) int64, ascending, the rows that are wanted -> (R, C). Past the last attention no row needs another,
        so the others stop there: with 40 % of rows labelled, most of the last MLP is saved.
        """
        mix = partial(self.attend, docs=docs)
        rows = None if rows is not None and len(rows) == len(tokens_T) else rows  # all of them, in their order
        x_TC, turns = self.embed(tokens_T, docs.positions), self.turns(docs.positions)
        for block in self.blocks[:-1]:
            x_TC = self._through(block, x_TC, turns, mix)
        return cast(Tensor, self.norm(self._through(self.blocks[-1], x_TC, turns, mix, rows)))

    def _through(self, block: nn.Module, x_TC: Tensor, *more: object) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, x_TC, *more, use_reentrant=False))  # dropout draws the same again
        return cast(Tensor, block(x_TC, *more))

    def logits(self, x_TC: Tensor) -> Tensor:
        """(..., C) -> (..., V) fp32"""
        return F.linear(x_TC, self.head_weight.to(x_TC.dtype)).float()

    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def rotate(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding. x: (..., heads, D), D even."""
    cos, sin = turns
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def flops_per_token(config: GPTConfig, mean_attended: float, labelled_share: float = 1.0) -> float:
    """Floating point operations per trained token, forward and backward.

    mean_attended: sum of squared document lengths / tokens, so half of it is what a causal query sees on average.
    labelled_share: of tokens whose row goes through the head. 6 per matmul weight (2 forward, 4 backward).
    """
    heads = (config.n_head + 2 * config.kv_heads) * config.head_size
    block = config.n_embd * heads + config.n_embd**2 + config.mlp_weights
    weights = config.n_layer * block + labelled_share * config.vocab_size * config.n_embd
    return 6 * weights + 6 * config.n_layer * config.n_embd * mean_attended
