"""Intervals of paired differences that hold whenever their seeds have been looked at."""

from itertools import combinations_with_replacement

import numpy as np

from analysis.statistics.conventions import Array
from analysis.statistics.intervals import Interval
from study.results.sequential import found_above


def repeated_interval(differences: Array, most: int) -> Interval:
    """The pseudo-median of paired differences, and what they cannot be told apart from.

    The median of the means of all pairs (Hodges & Lehmann, Ann. Math. Stat. 34, 1963), with the
    shifts that the test which is looked at as it goes has found too low or too high at none of its
    looks so far: 95% or more, however often it has been looked at (Jennison & Turnbull, J. R. Stat.
    Soc. B 51, 1989). Where the looks contradict each other, those of the last one alone. Infinite
    ends where no shift is too large yet.

    Args:
        differences: (seeds,), at one of the plan's looks; NaN counts for nothing, and is not all.
        most: seeds of the plan.
    """
    known = differences[np.isfinite(differences)]
    means = np.array([(one + other) / 2 for one, other in combinations_with_replacement(known, 2)])
    for looks in (slice(None), slice(-1, None)):
        low, high = (
            sign * _lower(sign * differences, np.unique(sign * means), most, looks)
            for sign in (1, -1)
        )
        if low <= high:
            break
    return Interval(float(np.median(means)), low, high)


def _lower(differences: Array, means: Array, most: int, looks: slice) -> float:
    """The lowest shift that is not found too low. Only at the means do ranks change."""
    gaps = np.concatenate([means[:1] - 1, (means[1:] + means[:-1]) / 2, means[-1:] + 1])
    found, above = -1, len(gaps)  # the last gap that is found too low, and the first that is not
    while above - found > 1:
        middle = (found + above) // 2
        if found_above((differences - gaps[middle])[None], most)[0, looks].any():
            found = middle
        else:
            above = middle
    return float(means[found]) if found >= 0 else -np.inf
