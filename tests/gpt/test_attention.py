"""Documents in one row do not see each other: exactly, in values and in gradients, whichever backend does the work."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt.attention import BACKENDS, Documents, attend_bucket, attend_loop, attend_varlen, choose, rounded
from gpt.config import ATTENTIONS, BadConfig
from gpt.model import GPT
from tests.gpt.tiny import VOCAB, shape

CPU = ("loop", "bucket")
BOUNDS = [0, 7, 8, 20, 20, 48]  # a document of one token, an empty one, the longest last
POSITIONS = {"learned": {"pos": "learned"}, "rope": {"pos": "rope", "qk_norm": True, "norm": "rms"}}


def heads(num_tokens: int, q_heads: int = 4, kv_heads: int = 4, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(3)
    return [torch.randn(num_tokens, n, 8, dtype=dtype, requires_grad=True) for n in (q_heads, kv_heads, kv_heads)]


def with_gradients(attend: Callable[..., Tensor], qkv: list[Tensor], docs: Documents) -> list[Tensor]:
    """[out, dq, dk, dv] for a fixed random gradient of out."""
    out = attend(*qkv, docs)
    torch.manual_seed(4)
    return [out.detach(), *torch.autograd.grad(out, qkv, torch.randn_like(out))]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=12).filter(any), st.sampled_from([(4, 4), (4, 2), (4, 1)]))
def test_bucket_equals_the_loop_in_values_and_gradients(lengths, groups):
    docs = Documents.of([0, *torch.tensor(lengths).cumsum(0).tolist()])
    qkv = heads(sum(lengths), *groups)
    for fast, slow in zip(
        with_gradients(attend_bucket, qkv, docs), with_gradients(attend_loop, qkv, docs), strict=True
    ):
        torch.testing.assert_close(fast, slow, atol=2e-6, rtol=1e-5)


def test_the_loop_equals_attention_written_out():
    q, k, v = heads(20)
    out = attend_loop(q, k, v, Documents.of([0, 6, 20]))
    for head in range(4):
        for row, start in ((0, 0), (5, 0), (6, 6), (19, 6)):
            scores = (k[start : row + 1, head] @ q[row, head]) / 8**0.5
            torch.testing.assert_close(out[row, head], scores.softmax(0) @ v[start : row + 1, head])


@given(st.integers(1, 5000))
def test_a_bucket_wastes_at_most_a_quarter_of_its_slots_or_seven(length):
    assert length <= rounded(length) < max(length + 8, 1.25 * length + 1)
    assert rounded(rounded(length)) == rounded(length)


# ── leaks: through the whole model, as it is trained ──────────────────────────────────────────────────────────────


def model(attention: str, **changes: object) -> GPT:
    made = GPT(shape(n_head=4, n_kv_head=2, **changes), seed=5, attention=attention)
    torch.manual_seed(6)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)  # far from the start: what leaks is seen
    return made


def tokens() -> Tensor:
    return torch.randint(VOCAB, (48,), generator=torch.Generator().manual_seed(7))


def hidden_from_embeddings(gpt: GPT, tokens_T: Tensor, docs: Documents) -> tuple[Tensor, Tensor]:
    """The token embeddings as a leaf that can be poisoned or differentiated, and the hidden rows made of it."""
    leaf = gpt.wte(tokens_T).detach().requires_grad_()
    gpt.wte.forward = lambda _: leaf  # type: ignore[method-assign]
    hidden = gpt(tokens_T, docs)
    del gpt.wte.forward
    return leaf, hidden


def assert_perturbing_one_moves_no_other(gpt: GPT) -> None:
    docs = Documents.of(BOUNDS)
    before = gpt(tokens(), docs)
    for start, end in docs.spans:
        changed = tokens()
        changed[start:end] = (changed[start:end] + 1) % VOCAB
        moved = (gpt(changed, docs) != before).any(-1)
        assert moved[start:end].all(), "the probe did not move its own document: this test would prove nothing"
        assert not moved[:start].any(), "an earlier document moved"
        assert not moved[end:].any(), "a later document moved"


def assert_gradients_stay_inside(gpt: GPT) -> None:
    docs = Documents.of(BOUNDS)
    for start, end in docs.spans:
        leaf, hidden = hidden_from_embeddings(gpt, tokens(), docs)
        (hidden[start:end] * torch.randn_like(hidden[start:end])).sum().backward()
        assert leaf.grad is not None
        assert (leaf.grad[start:end] != 0).any(-1).all(), "no gradient inside: this test would prove nothing"
        assert (leaf.grad[:start] == 0).all(), "a gradient into an earlier document"
        assert (leaf.grad[end:] == 0).all(), "a gradient into a later document"


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("attention", CPU)
def test_perturbing_one_document_leaves_all_other_rows_equal_to_the_last_bit(attention, position):
    assert_perturbing_one_moves_no_other(model(attention, **POSITIONS[position]))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("attention", CPU)
def test_the_gradient_of_one_document_into_all_others_is_exactly_zero(attention, position):
    assert_gradients_stay_inside(model(attention, **POSITIONS[position]))


@pytest.mark.parametrize("attention", CPU)
def test_a_nan_stays_in_its_document_in_values_and_gradients(attention):
    docs = Documents.of(BOUNDS)
    for start, end in docs.spans:
        qkv = [x.detach().clone() for x in heads(48)]
        for x in qkv:
            x[start:end] = torch.nan
        leaves = [x.requires_grad_() for x in qkv]
        for found in with_gradients(BACKENDS[attention], leaves, docs):
            broken = found.isnan().flatten(1).any(1)
            assert broken[start:end].all()
            assert not broken[:start].any()
            assert not broken[end:].any()


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("attention", CPU)
def test_a_packed_document_gets_the_logits_it_gets_alone(attention, position):
    gpt, docs = GPT(shape(**POSITIONS[position]), attention=attention), Documents.of(BOUNDS)
    packed = gpt.logits(gpt(tokens(), docs))
    for start, end in docs.spans:
        alone = gpt.logits(gpt(tokens()[start:end], Documents.of([0, end - start])))
        torch.testing.assert_close(packed[start:end], alone, atol=1e-5, rtol=0)
        other = (tokens()[start:end] + 1) % VOCAB
        assert not torch.allclose(alone, gpt.logits(gpt(other, Documents.of([0, end - start]))), atol=1e-5)


# ── planted bugs: each of the checks above finds what it is there for ─────────────────────────────────────────────


def attend_everything_before(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """The mask dropped: causal over the row, documents ignored."""
    q, k, v = (x.transpose(0, 1) for x in (q_THD, k_TGD, v_TGD))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(0, 1)


def attend_one_too_early(q_THD: Tensor, k_TGD: Tensor, v_TGD: Tensor, docs: Documents) -> Tensor:
    """Every border one token early: the last token of a document is taken for the next one's first."""
    early = [0, *(max(0, end - 1) for end in docs.bounds[1:-1]), docs.bounds[-1]]
    return attend_loop(q_THD, k_TGD, v_TGD, Documents.of(early))


