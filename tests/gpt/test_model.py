"""The model's shape, start and parts."""

import doctest

import pytest
import torch

import gpt.attention
from gpt.attention import Documents
from gpt.config import BadConfig, GPTConfig
from gpt.model import GPT, flops_per_token
from gpt.optim import split_parameters
from tests.gpt.tiny import SHAPE, VOCAB, shape

SHAPES = [
    {},
    {"tied": True, "bias": False},
    {"pos": "rope", "norm": "rms", "mlp": "relu2", "qk_norm": True, "n_kv_head": 1},
    {"mlp": "swiglu", "bias": False},
    {"num_positions": 100, "n_kv_head": 2, "n_head": 4},
]


def test_the_183m_recipe_has_183m_parameters():
    with torch.device("meta"):
        big = GPT(GPTConfig(n_layer=18, n_head=12, n_embd=768, vocab_size=32_000, context_len=4096, num_positions=8192))
    assert big.num_parameters() == 183_026_688


@pytest.mark.parametrize("changes", SHAPES)
def test_a_new_model_knows_nothing_and_depends_on_its_seed_alone(changes):
    tokens, docs = torch.arange(48) % VOCAB, Documents.of([0, 20, 48])
    first, again, other = (GPT(shape(**changes), seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(99)
    logits = first.logits(first(tokens, docs))
    assert torch.equal(logits, again.logits(again(tokens, docs)))
    assert not torch.equal(logits, other.logits(other(tokens, docs)))
    entropy = -(logits.log_softmax(-1).exp() * logits.log_softmax(-1)).sum(-1)
    assert entropy.min() > 0.97 * torch.tensor(float(VOCAB)).log(), "it should start out nearly uniform"


@pytest.mark.parametrize("changes", SHAPES)
def test_asking_for_some_rows_gives_those_rows(changes):
    gpt, docs = GPT(shape(**changes)), Documents.of([0, 20, 48])
    tokens, rows = torch.arange(48) % VOCAB, torch.tensor([3, 19, 20, 40])
    torch.testing.assert_close(gpt(tokens, docs, rows), gpt(tokens, docs)[rows])


@pytest.mark.parametrize("changes", SHAPES)
def test_every_parameter_gets_a_gradient_and_is_optimized_once(changes):
    gpt, docs = GPT(shape(**changes)), Documents.of([0, 48])
    gpt.logits(gpt(torch.arange(48) % VOCAB, docs)).square().sum().backward()
    without = [name for name, p in gpt.named_parameters() if p.grad is None]
    assert without == []
    matrices, vectors = split_parameters(gpt)
    assert len({id(p) for p in (*matrices, *vectors)}) == len(list(gpt.parameters()))
    assert all(p.ndim == 1 for p in vectors)


def test_a_later_token_changes_no_earlier_row():
    gpt, docs = GPT(shape()), Documents.of([0, 48])
    tokens = torch.arange(48) % VOCAB
    changed = tokens.clone()
    changed[30:] += 1
    moved = (gpt(tokens, docs) != gpt(changed % VOCAB, docs)).any(-1)
    assert moved.tolist() == [False] * 30 + [True] * 18


def test_a_bf16_stream_stays_near_the_fp32_one():
    gpt, docs = GPT(shape()), Documents.of([0, 20, 48])
    tokens = torch.arange(48) % VOCAB
    exact = gpt.logits(gpt(tokens, docs))
    gpt.dtype = torch.bfloat16
    rough = gpt.logits(gpt(tokens, docs))
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_head": 3}, "does not split into n_head=3 heads"),
        ({"n_head": 2, "n_kv_head": 3}, "n_kv_head=3 does not divide n_head=2"),
        ({"n_head": 16, "pos": "rope"}, "heads of an even size"),
        ({"n_layer": 0}, "n_layer=0: take 1 or more"),
        ({"norm": "batch"}, "take one of layer, rms"),
        ({"num_positions": 8}, "num_positions=8 is less than context_len"),
        ({"dropout": 1.0}, "dropout=1.0: take 0 to below 1"),
    ],
)
def test_a_shape_that_can_not_be_is_refused_with_what_can(changes, says):
    with pytest.raises(BadConfig, match=says):
        shape(**changes)


def test_a_config_reads_back_and_an_unknown_field_is_named():
    config = shape(pos="rope", n_kv_head=1, tied=True, dropout=0.25)
    assert GPTConfig.from_json(config.to_json()) == config
    with pytest.raises(BadConfig, match="moe_experts"):
        GPTConfig.from_json({**SHAPE, "moe_experts": 8})


def test_the_flops_of_the_183m_model_are_those_of_the_facts_page():
    config = GPTConfig(n_layer=18, n_head=12, n_embd=768, vocab_size=32_000)
    packed = flops_per_token(config, mean_attended=0.084 * 4096)
    assert packed == pytest.approx(0.940e9, rel=2e-3)
    assert flops_per_token(config, 4096) == pytest.approx(1.252e9, rel=2e-3)
    assert flops_per_token(config, 0.084 * 4096, labelled_share=0.4) == pytest.approx(0.852e9, rel=2e-3)


def test_the_examples_in_the_attention_module_are_true():
    assert doctest.testmod(gpt.attention).failed == 0
