"""The statistics, held against enumeration, simulation, and SciPy called directly."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics.best_of_draws import dependable_best, expected_best
from analysis.statistics.conventions import Array
from analysis.statistics.intervals import mean_interval

ACCURACIES = np.array(
    [0.9871, 0.9868, 0.9875, 0.9879, 0.9851, 0.9866, 0.9870, 0.9871, 0.9862, 0.98]
)


# The interval of a mean


@pytest.mark.parametrize("number", [2, 3, 4, 5, 10])
def test_the_interval_is_that_of_the_t_test(number: int) -> None:
    values = ACCURACIES[:number]
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values) == pytest.approx((values.mean(), low, high), rel=1e-12)


def test_the_interval_is_of_the_values_whatever_their_unit() -> None:
    found, scaled = mean_interval(ACCURACIES), mean_interval(100 - 100 * ACCURACIES)
    assert scaled == pytest.approx([100 * (1 - end) for end in (found.mean, found.high, found.low)])


@pytest.mark.parametrize("value", [0.0, 0.97, -3e-5, 1e9])
def test_equal_values_have_a_point_for_an_interval(value: float) -> None:
    assert mean_interval(np.full(10, value)) == pytest.approx((value, value, value))
    rounded = np.array([value * (1 + 1e-15 * k) for k in range(10)])
    mean, low, high = mean_interval(rounded)
    assert mean == low == high == pytest.approx(value)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    mean, *ends = mean_interval(np.array([0.97]))
    assert mean == 0.97
    assert np.isnan(ends).all()
    assert np.isnan(mean_interval(np.array([]))).all()


@pytest.mark.parametrize("number", [2, 3, 4, 5, 10])
def test_the_interval_covers_the_true_mean_however_few_the_seeds(number: int) -> None:
    values = np.random.default_rng(11).normal(0.98, 0.002, size=(2_000, number))
    _, low, high = np.array([mean_interval(own) for own in values]).T
    assert 0.92 <= np.mean((low <= 0.98) & (high >= 0.98)) <= 0.98


# The best of k draws

COSTS = st.lists(st.floats(-1e3, 1e3) | st.sampled_from([0.1, 0.2]), min_size=1, max_size=8)


@settings(deadline=None)
@given(COSTS)
def test_the_expected_best_is_the_mean_over_all_choices(costs: list[float]) -> None:
    bests = [np.mean([min(c) for c in combinations(costs, k + 1)]) for k in range(len(costs))]
    assert expected_best(np.array(costs)).tolist() == pytest.approx(bests, abs=1e-9)


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize("chance", [0.5, 0.8, 0.9])
def test_what_is_dependable_is_so_in_a_share_of_all_orders(number: int, chance: float) -> None:
    """Of old and new draws, whose places among all of them are as likely whichever they are."""
    found = dependable_best(np.arange(float(number)), chance)
    for k in range(1, number + 1):
        old = np.array(list(combinations(range(number + k), number)))
        best = np.array([min(set(range(number + k)) - set(places)) for places in old])
        reached = (best[:, np.newaxis] < old).sum(axis=0)
        sure = [*np.flatnonzero(reached >= chance * len(old) - 1e-9), math.nan]
        assert found[k - 1] == pytest.approx(sure[0], nan_ok=True)


@pytest.mark.parametrize("number", [4, 10, 16])
def test_what_is_dependable_holds_of_new_draws(number: int) -> None:
    random = np.random.default_rng(13)
    seen, new = random.lognormal(size=(2, 2_000, number))
    found = np.array([dependable_best(costs, 0.8) for costs in seen])
    held = (np.minimum.accumulate(new, axis=1) <= found).mean(axis=0)
    assert ((held > 0.78) & (held < 0.95)).all(), held


def test_thousands_of_draws_overflow_nothing() -> None:
    costs = np.random.default_rng(7).lognormal(size=5_000)
    expected = expected_best(costs)
    assert expected.shape == (5_000,)
    assert expected[0] == pytest.approx(costs.mean())
    assert expected[1] == pytest.approx(
        np.sort(costs) @ np.arange(4_999, -1, -1) / math.comb(5_000, 2)
    )
    assert expected[-1] == costs.min()
    dependable = dependable_best(costs, 0.8)
    for curve in (expected, dependable):
        assert np.isfinite(curve).all()
        assert (np.diff(curve) <= 0).all()
    assert dependable[0] == np.sort(costs)[4_000]  # the first of which 80% of 5,001 are no worse


def test_no_draws_have_no_best() -> None:
    assert expected_best(np.array([])).shape == (0,)
    assert dependable_best(np.array([]), 0.8).shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_only_finite_values_are_taken(bad: float) -> None:
    values: Array = np.array([0.1, bad, 0.3])
    for function in (mean_interval, expected_best):
        with pytest.raises(ValueError, match="finite"):
            function(values)
    with pytest.raises(ValueError, match="finite"):
        dependable_best(values, 0.8)
