"""Means with their confidence intervals."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from analysis.statistics.conventions import LEVEL, RESAMPLES, ROUNDING, SEED, Array, finite


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Array) -> Interval:
    """The mean and its 95% BCa bootstrap interval (Efron, JASA 82, 1987).

    The level is expanded for small samples, which otherwise cover too little (Hesterberg, arXiv
    1411.5279). As many values are always resampled alike: the intervals of two families and of
    their paired differences rest on the same draws of replicates. Values that are all equal give a
    point; a single one has ends of NaN; none are a ``ValueError``.
    """
    values = finite(values)
    if not len(values):
        raise ValueError("a mean needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        return Interval(mean, mean, mean)
    level = _expanded_level(len(values))
    low, high = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, confidence_level=level, method="BCa", rng=SEED
    ).confidence_interval
    return Interval(mean, float(low), float(high))


def _expanded_level(number: int) -> float:
    """The level whose normal quantile is the t quantile of LEVEL times sqrt(n / (n - 1))."""
    quantile = stats.t.isf((1 - LEVEL) / 2, number - 1) * math.sqrt(number / (number - 1))
    # That of 2 values rounds to 1, of which BCa makes NaN.
    return min(1 - 2 * float(stats.norm.sf(quantile)), 1 - 1e-12)
