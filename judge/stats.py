"""How sure a pass rate is, and whether one model beat another. Questions come in articles, and an article's questions
stand or fall together: every interval and every test here counts articles, not questions alone.

Standard library only. Outcomes are True (passed) or False; what was not judged is left out by the caller.
Sources: Wilson 1927; Miller, arXiv:2411.00640, appendix A (clustered errors); Korn and Graubard 1998 (effective n).
"""

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

CONFIDENCE = 0.95
EFFECT = 0.03  # differences below this are of no interest: three points
FLIPS = 10_000  # random sign flips where the exact distribution would take too long
EXACT_WORK = 5_000_000  # additions the exact distribution may cost
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
Z_POWER = Z + NormalDist().inv_cdf(0.8)  # to see an effect four times in five

Outcome = tuple[str, bool]  # (article, passed)


@dataclass(frozen=True)
class Rate:
    """A pass rate and its interval. n_effective: how many independent questions these are worth."""

    n: int
    passed: int
    pass_rate: float | None
    low: float | None
    high: float | None
    num_articles: int
    n_effective: float


@dataclass(frozen=True)
class Difference:
    """Model minus the other one, on the same questions, with its interval and the decision in words.

    words: better | worse | no difference | cannot tell. smallest_visible: the effect this many questions would show
    four times in five; None when the two never disagreed.
    """

    n: int
    num_articles: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    smallest_visible: float | None
    gained: int
    lost: int
    words: str


def wilson(passed: float, n: float, z: float = Z) -> tuple[float, float]:
    """The Wilson score interval of a rate, passed out of n > 0. Both may be fractions (an effective n)."""
    share = passed / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def rate(outcomes: Iterable[Outcome]) -> Rate:
    """The pass rate, its Wilson interval on the effective number of questions.

    n_effective = n / deff, deff = 1 + (m - 1) ICC with m the size of the article a question is in, on average; where
    articles hold several questions it shrinks once more by (z / t)^2 with one less than the articles as degrees of
    freedom, since the ICC itself is only estimated. One article alone is worth one question.
    """
    by_article = _grouped(outcomes)
    n = sum(map(len, by_article.values()))
    passed = sum(map(sum, by_article.values()))
    if n == 0:
        return Rate(0, 0, None, None, None, 0, 0.0)
    effective = n_effective(list(by_article.values()))
    low, high = wilson(passed / n * effective, effective)
    return Rate(n, passed, passed / n, low, high, len(by_article), effective)


def n_effective(groups: Sequence[Sequence[bool]]) -> float:
    """How many independent questions these groups of outcomes are worth: from 1 to their number."""
    n, num_groups = sum(map(len, groups)), len(groups)
    if num_groups == n:
        return float(n)
    if num_groups == 1:
        return 1.0
    size = sum(len(group) ** 2 for group in groups) / n
    deff = 1 + (size - 1) * icc(groups)
    return max(1.0, n / deff * (Z / t_quantile(0.5 + CONFIDENCE / 2, num_groups - 1)) ** 2)


def icc(groups: Sequence[Sequence[bool]]) -> float:
    """The intraclass correlation by analysis of variance, between 0 and 1; 0 when all outcomes are the same."""
    n, num_groups = sum(map(len, groups)), len(groups)
    mean = sum(map(sum, groups)) / n
    between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in groups) / (num_groups - 1)
    within = sum(sum(group) * (1 - sum(group) / len(group)) for group in groups) / (n - num_groups)
    size = (n - sum(len(group) ** 2 for group in groups) / n) / (num_groups - 1)
    total = between + (size - 1) * within
    return min(1.0, max(0.0, (between - within) / total)) if total > 0 else 0.0


def paired(pairs: Iterable[tuple[str, bool, bool]], *, effect: float = EFFECT, seed: int = 0) -> Difference:
    """Compare two models on the same questions. pairs: (article, the model passed, the other passed).

    The interval is Student's t on the articles' sums; p is the sign-flip test: under no difference, each article's sum
    of differences might as well have had the other sign. seed: only for flips drawn at random.
    """
    by_article: dict[str, list[int]] = {}
    for article, ours, theirs in pairs:
        by_article.setdefault(article, []).append(ours - theirs)
    groups = list(by_article.values())
    flat = [value for group in groups for value in group]
    n, num_articles = len(flat), len(groups)
    if n == 0:
        return Difference(0, 0, None, None, None, None, None, 0, 0, "cannot tell")
    mean = sum(flat) / n
    half = _half_width(groups, mean)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Difference(
        n=n,
        num_articles=num_articles,
        difference=mean,
        low=low,
        high=high,
        p=sign_flip_p([sum(group) for group in groups], seed=seed),
        smallest_visible=_smallest_visible(groups, flat),
        gained=flat.count(1),
        lost=flat.count(-1),
        words=decide(low, high, effect),
    )


