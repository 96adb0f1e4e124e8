"""Many prompts at once, cached, finished rows dropped: the same tokens as one at a time without any of it."""

import pytest
import torch
from torch import Tensor

from gpt.attention import Documents
from gpt.config import BadConfig
from gpt.model import GPT
from gpt.sample import (
    Cache,
    Completion,
    Sampling,
    advance,
    choose_tokens,
    generate,
    generate_all,
    past_training,
    penalize,
    prefill,
)
from tests.gpt.tiny import VOCAB, shape

SHAPES = [
    {},
    {"pos": "rope", "norm": "rms", "qk_norm": True, "n_kv_head": 1, "tied": True},
    {"n_head": 4, "n_kv_head": 2, "bias": False},
]
PROMPTS = [[5, 9, 2], [7], [1, 2, 3, 4, 5, 6, 7, 8], [9, 9]]


def lively(**changes: object) -> GPT:
    """A model whose likeliest token depends on all it has read."""
    gpt = GPT(shape(**changes), seed=3)
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            parameter *= 1 if "norm" in name else 8
    return gpt


def slow_logits(gpt: GPT, tokens: list[int]) -> Tensor:
    """The definition: everything read again for each token."""
    with torch.no_grad():
        return gpt.logits(gpt(torch.tensor(tokens), Documents.of([0, len(tokens)]))[-1])


def slow_greedy(gpt: GPT, prompt: list[int], num: int, stop: int | None) -> tuple[list[int], bool]:
    tokens: list[int] = []
    while len(tokens) < num and len(prompt) + len(tokens) < gpt.config.context_len + 1:
        token = int(slow_logits(gpt, prompt + tokens).argmax())
        if token == stop:
            return tokens, True
        tokens.append(token)
        if len(prompt) + len(tokens) >= gpt.config.context_len:
            break
    return tokens, False


@pytest.mark.parametrize("changes", SHAPES)
def test_cached_logits_equal_uncached_ones_also_after_rows_are_dropped(changes):
    gpt = lively(**changes)
    rows = [list(prompt) for prompt in PROMPTS]
    with torch.inference_mode():
        cache = Cache(gpt, len(rows), 30)
        logits = prefill(gpt, cache, rows)
        for turn in range(12):
            for row, found in zip(rows, logits, strict=True):
                torch.testing.assert_close(found, slow_logits(gpt, row), atol=1e-5, rtol=1e-5)
            if turn == 4:
                order = cache.keep([0, 2, 3])
                assert order == [0, 3, 2], "the last one stands where the dropped one was"
                rows = [rows[i] for i in order]
            if turn == 8:
                rows = [rows[i] for i in cache.keep([1])]
            tokens = [(turn * 7 + row[0]) % VOCAB for row in rows]
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
            logits = advance(gpt, cache, tokens)


@pytest.mark.parametrize("changes", SHAPES)
def test_prompts_read_a_few_at_a_time_are_read_as_all_at_once(changes, monkeypatch):
    gpt, sampling = lively(**changes), Sampling(max_new_tokens=9)
    whole = generate(gpt, PROMPTS, sampling, stop_token=None)
    monkeypatch.setattr("gpt.sample.PREFILL_TOKENS", 6)
    assert generate(gpt, PROMPTS, sampling, stop_token=None) == whole
    monkeypatch.setattr("gpt.sample.PREFILL_TOKENS", 1)
    assert generate(gpt, PROMPTS, sampling, stop_token=None) == whole


@pytest.mark.parametrize("changes", SHAPES)
def test_a_batch_gives_each_prompt_what_it_gets_alone_without_a_cache(changes):
    gpt = lively(**changes)
    free = [slow_greedy(gpt, prompt, 10, None)[0] for prompt in PROMPTS]
    stop = next(token for token in free[2][1:] if token not in free[0])  # some rows meet it, others never do
    expected = [slow_greedy(gpt, prompt, 10, stop) for prompt in PROMPTS]
    found = generate(gpt, PROMPTS, Sampling(10), stop_token=stop)
    assert [(c.tokens, c.stopped) for c in found] == expected
    assert {stopped for _, stopped in expected} == {True, False}, "both ways of ending should be seen here"


def test_batches_by_length_give_every_prompt_its_own_completion():
    gpt = lively()
    expected = generate(gpt, PROMPTS, Sampling(6), stop_token=None)
    for batch in (1, 2, 3, 9):
        found = {}
        for done in generate_all(gpt, PROMPTS, Sampling(6), stop_token=None, batch=batch):
            found.update(done)
        assert [found[i] for i in range(len(PROMPTS))] == expected


