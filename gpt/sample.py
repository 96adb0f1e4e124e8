"""Answers from a model: many prompts at once, keys and values kept, rows that have finished dropped.

B prompts of a batch, T tokens of them all, S cached positions, C width, H query heads, G key/value heads, D head size.
A prompt keeps its own positions whatever stands beside it, so cached and batched equals one at a time.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt.attention import Documents, attend_bucket
from gpt.config import BadConfig
from gpt.model import GPT, Block

PREFILL_TOKENS = 2048  # of prompts, read at a time


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token. temperature 0 is greedy; top_k, top_p, min_p: None is off; seed counts when not
    greedy. repetition_penalty above 1 makes tokens that stand in the prompt or the answer less likely."""

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not 0 <= self.temperature < math.inf:
            raise BadConfig(
                f"max_new_tokens={self.max_new_tokens}, temperature={self.temperature}: take 1 or more, and 0 or more"
            )
        if not 0 <= self.seed < 2**63:
            raise BadConfig(f"seed={self.seed}: take 0 to below 2^63")
        if (self.top_k is not None and self.top_k < 1) or (self.top_p is not None and not 0 < self.top_p <= 1):
            raise BadConfig(f"top_k={self.top_k}, top_p={self.top_p}: take 1 or more, above 0 to 1, or none")
        if (self.min_p is not None and not 0 < self.min_p <= 1) or not 1 <= self.repetition_penalty < math.inf:
            raise BadConfig(
                f"min_p={self.min_p}, repetition_penalty={self.repetition_penalty}: take above 0 to 1 or none, and "
                f"1 (off) or more"
            )


@dataclass(frozen=True)
class Completion:
    """What came after a prompt, without the stop token. stopped: it ended by itself; else the length was used up."""

    tokens: list[int]
    stopped: bool


class Cache:
    """Keys and values of B rows, every layer. Row b holds lengths[b] tokens; what lies behind is never looked at."""

    def __init__(self, model: GPT, rows: int, size: int) -> None:
        config = model.config
        shape = (config.n_layer, rows, config.kv_heads, size, config.head_size)
        self.k, self.v = (torch.zeros(shape, dtype=model.dtype, device=model.device) for _ in range(2))
        self.lengths = torch.zeros(rows, dtype=torch.int64, device=model.device)

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Forget all rows but these. Gives the order in which they stand now.

        The last ones move to where others left, so what is copied is as much as what is forgotten, not as what stays.
        """
        num, kept = len(rows), set(rows)
        holes = [row for row in range(num) if row not in kept]
        movers = [row for row in rows if row >= num]
        for x in (self.k, self.v):
            x[:, holes] = x[:, movers]
        self.k, self.v = self.k[:, :num], self.v[:, :num]
        order = list(range(num))
        for hole, mover in zip(holes, movers, strict=True):
            order[hole] = mover
        self.lengths = self.lengths[torch.tensor(order, device=self.lengths.device)]
        return order


@torch.inference_mode()
def generate(
    model: GPT, prompts: Sequence[Sequence[int]], sampling: Sampling, *, stop_token: int | None
) -> list[Completion]:
    """Complete each prompt, all in one batch, in their order. A prompt has 1 to context_len tokens.

    A row that reaches context_len ends there, unstopped. Raises BadConfig for a prompt that does not fit.
    """
    check_prompts(model, prompts)
    model.eval()
    lengths = [len(prompt) for prompt in prompts]
    limit = model.config.context_len
    cache = Cache(model, len(prompts), min(limit, max(lengths) + sampling.max_new_tokens))
    generator = torch.Generator(model.device).manual_seed(sampling.seed)
    out: list[list[int]] = [[] for _ in prompts]
    stopped = [False] * len(prompts)
    alive = list(range(len(prompts)))  # which prompt each cached row belongs to
    logits_BV = prefill(model, cache, prompts)
    while True:
        if sampling.repetition_penalty != 1:
            said = [[*prompts[index], *out[index]] for index in alive]
            logits_BV = penalize(logits_BV, said, sampling.repetition_penalty)
        chosen = choose_tokens(logits_BV, sampling, generator).tolist()
        going = []
        for row, (index, token) in enumerate(zip(alive, chosen, strict=True)):
            if token == stop_token:
                stopped[index] = True
                continue
            out[index].append(token)
            if len(out[index]) < sampling.max_new_tokens and lengths[index] + len(out[index]) < limit:
                going.append(row)
        if not going:
            return [Completion(tokens, end) for tokens, end in zip(out, stopped, strict=True)]
        if len(going) < len(alive):
            going = cache.keep(going)
            alive = [alive[row] for row in going]
        logits_BV = advance(model, cache, [chosen[row] for row in going])


def generate_all(
    model: GPT, prompts: Sequence[Sequence[int]], sampling: Sampling, *, stop_token: int | None, batch: int
) -> Iterator[dict[int, Completion]]:
    """generate, batch by batch, shortest prompts first: little padding. Yields {index of the prompt: completion}."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        indices = order[start : start + batch]
        done = generate(model, [prompts[i] for i in indices], sampling, stop_token=stop_token)
        yield dict(zip(indices, done, strict=True))