@pytest.mark.parametrize("bug", [attend_everything_before, attend_one_too_early])
@pytest.mark.parametrize("check", [assert_perturbing_one_moves_no_other, assert_gradients_stay_inside])
def test_the_leak_checks_find_a_planted_leak(bug, check):
    gpt = model("loop")
    gpt.attend = bug
    with pytest.raises(AssertionError, match=r"(later|earlier) document"):
        check(gpt)


def test_positions_that_do_not_restart_are_found():
    gpt, docs = GPT(shape()), Documents.of(BOUNDS)
    object.__setattr__(docs, "positions", torch.arange(48))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(
            gpt(tokens(), docs)[20:], gpt(tokens()[20:], Documents.of([0, 28])), atol=1e-5, rtol=0
        )


# ── the choice ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("device", "capability", "dtype", "head_size", "taken"),
    [
        ("cpu", None, torch.float32, 64, "bucket"),
        ("cuda", (8, 9), torch.bfloat16, 64, "varlen"),
        ("cuda", (8, 0), torch.float16, 256, "varlen"),
        ("cuda", (8, 9), torch.float32, 64, "bucket"),
        ("cuda", (7, 5), torch.float16, 64, "bucket"),
        ("cuda", (8, 9), torch.bfloat16, 20, "bucket"),
        ("cuda", (8, 9), torch.bfloat16, 264, "bucket"),
    ],
)
def test_auto_takes_varlen_where_flash_attention_works_and_else_the_buckets(
    monkeypatch, device, capability, dtype, head_size, taken
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose("auto", torch.device(device), dtype, head_size) == taken
    if taken == "bucket":
        with pytest.raises(BadConfig, match=f"heads of {head_size}: take auto, loop, bucket"):
            choose("varlen", torch.device(device), dtype, head_size)


def test_the_names_a_job_may_give_are_the_backends():
    assert ("auto", *BACKENDS) == ATTENTIONS


@pytest.mark.parametrize("name", ["varlen", "flash", ""])
def test_a_backend_that_can_not_work_here_is_refused_with_what_can(name):
    with pytest.raises(BadConfig, match="take auto, loop, bucket"):
        choose(name, torch.device("cpu"), torch.float32, 64)


@pytest.mark.parametrize("bounds", [[], [1, 4], [0, 5, 3]])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds begin at 0"):
        Documents.of(bounds)


# ── varlen: the same API under three versions of torch; the kernel itself needs a card ────────────────────────────


def fake_kernel(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, ends_k: Tensor, longest: int, longest_k: int) -> Tensor:
    assert ends.dtype == torch.int32
    assert torch.equal(ends, ends_k)
    assert longest == longest_k == int(ends.diff().max())
    return attend_loop(q, k, v, Documents.of(ends))


def varlen_2_10(q, k, v, cu_q, cu_k, max_q, max_k, is_causal=False, return_aux=None):
    assert is_causal
    assert q.shape[1] == k.shape[1], "this version knows no grouped heads"
    return fake_kernel(q, k, v, cu_q, cu_k, max_q, max_k)


def varlen_2_11(q, k, v, cu_q, cu_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)):
    assert window_size == (-1, 0)
    assert q.shape[1] == k.shape[1], "this version knows no grouped heads"
    return fake_kernel(q, k, v, cu_q, cu_k, max_q, max_k)


