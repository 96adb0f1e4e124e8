"""How much GPU memory a training takes, predicted before it runs, from the model's shape alone.

What is counted, in bytes. s: a number of the stream (2 in bf16, 4 in fp32), T: tokens of a micro-batch, C: width,
P: parameters.

    weights, gradients, AdamW's two moments   16 P, fp32; an average is 4 P more. Muon keeps one moment for a matrix;
                                              adamw8bit a byte for each, with a scale for every 256
    weights in the stream's dtype             2 per matrix weight in bf16: autograd keeps the cast copy
    kept for backward, a layer                16 C s T for a GPT-2 block (tests count it); C s T when recomputed
    passing through                           a chunk of logits with its gradients, or a block's gradients
    the CUDA context                          not ours to count: CONTEXT_MIB, an assumption until a card is measured

The allocator rounds and leaves holes: SLACK. The first real step tells the truth; this keeps it from being a surprise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gpt.config import BadConfig, GPTConfig, TrainConfig, chunk_rows

MIB = 1 << 20
CONTEXT_MIB = 600  # assumed: 300-600 by driver and card
SLACK = 0.03  # of everything else: what the caching allocator rounds up and can't reuse
RESERVE_MIB = 1024  # left to the desktop
LABELLED = 0.4  # of a document's tokens give loss: what question-answer records have
EIGHT_BIT = 1 + 4 / 256  # bytes of a moment in 8 bits, with its share of a block's scale
STATS_BYTES = 8  # of a norm: mean and spread of a row, fp32


@dataclass(frozen=True)
class Memory:
    """What one micro-batch of a training takes, MiB."""

    micro_batch: int
    states_mib: float  # weights, gradients, moments
    kept_mib: float  # from forward to backward
    passing_mib: float  # what comes and goes: the head's chunks, then the gradients of the block backward stands in

    @property
    def own_mib(self) -> float:
        """What its allocator takes from the card."""
        return (self.states_mib + self.kept_mib + self.passing_mib) * (1 + SLACK)

    @property
    def total_mib(self) -> float:
        """What the card loses to it."""
        return self.own_mib + CONTEXT_MIB


def predict(
    config: GPTConfig,
    *,
    micro_batch: int,
    context_len: int,
    labelled_share: float = LABELLED,
    stream_bytes: int = 2,
    recompute: bool = False,
    optimizer: str = "adamw",
    average: bool = False,
) -> Memory:
    """The peak of a training step with full contexts.

    labelled_share: of tokens that give loss; the worst case is 1. stream_bytes: 2 for bf16 (CUDA), 4 for fp32.
    """
    if micro_batch < 1 or not 0 <= labelled_share <= 1 or stream_bytes not in (2, 4):
        raise BadConfig(
            f"micro_batch={micro_batch}, labelled_share={labelled_share}, stream_bytes={stream_bytes}: take 1 or more, "
            "0 to 1, and 2 or 4"
        )
    tokens = micro_batch * context_len
    rows = int(tokens * labelled_share)
    return Memory(
        micro_batch,
        states_mib=state_bytes(config, optimizer, average=average) / MIB,
        kept_mib=kept_bytes(config, tokens, rows, stream_bytes, recompute=recompute) / MIB,
        passing_mib=passing_bytes(config, tokens, rows, stream_bytes, recompute=recompute) / MIB,
    )


def table(config: GPTConfig, *, contexts_per_step: int, context_len: int, **more: float | str) -> Iterator[Memory]:
    """The prediction of every micro_batch that keeps the step exact: those that divide its contexts."""
    for micro_batch in range(1, contexts_per_step + 1):
        if contexts_per_step % micro_batch == 0:
            yield predict(config, micro_batch=micro_batch, context_len=context_len, **more)  # type: ignore[arg-type]


def table_of(
    config: TrainConfig, context_len: int, stream_bytes: int, labelled_share: float = LABELLED
) -> Iterator[Memory]:
    """The same for a run as it is set."""
    return table(
        config.model,
        contexts_per_step=config.contexts_per_step,
        context_len=context_len,
        labelled_share=labelled_share,
        stream_bytes=stream_bytes,
        recompute=config.recompute,
        optimizer=config.optimizer,
        average=config.ema_decay is not None,
    )


def largest_fitting(found: list[Memory], free_mib: float, reserve_mib: float = RESERVE_MIB) -> Memory | None:
    """The largest micro_batch that leaves the reserve free; None when not even one context fits."""
    return max(
        (one for one in found if one.total_mib <= free_mib - reserve_mib), key=lambda one: one.micro_batch, default=None
    )


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def num_parameters(config: GPTConfig) -> int:
    """As GPT.num_parameters counts them, without making the model."""
    per_norm = config.n_embd * (2 if config.bias and config.norm == "layer" else 1)
    block = matrix_weights(config) + 2 * per_norm + (2 * config.head_size if config.qk_norm else 0)
    up = config.mlp_width * (2 if config.mlp == "swiglu" else 1)
    block += (heads_width(config) + 2 * config.n_embd + up) if config.bias else 0
    return config.n_layer * block + per_norm + table_weights(config)


def table_weights(config: GPTConfig) -> int:
    """Weights of the embeddings and the head."""
    rows = config.vocab_size * (1 if config.tied else 2) + (config.positions if config.pos == "learned" else 0)
    return rows * config.n_embd


def state_bytes(config: GPTConfig, optimizer: str = "adamw", *, average: bool = False) -> int:
    """Weights, gradients and what the optimizer keeps of each; the average of the weights, where there is one."""
    blocks = config.n_layer * matrix_weights(config)
    saved = {"muon": 4.0 * blocks, "adamw8bit": (8 - 2 * EIGHT_BIT) * (blocks + table_weights(config))}
    return round((16 + (4 if average else 0)) * num_parameters(config) - saved.get(optimizer, 0))


def heads_width(config: GPTConfig) -> int:
    """Columns of the projection to queries, keys and values."""
    return (config.n_head + 2 * config.kv_heads) * config.head_size


def matrix_weights(config: GPTConfig) -> int:
    """Weights of a block's four matrices."""
    return config.n_embd * (heads_width(config) + config.n_embd) + config.mlp_weights


