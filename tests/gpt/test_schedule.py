"""Learning rate and weight decay over a run."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.schedule import DECAYS, WSD_DECAY_SHARE, learning_rate, weight_decay

RUN = {"steps": 100, "peak": 1e-3, "floor": 1e-4, "warmup": 10}


@pytest.mark.parametrize("decay", DECAYS)
def test_the_rate_climbs_in_a_line_reaches_its_peak_and_ends_on_its_floor(decay):
    rates = [learning_rate(step, **RUN, decay=decay) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([1e-4 * step for step in range(1, 11)])
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-4)
    assert all(later <= earlier for earlier, later in pairwise(rates[9:]))


def test_cosine_is_half_way_in_the_middle_and_linear_is_a_line():
    assert learning_rate(55, **RUN, decay="cosine") == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(55, **RUN, decay="linear") == pytest.approx((1e-3 + 1e-4) / 2)
    assert learning_rate(32, **RUN, decay="linear") == pytest.approx(1e-4 + 9e-4 * 68 / 90)
    assert learning_rate(32, **RUN, decay="cosine") > learning_rate(32, **RUN, decay="linear")


def test_wsd_stays_on_its_peak_until_the_last_part_and_falls_as_one_minus_the_root():
    fall = 100 - WSD_DECAY_SHARE * 90
    assert learning_rate(int(fall), **RUN, decay="wsd") == pytest.approx(1e-3)
    half = int(fall + 9)
    assert learning_rate(half, **RUN, decay="wsd") == pytest.approx(1e-4 + 9e-4 * (1 - math.sqrt(0.5)))


@given(st.integers(1, 500), st.integers(0, 600), st.sampled_from(DECAYS))
def test_the_rate_is_never_above_the_peak_or_not_positive(steps, warmup, decay):
    run = {"steps": steps, "peak": 1e-3, "floor": 1e-5, "warmup": warmup, "decay": decay}
    assert all(0 < learning_rate(step, **run) <= 1e-3 * (1 + 1e-9) for step in range(1, steps + 1))


@pytest.mark.parametrize(("epoch", "value"), [(0.0, 0.1), (1.999, 0.1), (2.0, 0.05), (9.0, 0.05)])
def test_weight_decay_follows_its_phases(epoch, value):
    assert weight_decay(epoch, ((0.0, 0.1), (2.0, 0.05))) == value