def past_training(
    model: GPT, longest: int | None, prompts: Sequence[Sequence[int]], completions: Sequence[Completion]
) -> list[int]:
    """Which of them stand, prompt and completion together, past the longest document of the training; None: not known.

    Rows of a learned position table past it are as they were at the start, so what stands there is guesswork.
    """
    if longest is None or model.config.pos != "learned":
        return []
    both = zip(prompts, completions, strict=True)
    return [index for index, (prompt, done) in enumerate(both) if len(prompt) + len(done.tokens) > longest]


def check_prompts(model: GPT, prompts: Sequence[Sequence[int]]) -> None:
    longest = max(map(len, prompts), default=0)
    if not prompts or min(map(len, prompts)) < 1 or longest > model.config.context_len:
        raise BadConfig(
            f"{len(prompts)} prompts, the longest {longest} tokens: take one or more, of 1 to "
            f"{model.config.context_len} tokens each"
        )


def prefill(model: GPT, cache: Cache, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Run whole prompts. (B, V) logits of what follows.

    A few rows at a time: on the CPU a fifth quicker than all at once, whose numbers leave the cores' caches.
    """
    cache.lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    few = max(1, PREFILL_TOKENS // (sum(map(len, prompts)) // len(prompts)))
    parts = [_prefill(model, cache, at, prompts[at : at + few]) for at in range(0, len(prompts), few)]
    return torch.cat(parts)


def _prefill(model: GPT, cache: Cache, first: int, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Those of the cache's rows from `first` on, as the documents of one row: no padding."""
    ends = list(accumulate(len(prompt) for prompt in prompts))
    docs = Documents((0, *ends), model.device)
    lengths = cache.lengths[first : first + len(prompts)]
    row_T = torch.arange(first, first + len(prompts), device=model.device).repeat_interleave(lengths)
    last_B = torch.tensor(ends, device=model.device) - 1
    x_TC = model.embed(torch.tensor([token for prompt in prompts for token in prompt]).to(model.device), docs.positions)
    turns = model.turns(docs.positions)

    for layer, block in enumerate(model.blocks):

        def mix(q: Tensor, k: Tensor, v: Tensor, layer: int = layer) -> Tensor:
            cache.k[layer][row_T, :, docs.positions], cache.v[layer][row_T, :, docs.positions] = k, v
            return attend_bucket(q, k, v, docs)

        x_TC = block(x_TC, turns, mix, last_B if layer == len(model.blocks) - 1 else None)
    return model.logits(model.norm(x_TC))


def advance(model: GPT, cache: Cache, tokens: list[int]) -> Tensor:
    """One more token on every row. (B, V) logits of what follows."""
    position_B = cache.lengths
    rows = torch.arange(len(tokens), device=model.device)
    size = int(position_B.max()) + 1
    seen_B11S = (torch.arange(size, device=model.device) <= position_B[:, None])[:, None, None]
    x_BC, turns = model.embed(torch.tensor(tokens, device=model.device), position_B), model.turns(position_B)

    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)

        def mix(q: Tensor, k: Tensor, v: Tensor, layer: int = layer) -> Tensor:
            cache.k[layer][rows, :, position_B], cache.v[layer][rows, :, position_B] = k, v
            keys, values = cache.k[layer][:, :, :size], cache.v[layer][:, :, :size]
            y = F.scaled_dot_product_attention(
                q.unsqueeze(2), keys, values, attn_mask=seen_B11S, enable_gqa=_gqa(model)
            )
            return y.squeeze(2)

        x_BC = block(x_BC, turns, mix)
    cache.lengths = position_B + 1
    return model.logits(model.norm(x_BC))


def _gqa(model: GPT) -> bool:
    return model.config.kv_heads != model.config.n_head


def choose_tokens(logits_BV: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """(B,) the next tokens. Top-k cuts first, then min-p, then top-p on what is left; the likeliest always stays."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    logits_BV = logits_BV / sampling.temperature
    if sampling.top_k is not None:
        kth = logits_BV.topk(min(sampling.top_k, logits_BV.shape[-1])).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if sampling.min_p is not None:  # so many times less likely than the likeliest is too unlikely (arXiv:2407.01082)
        floor = logits_BV.amax(-1, keepdim=True) + math.log(sampling.min_p)
        logits_BV = logits_BV.masked_fill(logits_BV < floor, -torch.inf)
    if sampling.top_p is not None:
        logits_BV = _keep_top_p(logits_BV, sampling.top_p)
    return torch.multinomial(logits_BV.softmax(-1), 1, generator=generator).squeeze(1)


def penalize(logits_BV: Tensor, said: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Each row's tokens that were said already, less likely: logits above 0 divided, below 0 multiplied
    (arXiv:1909.05858, section 4.1)."""
    logits_BV = logits_BV.clone()
    for row, tokens in enumerate(said):
        at = torch.tensor(sorted(set(tokens)), device=logits_BV.device)
        logits = logits_BV[row, at]
        logits_BV[row, at] = torch.where(logits > 0, logits / penalty, logits * penalty)
    return logits_BV


def _keep_top_p(logits_BV: Tensor, top_p: float) -> Tensor:
    """Only the fewest likeliest tokens that together have at least top_p (arXiv:1904.09751)."""
    ordered, order = logits_BV.sort(-1, descending=True)
    p = ordered.softmax(-1)
    before = p.cumsum(-1) - p
    ordered = ordered.masked_fill(before >= top_p, -torch.inf)
    return torch.empty_like(logits_BV).scatter_(-1, order, ordered)