def test_a_full_context_ends_a_row_unstopped():
    gpt = lively()
    prompts = [[3] * 46, [3] * 48, [4]]
    found = generate(gpt, prompts, Sampling(5), stop_token=None)
    assert [len(c.tokens) for c in found] == [2, 1, 5]
    assert not any(c.stopped for c in found)


def test_what_stands_past_the_longest_document_of_the_training_is_named():
    prompts, done = [[1] * 7, [1] * 8, [1] * 12], [Completion([2, 3], True)] * 3
    assert past_training(lively(), 9, prompts, done) == [1, 2]
    assert past_training(lively(), None, prompts, done) == [], "nobody knows what it was trained on"
    assert past_training(lively(pos="rope"), 9, prompts, done) == [], "it has no table of positions"


@pytest.mark.parametrize("prompts", [[], [[]], [[1] * 49]])
def test_prompts_that_do_not_fit_are_refused(prompts):
    with pytest.raises(BadConfig, match="of 1 to 48 tokens each"):
        generate(lively(), prompts, Sampling(5), stop_token=None)


# ── choosing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(logits: list[float], num: int = 4000, **settings: float) -> list[float]:
    """How often each token is drawn."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.tensor(logits).expand(num, -1)
    tokens = choose_tokens(rows, Sampling(**{"temperature": 1.0, **settings}), generator)
    return (tokens.bincount(minlength=len(logits)) / num).tolist()


def test_temperature_one_draws_by_probability_and_zero_takes_the_likeliest():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    assert drawn(p.log().tolist()) == pytest.approx(p.tolist(), abs=0.03)
    assert drawn(p.log().tolist(), temperature=0.0) == [1, 0, 0, 0]
    sharper = (p**2 / (p**2).sum()).tolist()
    assert drawn(p.log().tolist(), temperature=0.5) == pytest.approx(sharper, abs=0.03)


def test_top_k_keeps_so_many_and_top_p_the_fewest_that_reach_it():
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log().tolist()
    assert [share > 0 for share in drawn(logits, top_k=2)] == [False, True, False, True]
    assert [share > 0 for share in drawn(logits, top_p=0.7)] == [False, True, False, True]
    assert [share > 0 for share in drawn(logits, top_p=0.85)] == [True, True, False, True]
    assert drawn(logits, top_p=0.01) == [0, 1, 0, 0], "the likeliest always stays"
    assert drawn(logits, top_k=2)[1] == pytest.approx(0.5 / 0.8, abs=0.03)


def test_min_p_keeps_what_is_likely_beside_the_likeliest():
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log().tolist()
    assert [share > 0 for share in drawn(logits, min_p=0.5)] == [False, True, False, True]
    assert [share > 0 for share in drawn(logits, min_p=0.25)] == [True, True, False, True]
    assert drawn(logits, min_p=1.0) == [0, 1, 0, 0], "the likeliest always stays"
    assert drawn(logits, min_p=0.5)[1] == pytest.approx(0.5 / 0.8, abs=0.03)


def test_a_repetition_penalty_makes_what_was_said_less_likely_whatever_its_sign():
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0]])
    out = penalize(logits, [[0, 1, 1], [3]], 2.0)
    assert out.tolist() == [[1.0, -4.0, 1.0, -1.0], [2.0, -2.0, 1.0, -2.0]]
    assert logits[0, 0] == 2.0, "the model's own are left as they are"


def test_a_heavy_repetition_penalty_says_no_token_twice_also_when_greedy():
    gpt = lively()
    plain = generate(gpt, PROMPTS, Sampling(max_new_tokens=12), stop_token=None)
    other = generate(gpt, PROMPTS, Sampling(max_new_tokens=12, repetition_penalty=1e9), stop_token=None)
    assert any(len(set(one.tokens)) < len(one.tokens) for one in plain), "else it proves nothing"
    for prompt, one in zip(PROMPTS, other, strict=True):
        assert len({*prompt, *one.tokens}) == len(set(prompt)) + len(one.tokens)


def test_the_same_seed_says_the_same_and_another_one_something_else():
    gpt = lively()
    said = [
        [c.tokens for c in generate(gpt, PROMPTS, Sampling(12, temperature=1.5, seed=seed), stop_token=None)]
        for seed in (4, 4, 5)
    ]
    assert said[0] == said[1] != said[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1},
        {"max_new_tokens": 0},
        {"top_k": 0},
        {"top_p": 0},
        {"min_p": 0},
        {"min_p": 1.1},
        {"repetition_penalty": 0.9},
    ],
)
def test_settings_that_can_not_work_are_refused(settings):
    with pytest.raises(BadConfig, match="take"):
        Sampling(**settings)
