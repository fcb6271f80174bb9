"""Intervals that hold at every look: against a search for their ends, and in simulations."""

import math

import numpy as np
import pytest

from analysis.statistics.repeated_intervals import repeated_interval
from study.results.sequential import found_above, looks_of
from tests.study.results.test_sequential import FEW, MOST, SEEDS, Draw

SIMULATED = 2_000


@pytest.mark.parametrize("seeds", [7, 10, 13])
def test_the_ends_are_where_the_test_changes_its_mind(seeds: int) -> None:
    differences = np.random.default_rng(seeds).normal(0.3, 1, seeds)
    middle, low, high = repeated_interval(differences, MOST)
    for end, sign in ((low, 1), (high, -1)):
        beyond, within = (
            found_above(sign * (differences - shift)[None], MOST)[0].any()
            for shift in (end - sign * 1e-9, end + sign * 1e-9)
        )
        assert (beyond, within) == (True, False)
    means = [(one + other) / 2 for k, one in enumerate(differences) for other in differences[k:]]
    assert middle == pytest.approx(np.median(means))
    assert low < middle < high


def test_too_early_a_look_bounds_nothing() -> None:
    """Of a plan of 40 seeds, less than one of the 128 flips of the first seven may be spent."""
    differences = np.random.default_rng(3).normal(size=7)
    middle, *ends = repeated_interval(differences, 40)
    assert ends == [-math.inf, math.inf]
    assert middle == repeated_interval(differences, MOST).mean


def test_what_is_nan_counts_for_nothing_and_a_shift_moves_the_interval() -> None:
    differences = np.random.default_rng(3).normal(size=10)
    moved = repeated_interval(differences + 5, MOST)
    np.testing.assert_allclose(moved, np.add(repeated_interval(differences, MOST), 5))
    gap = np.where(np.arange(10) == 4, math.nan, differences)
    assert np.isfinite(repeated_interval(gap, MOST)).all()


@pytest.mark.parametrize("draw", SEEDS)
def test_they_hold_at_every_look(draw: Draw) -> None:
    """Of two that are alike, of whatever distribution: 93 to 98% of intervals hold 0.

    After 7 seeds 98.4%: in each direction one flip of 128 may be spent.
    """
    random = np.random.default_rng(7)
    differences = np.diff(draw(random, (SIMULATED, 2, MOST)), axis=1)[:, 0]
    # That an interval holds 0 is that no look so far has found anything in either direction.
    outside = found_above(differences, MOST, FEW) | found_above(-differences, MOST, FEW)
    held = 1 - np.logical_or.accumulate(outside, axis=1).mean(axis=0)
    assert len(held) == len(looks_of(MOST))
    assert held[0] == pytest.approx(1 - 2 / 128, abs=0.01)
    assert (held[1:] > 0.93).all()
    assert (held[1:] < 0.98).all()


def test_where_the_looks_contradict_each_other_the_last_one_counts() -> None:
    """Seven far above, then thirteen far below: no shift would please all looks."""
    differences = np.concatenate([np.full(7, 10.0), np.full(13, -10.0)]) + np.arange(20) / 100
    middle, low, high = repeated_interval(differences, MOST)
    assert low <= middle <= high


def test_found_better_is_an_interval_above_zero() -> None:
    random = np.random.default_rng(9)
    for shift in (0.0, 0.5, 1.0, 1.5):
        differences = random.normal(shift, 1, 10)
        found = bool(found_above(differences[None], MOST).any())
        assert (repeated_interval(differences, MOST).low > 0) == found
