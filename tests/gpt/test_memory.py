"""What a training takes, as predicted, beside what autograd keeps and the allocator gives when it really runs.

Attention here keeps what the GPU's kernel keeps (q, k, v, its output, the log-sum-exp); the CPU's own keep more. So do
its RMSNorm, which is not fused, and its dropout, whose mask is of numbers, not bytes: those two are not tried.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt import memory
from gpt.attention import Documents, attend_loop
from gpt.config import BadConfig, GPTConfig
from gpt.ema import Ema
from gpt.loss import labelled_loss
from gpt.model import GPT
from gpt.optim import Optimizer

SMALL = {"n_layer": 4, "n_head": 4, "n_embd": 128, "vocab_size": 500, "context_len": 512}
SHAPES = [
    {}, {"bias": False}, {"pos": "rope"}, {"qk_norm": True}, {"pos": "rope", "qk_norm": True}, {"n_kv_head": 2},
    {"n_kv_head": 1, "pos": "rope"}, {"mlp": "relu2"}, {"mlp": "swiglu"}, {"tied": True}, {"n_layer": 1},
]  # fmt: skip


class Lean(torch.autograd.Function):
    """Attention as flash kernels do it: nothing is kept but its ends; the rest is worked out again."""

    @staticmethod
    def forward(ctx, q, k, v, docs):
        with torch.no_grad():
            out = attend_loop(q, k, v, docs)
        ctx.save_for_backward(q, k, v, out, torch.zeros(q.shape[1], q.shape[0]))
        ctx.docs = docs
        return out

    @staticmethod
    def backward(ctx, grad):
        ends = [x.detach().requires_grad_() for x in ctx.saved_tensors[:3]]
        with torch.enable_grad():
            out = attend_loop(*ends, ctx.docs)
        return (*torch.autograd.grad(out, ends, grad), None)


def lean(q: Tensor, k: Tensor, v: Tensor, docs: Documents) -> Tensor:
    return Lean.apply(q, k, v, docs)


def made(config: GPTConfig, dtype: torch.dtype) -> GPT:
    model = GPT(config)
    model.dtype, model.attend = dtype, lean
    return model.train()


def kept(config: GPTConfig, tokens: int, rows: int, dtype: torch.dtype) -> int:
    """Bytes of every storage that autograd keeps, the parameters' own left out."""
    model = made(config, dtype)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (at := tensor.untyped_storage().data_ptr()) not in own:
            found[at] = tensor
        return tensor

    docs = Documents.of(range(0, tokens + 1, tokens // 8))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = model(torch.zeros(tokens, dtype=torch.int64), docs, torch.arange(rows))
    assert len(hidden) == rows
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_what_is_kept_for_backward_is_predicted_to_one_percent(changes, dtype):
    config = GPTConfig(**SMALL | changes)
    predicted = memory.kept_bytes(config, 1024, 400, dtype.itemsize)
    assert kept(config, 1024, 400, dtype) == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize("changes", [*SHAPES, {"norm": "rms"}, {"num_positions": 900}], ids=str)
def test_parameters_are_counted_without_making_the_model(changes):
    config = GPTConfig(**SMALL | changes)
    assert memory.num_parameters(config) == GPT(config).num_parameters()


@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize(
    ("kind", "average"), [("adamw", False), ("adamw", True), ("muon", False), ("adamw8bit", False)]
)
def test_weights_gradients_moments_and_average_are_counted_as_they_are_kept(kind, average, mlp):
    config = GPTConfig(**SMALL | {"mlp": mlp})
    model = GPT(config)
    optimizer = Optimizer(model, kind, betas=(0.9, 0.95), eps=1e-8)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    tables = [tensor for key, tensor in optimizer.tensors().items() if key.endswith(".qmap")]  # of 1 KiB each
    moments = [x for x in optimizer.tensors().values() if x.numel() > 1 and not any(x is table for table in tables)]
    averages = Ema(model, 0.9).average.values() if average else ()
    held = [*model.parameters(), *(p.grad for p in model.parameters()), *moments, *averages]
    exact = 0.001 if kind == "adamw8bit" else 0  # some vectors are long enough for eight bits
    assert sum(x.nbytes for x in held) == pytest.approx(memory.state_bytes(config, kind, average=average), rel=exact)


def peak(config: GPTConfig, tokens: int, rows: int, dtype: torch.dtype, *, recompute: bool = False) -> int:
    """The most that a step's forward and backward held at once, above what was there before; by torch's own account."""
    model = made(config, dtype)
    model.recompute = recompute
    docs = Documents.of(range(0, tokens + 1, tokens // 16))
    labels = torch.arange(rows) % config.vocab_size

    def step() -> None:
        hidden = model(torch.zeros(tokens, dtype=torch.int64), docs, torch.arange(rows))
        labelled_loss(hidden, model.head_weight, labels).backward()

    return most_held(step)


def most_held(step: Callable[[], None]) -> int:
    """By torch's own account."""
    step()  # gradients are there from now on, as they are from a step's second micro-batch on
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    held = most = 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"n_layer": 6, "n_embd": 256, "vocab_size": 2000}, 1600),  # what is kept is the most
        ({"n_layer": 6, "n_embd": 256, "vocab_size": 2000, "mlp": "swiglu"}, 1600),
        ({"n_layer": 2, "vocab_size": 32_000}, 3000),  # the head is, with a second chunk of logits behind the first
    ],
    ids=["deep", "gated", "wide"],
)
def test_the_peak_of_a_step_is_predicted_to_a_twentieth(changes, rows, dtype):
    config = GPTConfig(**SMALL | {"context_len": 2048} | changes)
    size = dtype.itemsize
    predicted = memory.kept_bytes(config, 4096, rows, size) + memory.passing_bytes(config, 4096, rows, size)
    assert peak(config, 4096, rows, dtype) == pytest.approx(predicted, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_with_recompute_little_is_kept_and_the_peak_is_predicted_to_a_tenth(dtype):
    config = GPTConfig(**SMALL | {"context_len": 2048, "n_layer": 12, "n_embd": 256})

    size = dtype.itemsize
    kept_then = memory.kept_bytes(config, 4096, 1600, size, recompute=True)
    predicted = kept_then + memory.passing_bytes(config, 4096, 1600, size, recompute=True)
    assert peak(config, 4096, 1600, dtype, recompute=True) == pytest.approx(predicted, rel=0.1)
    assert predicted < 0.4 * memory.kept_bytes(config, 4096, 1600, size)


def naive_bytes(config: GPTConfig, tokens: int) -> int:
    """What code keeps that has the stream in fp32 under autocast, and all logits at once: in bf16, in fp32, as
    log-probabilities, and their gradients."""
    copies = 2 * (config.n_layer * memory.matrix_weights(config) + config.vocab_size * config.n_embd)
    return round(36.4 * config.n_embd * config.n_layer * tokens) + 14 * config.vocab_size * tokens + copies


@pytest.mark.parametrize("changes", [{"n_layer": 6, "n_embd": 256, "vocab_size": 2000}, {"n_layer": 2}], ids=str)
def test_naive_code_takes_what_it_is_said_to_take(changes):
    config = GPTConfig(**SMALL | {"context_len": 2048, "vocab_size": 8000} | changes)
    model, docs = made(config, torch.float32), Documents.of(range(0, 2049, 128))
    labels = torch.arange(2048) % config.vocab_size

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = F.linear(model(torch.zeros(2048, dtype=torch.int64), docs), model.head_weight)
            F.cross_entropy(logits.float(), labels).backward()

    assert most_held(step) == pytest.approx(naive_bytes(config, 2048), rel=0.06)


def test_where_naive_code_holds_three_contexts_this_holds_six_and_48_recomputed():
    config, has_mib = GPTConfig(num_positions=8192), 15 * 1024
    assert memory.num_parameters(config) // 10**6 == 183

    def naive_mib(contexts: int) -> float:
        own = memory.state_bytes(config) + naive_bytes(config, contexts * 4096)
        return own / memory.MIB * (1 + memory.SLACK) + memory.CONTEXT_MIB

    def holds(recompute: bool, optimizer: str) -> int:
        def total(contexts: int) -> float:
            return memory.predict(
                config, micro_batch=contexts, context_len=4096, recompute=recompute, optimizer=optimizer
            ).total_mib

        return max(contexts for contexts in range(1, 100) if total(contexts) <= has_mib)

    assert max(contexts for contexts in range(1, 20) if naive_mib(contexts) <= has_mib) == 3
    assert (holds(False, "adamw"), holds(True, "adamw")) == (6, 48)
    assert holds(True, "adamw8bit") > 48


def test_the_model_of_183_million_holds_six_contexts_on_a_card_of_16_gib_and_48_recomputed():
    found = list(memory.table(GPTConfig(), contexts_per_step=120, context_len=4096))
    assert memory.num_parameters(GPTConfig(num_positions=8192)) // 10**6 == 183
    best = memory.largest_fitting(found, 16_376)
    assert best is not None
    assert best.micro_batch == 6
    again = memory.predict(GPTConfig(), micro_batch=48, context_len=4096, recompute=True)
    assert memory.largest_fitting([again], 16_376) == again
    assert memory.largest_fitting(found, 5000) is None


def test_only_micro_batches_that_keep_the_step_exact_are_offered():
    found = memory.table(GPTConfig(**SMALL), contexts_per_step=12, context_len=512)
    assert [one.micro_batch for one in found] == [1, 2, 3, 4, 6, 12]


@pytest.mark.parametrize("wrong", [{"micro_batch": 0}, {"labelled_share": 1.5}, {"stream_bytes": 8}])
def test_what_can_not_be_predicted_is_refused(wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        memory.predict(GPTConfig(**SMALL), **{"micro_batch": 1, "context_len": 512, **wrong})
