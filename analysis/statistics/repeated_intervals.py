"""Intervals of paired differences that hold whenever their seeds have been looked at."""

from itertools import combinations_with_replacement

import numpy as np

from analysis.statistics.conventions import Array
from analysis.statistics.intervals import Interval
from study.results.sequential import found_above


def repeated_interval(differences: Array, most: int) -> Interval:
    """The pseudo-median of paired differences, and what they cannot be told apart from.

    The median of the means of all pairs (Hodges & Lehmann, Ann. Math. Stat. 34, 1963), with the
    shifts at which the test that is looked at as it goes finds nothing, in either direction, at the
    look at these seeds: 95% or more, however often it has been looked at (Jennison & Turnbull, J.
    R. Stat. Soc. B 51, 1989). Infinite ends where no shift is too large.

    Args:
        differences: (seeds,), at one of the plan's looks; NaN counts for nothing.
        most: seeds of the plan.
    """
    finite = differences[np.isfinite(differences)]
    means = np.unique([(one + other) / 2 for one, other in _pairs(finite)])
    middle = float(np.median([(one + other) / 2 for one, other in _pairs(finite)]))
    low, high = (_lower(sign * differences, np.sort(sign * means), most) for sign in (1, -1))
    return Interval(middle, low, -high)


def _pairs(values: Array) -> list[tuple[float, float]]:
    return list(combinations_with_replacement(values.tolist(), 2))


def _lower(differences: Array, means: Array, most: int) -> float:
    """The lowest shift that is not found too low. Only at the means do ranks change."""
    gaps = np.concatenate([means[:1] - 1, (means[1:] + means[:-1]) / 2, means[-1:] + 1])
    found, above = -1, len(gaps)  # the last gap found too low, and the first that is not
    while above - found > 1:
        middle = (found + above) // 2
        if found_above((differences - gaps[middle])[None], most)[0, -1]:
            found = middle
        else:
            above = middle
    return float(means[found]) if found >= 0 else -np.inf