def kept_bytes(config: GPTConfig, tokens: int, rows: int, stream_bytes: int, *, recompute: bool = False) -> int:
    """What autograd keeps from forward to backward, in all blocks. The last one's MLP sees labelled rows alone.

    recompute: each block's input alone.
    """
    if recompute:
        return config.n_layer * tokens * config.n_embd * stream_bytes
    one, last = (_block_bytes(config, tokens, mlp_tokens, stream_bytes) for mlp_tokens in (tokens, rows))
    embedded = 4 * 8 * tokens + (config.n_embd * tokens if config.dropout else 0)  # ids, positions, bounds; a mask
    embedded += config.head_size * tokens * stream_bytes if config.pos == "rope" else 0  # cosines and sines
    return (config.n_layer - 1) * one + last + rows * (config.n_embd * stream_bytes + STATS_BYTES) + embedded


def _block_bytes(config: GPTConfig, tokens: int, mlp_tokens: int, stream_bytes: int) -> int:
    width = config.n_embd
    attention = 2 * width + heads_width(config) + width  # what came in, normed, q k v, what attention gave
    if config.qk_norm or config.pos == "rope":  # queries and keys anew; v keeps the old ones alive, being part of them
        attention += width + config.kv_heads * config.head_size
    softmax = 4 * config.n_head + STATS_BYTES  # the log-sum-exp of each query, fp32
    # what came in, normed, before and after the nonlinearity; a gate's two halves, what it opens, what comes out
    mlp = 2 * width + (4 if config.mlp == "swiglu" else 2) * config.mlp_width
    dropped = width * ((tokens + mlp_tokens) if config.dropout else 0)  # masks, a byte each
    copies = 2 * matrix_weights(config) if stream_bytes == 2 else 0
    mlp_bytes = mlp_tokens * (mlp * stream_bytes + STATS_BYTES)
    return tokens * (attention * stream_bytes + softmax) + mlp_bytes + dropped + copies


def passing_bytes(config: GPTConfig, tokens: int, rows: int, stream_bytes: int, *, recompute: bool = False) -> int:
    """The most that comes and goes: when the head works on a chunk, or later, in the backward of a block.

    recompute: what that block keeps passes too; its first gradients come when the last of it is gone.
    """
    chunk = min(rows, chunk_rows(config.vocab_size)) * config.vocab_size
    weight = config.vocab_size * config.n_embd
    cast = stream_bytes == 2
    head_keeps = 4 * weight + stream_bytes * rows * config.n_embd  # the gradients of its weight and of the hidden rows
    copy, product = (2 * weight if cast else 0), stream_bytes * weight
    logits = 8 * chunk  # fp32, and their log-probabilities
    gradient = (6 if cast else 4) * chunk + product
    inside = 2 * config.mlp_width  # on both sides of the nonlinearity; for a gate, what it keeps goes as its own come
    gradients = 5 * config.n_embd if recompute else 2 * config.n_embd + inside
    block = gradients * tokens * stream_bytes
    block += _block_bytes(config, tokens, tokens, stream_bytes) if recompute else 0
    return head_keeps + max(copy + max(logits, gradient), block)
