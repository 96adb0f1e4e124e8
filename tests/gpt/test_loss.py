"""The loss on labelled rows equals cross-entropy on all of them, and never makes more logits than a chunk."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt import loss
from gpt.loss import labelled_loss


def rows(num: int, vocab: int = 37, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(num)
    x = torch.randn(num, 12, dtype=dtype, requires_grad=True)
    weight = torch.randn(vocab, 12, requires_grad=True)
    return x, weight, torch.randint(vocab, (num,))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 40), st.sampled_from([1, 7, 16, 2048]))
def test_it_equals_cross_entropy_summed_in_value_and_gradients_whatever_the_chunk(num, chunk):
    x, weight, labels = rows(num)
    slow = F.cross_entropy(x @ weight.t(), labels, reduction="sum") if num else (x.sum() + weight.sum()) * 0
    expected = [slow.detach(), *torch.autograd.grad(3 * slow, (x, weight))]
    whole, loss.chunk_rows = loss.chunk_rows, lambda vocab_size: chunk
    try:
        fast = labelled_loss(x, weight, labels)
    finally:
        loss.chunk_rows = whole
    found = [fast.detach(), *torch.autograd.grad(3 * fast, (x, weight))]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)


def test_a_bf16_stream_still_sums_in_fp32():
    x, weight, labels = rows(4000, dtype=torch.bfloat16)
    exact = F.cross_entropy(x.double() @ weight.to(torch.bfloat16).double().t(), labels, reduction="sum")
    summed = labelled_loss(x, weight, labels)
    assert summed.dtype == torch.float32
    assert summed.item() == pytest.approx(exact.item(), rel=2e-3)


def test_without_gradients_nothing_is_kept_for_them():
    x, weight, labels = rows(10)
    with torch.no_grad():
        quiet = labelled_loss(x, weight, labels)
    assert not quiet.requires_grad
    assert quiet.item() == labelled_loss(x, weight, labels).item()