def varlen_2_12(q, k, v, cu_q, cu_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False, num_splits=None):
    assert window_size == (-1, 0)
    assert enable_gqa == (q.shape[1] != k.shape[1])
    return fake_kernel(q, k, v, cu_q, cu_k, max_q, max_k)


@pytest.mark.parametrize("groups", [(4, 4), (4, 2)])
@pytest.mark.parametrize("kernel", [varlen_2_10, varlen_2_11, varlen_2_12])
def test_varlen_asks_each_version_of_torch_for_causal_documents(monkeypatch, kernel, groups):
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    qkv, docs = heads(48, *groups), Documents.of(BOUNDS)
    torch.testing.assert_close(attend_varlen(*qkv, docs), attend_loop(*qkv, docs))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="varlen attention runs on CUDA only")
@pytest.mark.parametrize("groups", [(4, 4), (4, 2)])
def test_varlen_equals_the_loop_on_the_card(groups):
    docs = replace(Documents.of(BOUNDS), device=torch.device("cuda"))
    qkv = [x.detach().to("cuda", torch.bfloat16).requires_grad_() for x in heads(48, *groups)]
    run = partial(with_gradients, qkv=qkv, docs=docs)
    for fast, slow in zip(run(attend_varlen), run(attend_loop), strict=True):
        torch.testing.assert_close(fast, slow, atol=2e-2, rtol=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="varlen attention runs on CUDA only")
def test_varlen_lets_no_document_move_another_on_the_card():
    gpt = model("varlen").to("cuda")
    gpt.dtype = torch.bfloat16
    docs = replace(Documents.of(BOUNDS), device=torch.device("cuda"))
    before, changed = gpt(tokens().cuda(), docs), tokens().cuda()
    changed[8:20] = (changed[8:20] + 1) % VOCAB
    moved = (gpt(changed, docs) != before).any(-1)
    assert moved[8:20].any()
    assert not moved[:8].any()
    assert not moved[20:].any()
