"""Distances between groups of values, held against SciPy's."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from analysis.statistics.distances import distances


@pytest.mark.parametrize("ties", [False, True])
def test_ordered_values_have_the_distance_of_kolmogorov_and_smirnov(ties: bool) -> None:
    random = np.random.default_rng(0)
    values = random.integers(5, size=40).astype(float) if ties else random.random(40)
    groups = random.random((30, 40)) < 0.25
    oracle = [ks_2samp(values[inside], values[~inside]).statistic for inside in groups]
    assert distances(values, groups) == pytest.approx(oracle)


def test_categories_have_no_order() -> None:
    """Inside has the first category twice and the second once, outside the third and the second."""
    values = np.array([0, 0, 1, 2, 1])
    inside = np.array([True, True, True, False, False])
    # Shares 2/3, 1/3, 0 and 0, 1/2, 1/2: half of 2/3 + 1/6 + 1/2.
    assert distances(values, inside[None], ordered=False) == pytest.approx([2 / 3])
    renamed = np.array([1, 1, 0, 2, 0])
    assert distances(renamed, inside[None], ordered=False) == pytest.approx([2 / 3])


@pytest.mark.parametrize("ordered", [False, True])
def test_alike_is_nought_and_apart_is_one(ordered: bool) -> None:
    inside = np.array([[True, True, False, False]])
    assert distances(np.array([1, 2, 1, 2]), inside, ordered) == [0]
    assert distances(np.array([1, 2, 3, 4]), inside, ordered) == [1]
