"""The statistics against known values, against scipy, against slow definitions, and by how often they are right."""

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge import stats
from judge.stats import (
    clustered_error,
    decide,
    icc,
    n_effective,
    paired,
    rate,
    sign_flip_p,
    t_below,
    t_quantile,
    wilson,
)

GROUPS = st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("passed", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (97, 100, 0.9155, 0.9897), (1, 1, 0.2065, 1.0)],
)
def test_wilson_has_its_published_values(passed, n, low, high):
    assert wilson(passed, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("share", "freedom", "value"),
    [(0.975, 1, 12.7062), (0.975, 5, 2.5706), (0.975, 30, 2.0423), (0.95, 10, 1.8125), (0.995, 3, 5.8409), (0.5, 4, 0)],
)
def test_students_t_has_the_values_of_the_printed_tables(share, freedom, value):
    assert t_quantile(share, freedom) == pytest.approx(value, abs=5e-5)


@given(st.floats(0.001, 0.999), st.floats(1, 1e4))
def test_students_t_is_undone_by_its_quantile_and_is_symmetric(share, freedom):
    value = t_quantile(share, freedom)
    assert t_below(value, freedom) == pytest.approx(share, abs=1e-9)
    assert t_quantile(1 - share, freedom) == pytest.approx(-value, rel=1e-6, abs=1e-6)


def test_the_statistics_agree_with_scipy():
    oracle = pytest.importorskip("scipy.stats")
    for freedom, share in itertools.product((1, 2, 5, 39, 500, 100_000), (0.6, 0.9, 0.975, 0.9999)):
        assert t_quantile(share, freedom) == pytest.approx(oracle.t.ppf(share, freedom), rel=1e-9)
    for passed, n in ((0, 7), (3, 7), (97, 100), (1, 1)):
        found = oracle.binomtest(passed, n).proportion_ci(method="wilson")
        assert wilson(passed, n) == pytest.approx((found.low, found.high), abs=1e-9)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_rate_within_zero_and_one_and_mirrors(counts):
    passed, n = counts
    low, high = wilson(passed, n)
    assert 0 <= low <= passed / n <= high <= 1
    assert wilson(n - passed, n) == pytest.approx((1 - high, 1 - low))


@given(GROUPS)
def test_an_effective_number_lies_between_one_and_the_number_of_questions(groups):
    assert 1 <= n_effective(groups) <= sum(map(len, groups))
    assert 0 <= (icc(groups) if sum(map(len, groups)) > len(groups) else 0) <= 1


def test_questions_of_one_article_that_stand_or_fall_together_count_once():
    together = [(str(article), article % 2 == 0) for article in range(40) for _ in range(10)]
    mixed = [(str(article), question % 2 == 0) for article in range(40) for question in range(10)]
    assert rate(together).n_effective <= 40
    assert rate(mixed).n_effective > 350
    assert rate(together).pass_rate == rate(mixed).pass_rate == 0.5


def test_one_article_tells_almost_nothing_and_none_tells_nothing():
    alone = rate([("a", True)] * 50)
    assert (alone.n, alone.n_effective) == (50, 1.0)
    assert alone.low is not None
    assert alone.low < 0.25
    assert rate([]).pass_rate is None


def test_where_each_article_has_one_question_the_rate_is_plain_wilson():
    found = rate((str(number), number < 30) for number in range(40))
    assert (found.low, found.high) == pytest.approx(wilson(30, 40))


def draw_articles(
    draw: random.Random, num_articles: int, size: int, share: float, alike: float
) -> list[tuple[str, bool]]:
    """Outcomes of articles whose own rates are beta-distributed, so that their questions correlate by `alike`."""
    a, b = share * (1 / alike - 1), (1 - share) * (1 / alike - 1)
    own = [draw.betavariate(a, b) for _ in range(num_articles)]
    return [(str(article), draw.random() < own[article]) for article in range(num_articles) for _ in range(size)]


@pytest.mark.parametrize(
    ("num_articles", "size", "share", "alike"), [(40, 8, 0.5, 0.15), (12, 10, 0.8, 0.2), (6, 15, 0.5, 0.3)]
)
def test_the_interval_of_a_rate_holds_the_truth_as_often_as_it_says_and_plain_wilson_does_not(
    num_articles, size, share, alike
):
    draw, runs, held, plainly = random.Random(7), 400, 0, 0
    for _ in range(runs):
        found = rate(draw_articles(draw, num_articles, size, share, alike))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= share <= found.high
        low, high = wilson(found.passed, found.n)
        plainly += low <= share <= high
    assert held / runs >= 0.92
    assert plainly / runs <= 0.85


