"""The statistics, held against enumeration, simulation, and SciPy called directly."""

import math
from collections import Counter
from itertools import chain, combinations, product

import numpy as np
import pytest
from analysis.statistics.power import detectable_difference, replicates_needed
from analysis.statistics.significance import groups, holm, sign_flip
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
    mean, low, high = mean_interval(np.array([0.97]))
    assert (mean, math.isnan(low), math.isnan(high)) == (0.97, True, True)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))


@pytest.mark.parametrize("number", [2, 3, 4, 5, 10])
def test_the_interval_covers_the_true_mean_however_few_the_seeds(number: int) -> None:
    values = np.random.default_rng(11).normal(0.98, 0.002, size=(2_000, number))
    _, low, high = np.array([mean_interval(own) for own in values]).T
    assert 0.92 <= np.mean((low <= 0.98) & (high >= 0.98)) <= 0.98


# Tests of differences


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(-9, 9) | st.integers(-900, 900), st.integers(0, 90)), max_size=10
    ),
    st.sampled_from([10_000, 6_000, 7]),
)
def test_sign_flips_are_enumerated_and_ties_are_ties(
    counts: list[tuple[int, int]], samples: int
) -> None:
    """Differences of accuracies, whose rounding makes no two flips of equal sums unequal."""
    hits = np.array([hit for hit, _ in counts], int)
    others = np.array([other for _, other in counts], int)
    flips = np.array(list(product((-1, 1), repeat=len(counts))), int) @ hits
    share = np.mean(np.abs(flips) >= abs(hits.sum()))
    assert sign_flip((others + hits) / samples - others / samples) == share


@pytest.mark.parametrize("number", range(1, 11))
def test_the_least_p_value_halves_with_each_replicate(number: int) -> None:
    assert sign_flip(np.arange(1.0, number + 1)) == 2 / 2**number
    assert sign_flip(-np.arange(1.0, number + 1)) == 2 / 2**number
    assert sign_flip(np.zeros(number)) == 1


@pytest.mark.parametrize("shift", [0, 2, 4])
def test_many_signs_are_flipped_at_random(shift: int) -> None:
    hits = np.random.default_rng(3).integers(-10, 11, size=30) + shift
    sums = Counter({0: 1})
    for hit in hits.tolist():
        step: Counter[int] = Counter()
        for total, ways in sums.items():
            step[total + hit] += ways
            step[total - hit] += ways
        sums = step
    exact = sum(ways for total, ways in sums.items() if abs(total) >= abs(hits.sum())) / 2**30
    found = sign_flip(hits / 10_000)
    assert found == pytest.approx(exact, abs=0.01)
    assert sign_flip(hits / 10_000) == found
    assert sign_flip(np.ones(40)) == 1 / 65_537


def test_sixteen_signs_are_still_enumerated() -> None:
    assert sign_flip(np.ones(16)) == 2 / 2**16


def test_holm_by_hand() -> None:
    corrected = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert corrected.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([])).shape == (0,)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.3]), max_size=6))
def test_holm_is_closed_testing_by_bonferroni(p_values: list[float]) -> None:
    """A hypothesis falls when every set of hypotheses that it is in does."""
    every = range(len(p_values))
    sets = [members for size in every for members in combinations(every, size + 1)]
    closed = [
        max(min(1, len(s) * min(p_values[k] for k in s)) for s in sets if one in s) for one in every
    ]
    assert holm(np.array(p_values)).tolist() == pytest.approx(closed)


@pytest.mark.parametrize(("comparisons", "replicates"), [(1, 6), (6, 8), (15, 10), (45, 11)])
def test_from_enough_replicates_on_something_can_be_significant(
    comparisons: int, replicates: int
) -> None:
    assert replicates_needed(comparisons) == replicates
    for number, found in ((replicates, True), (replicates - 1, False)):
        least = sign_flip(np.ones(number))
        assert (holm(np.array([least] * comparisons)).min() <= 0.05) == found


@pytest.mark.parametrize(
    ("replicates", "comparisons"), [(2, 1), (5, 6), (10, 1), (10, 6), (40, 15)]
)
def test_a_detectable_difference_is_found_four_times_in_five(
    replicates: int, comparisons: int
) -> None:
    difference = detectable_difference(0.003, replicates, comparisons)
    noise = np.random.default_rng(5).normal(scale=0.003, size=(20_000, replicates))
    p_values = stats.ttest_1samp(difference + noise, 0, axis=1).pvalue
    assert np.mean(p_values <= 0.05 / comparisons) == pytest.approx(0.8, abs=0.01)


def test_the_detectable_difference_grows_with_the_noise_and_the_comparisons() -> None:
    assert detectable_difference(0.0, 10, 6) == 0
    assert detectable_difference(2.0, 10, 6) == 2 * detectable_difference(1.0, 10, 6)
    for replicates in (2, 3, 10, 100):
        sizes = [detectable_difference(1.0, replicates, number) for number in (1, 6, 45, 300)]
        assert sizes == sorted(set(sizes))
    with pytest.raises(ValueError, match="at least 2"):
        detectable_difference(1.0, 1, 6)


# Groups


@settings(deadline=None)
@given(st.permutations("abcdef"), st.integers(0, 6), st.sets(st.integers(0, 14)))
def test_groups_are_the_largest_sets_without_a_difference(
    letters: list[str], number: int, differing: set[int]
) -> None:
    names = letters[:number]
    pairs = [frozenset(pair) for pair in combinations("abcdef", 2)]
    different = [pairs[k] for k in differing]
    sets = chain.from_iterable(combinations(names, size) for size in range(1, number + 1))
    alike = [group for group in sets if not any(pair <= set(group) for pair in different)]
    largest = [group for group in alike if not any(set(group) < set(other) for other in alike)]
    # Combinations come in the order of the names, smaller ones first.
    largest.sort(key=lambda group: [names.index(name) for name in group])
    assert groups(names, different) == largest
    assert set(chain.from_iterable(largest)) == set(names)


def test_groups_by_hand() -> None:
    different = {frozenset("ad"), frozenset("ac")}
    assert groups("abcd", different) == [("a", "b"), ("b", "c", "d")]
    assert groups("ab", set()) == [("a", "b")]


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
    for function in (mean_interval, sign_flip, expected_best):
        with pytest.raises(ValueError, match="finite"):
            function(values)
    with pytest.raises(ValueError, match="finite"):
        dependable_best(values, 0.8)