def decide(low: float, high: float, effect: float = EFFECT) -> str:
    """The four words for an interval of differences."""
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "no difference" if -effect <= low and high <= effect else "cannot tell"


def clustered_error(groups: Sequence[Sequence[float]]) -> float:
    """The standard error of the mean over all values of at least two groups."""
    n, num_groups = sum(map(len, groups)), len(groups)
    mean = sum(map(sum, groups)) / n
    squares = sum((sum(group) - len(group) * mean) ** 2 for group in groups)
    return math.sqrt(num_groups / (num_groups - 1) * squares) / n


def _half_width(groups: Sequence[Sequence[int]], mean: float) -> float:
    num_groups = len(groups)
    if num_groups == 1:
        return 2.0  # one article tells nothing about the next one
    error = clustered_error(groups)
    if error > 1e-12:
        return t_quantile(0.5 + CONFIDENCE / 2, num_groups - 1) * error
    return float(1 - (1 - CONFIDENCE) ** (1 / num_groups))  # all alike: the share of other articles not yet met


def _smallest_visible(groups: Sequence[Sequence[int]], flat: Sequence[int]) -> float | None:
    """2.80 sqrt(discordant share * deff / n); deff is the clustered variance over the plain one."""
    n, discordant = len(flat), sum(map(abs, flat)) / len(flat)
    plain = (discordant - (sum(flat) / n) ** 2) / n
    if plain <= 0 or len(groups) < 2:
        return None
    deff = clustered_error(groups) ** 2 / plain
    return Z_POWER * math.sqrt(discordant * max(deff, 1.0) / n)


def sign_flip_p(sums: Sequence[int], *, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test on whole-number sums: exact, or from 10,000 flips where exact is too slow."""
    sizes = [abs(value) for value in sums if value]
    observed, span = abs(sum(sums)), sum(sizes)
    if len(sizes) * (span + 1) > EXACT_WORK:
        return _flipped_p(sizes, observed, random.Random(seed))
    ways = [1] + [0] * span  # ways[s]: sets of sums with a plus sign that make s together
    reached = 0
    for size in sizes:
        reached += size
        for total in range(reached, size - 1, -1):
            ways[total] += ways[total - size]
    extreme = sum(count for plus, count in enumerate(ways) if abs(2 * plus - span) >= observed)
    return float(extreme / 2 ** len(sizes))


def _flipped_p(sizes: Sequence[int], observed: int, draw: random.Random) -> float:
    alike = {size: sizes.count(size) for size in set(sizes)}
    extreme = sum(abs(_flip(alike, draw)) >= observed for _ in range(FLIPS))
    return (1 + extreme) / (1 + FLIPS)


def _flip(alike: Mapping[int, int], draw: random.Random) -> int:
    """One sum with random signs: of `count` articles of a size, as many are plus as random bits are set."""
    return sum(size * (2 * draw.getrandbits(count).bit_count() - count) for size, count in sorted(alike.items()))


def t_quantile(share: float, freedom: float) -> float:
    """The value that Student's t stays below with probability `share`, 0 < share < 1, freedom > 0."""
    if share < 0.5:
        return -t_quantile(1 - share, freedom)
    high = 1.0
    while t_below(high, freedom) < share:
        high *= 2
    return _bisect(lambda value: t_below(value, freedom) - share, 0.0, high)


def t_below(value: float, freedom: float) -> float:
    """P(T <= value) of Student's t."""
    tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value)) / 2
    return 1 - tail if value > 0 else tail


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), 0 <= x <= 1, by its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a / _beta_fraction(a, b, x)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)), from the last term that matters back to the first (DLMF 8.17.22)."""
    num_terms = 40 + int(4 * math.sqrt(max(a, b)))
    value = 1.0
    for term in range(num_terms, 0, -1):
        m, odd = divmod(term, 2)
        if odd:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + d / value
    return value


def _grouped(outcomes: Iterable[Outcome]) -> dict[str, list[bool]]:
    groups: dict[str, list[bool]] = {}
    for article, passed in outcomes:
        groups.setdefault(article, []).append(passed)
    return groups


def worst_case(passed: int, n: int, unscored: int) -> tuple[float, float] | None:
    """The pass rate if every unscored question had failed, and if every one had passed."""
    total = n + unscored
    return (passed / total, (passed + unscored) / total) if total else None


def as_json(value: Rate | Difference) -> dict[str, Any]:
    """The fields, rounded to six digits: what is written to report.json."""
    return {name: round(field, 6) if isinstance(field, float) else field for name, field in vars(value).items()}