def null_pairs(draw: random.Random, num_articles: int, size: int) -> list[tuple[str, bool, bool]]:
    """Two equal models; one article suits the one, the next article the other."""
    pairs = []
    for article in range(num_articles):
        ours, theirs = (min(max(draw.gauss(0.5, 0.2), 0), 1) for _ in "ab")
        pairs += [(str(article), draw.random() < ours, draw.random() < theirs) for _ in range(size)]
    return pairs


def test_two_equal_models_are_told_apart_one_time_in_twenty():
    draw, runs = random.Random(11), 400
    found = [paired(null_pairs(draw, 30, 6)) for _ in range(runs)]
    alarms = sum(difference.words in ("better", "worse") for difference in found)
    small_p = sum(difference.p is not None and difference.p <= 0.05 for difference in found)
    assert 0.02 <= alarms / runs <= 0.085
    assert 0.02 <= small_p / runs <= 0.085


def test_a_model_that_is_better_is_found_better_and_the_mirror_worse():
    draw = random.Random(3)
    pairs = [(str(number // 5), draw.random() < 0.7, draw.random() < 0.4) for number in range(300)]
    up, down = paired(pairs), paired((article, theirs, ours) for article, ours, theirs in pairs)
    assert (up.words, down.words) == ("better", "worse")
    assert up.difference == pytest.approx(-down.difference)
    assert (up.low, up.high) == pytest.approx((-down.high, -down.low))
    assert (up.gained, up.lost, up.p) == (down.lost, down.gained, down.p)


def brute_p(sums: list[int]) -> float:
    """The definition: every choice of signs."""
    flips = list(itertools.product((1, -1), repeat=len(sums)))
    observed = abs(sum(sums))
    return sum(abs(sum(s * f for s, f in zip(sums, flip, strict=True))) >= observed for flip in flips) / len(flips)


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
def test_the_exact_sign_flip_test_equals_trying_all_signs(sums):
    assert sign_flip_p(sums) == pytest.approx(brute_p(sums))


def test_flips_drawn_at_random_come_near_the_exact_test_and_are_the_same_for_a_seed(monkeypatch):
    draw = random.Random(5)
    sums = [draw.randint(-4, 5) for _ in range(40)]
    exact = sign_flip_p(sums)
    monkeypatch.setattr(stats, "EXACT_WORK", 0)
    assert sign_flip_p(sums, seed=1) == pytest.approx(exact, abs=0.02)
    assert sign_flip_p(sums, seed=1) == sign_flip_p(sums, seed=1)


def test_where_each_article_has_one_question_the_clustered_error_is_the_plain_one():
    values = [[1], [0], [-1], [1], [1], [0]]
    mean = sum(v for [v] in values) / 6
    plain = math.sqrt(sum((v - mean) ** 2 for [v] in values) / 5 / 6)
    assert clustered_error(values) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.1, "better"), (-0.1, -0.01, "worse"), (-0.02, 0.03, "no difference"), (-0.02, 0.2, "cannot tell")],
)
def test_four_words_decide(low, high, words):
    assert decide(low, high) == words


def test_models_that_never_disagree_are_alike_only_when_many_articles_say_so():
    few, many = (paired((str(article), True, True) for article in range(count)) for count in (5, 200))
    assert few.words == "cannot tell"
    assert many.words == "no difference"
    assert many.smallest_visible is None
    assert paired([]).words == "cannot tell"
    assert paired([("a", True, False)] * 30).words == "cannot tell"


def test_the_smallest_visible_effect_is_that_of_the_published_table():
    pairs = [(str(number), number % 10 == 0, number % 10 == 1) for number in range(400)]
    assert paired(pairs).smallest_visible == pytest.approx(0.0626, abs=2e-4)


def test_the_worst_case_counts_the_unscored_both_ways():
    assert stats.worst_case(5, 10, 10) == (0.25, 0.75)
    assert stats.worst_case(0, 0, 0) is None
