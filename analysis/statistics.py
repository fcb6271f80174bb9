"""What can be concluded from a few replicates: intervals, tests, groups, and the best of k draws.

Pure numbers. Arrays are one-dimensional and finite, a number a replicate or a draw; what holds
anything else is a ``ValueError``. Whatever is random is seeded, so that the same numbers give the
same answer.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq

Array = npt.NDArray[np.float64]

LEVEL = 0.95
"""Of confidence; all tests together are wrong with what is left."""
POWER = 0.8
RESAMPLES = 9_999
FLIPS = 2**16
"""Of signs: all of them for up to 16 replicates, else so many at random."""
SEED = 1
ROUNDING = 1e-9
"""Relative. Numbers that are closer differ by rounding: 0.9871 - 0.9870 is no 0.9872 - 0.9871."""


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
    values = _finite(values)
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


def sign_flip(differences: Array) -> float:
    """The p-value of paired differences that are symmetric about 0 if nothing differs.

    Two-sided: the share of flips of their signs whose sum is at least as far from 0. Exact for up
    to 16 differences, else estimated from 65,536 random flips, and then never 0.
    """
    differences = _finite(differences)
    if len(differences) < 2:
        return 1.0  # whatever it is, its flip is as far; SciPy wants two
    flipped = stats.permutation_test(
        (differences,),
        np.sum,
        permutation_type="samples",  # of which SciPy flips the signs if there is but one
        vectorized=True,
        n_resamples=FLIPS,
        rng=SEED,
    )
    sums: Array = np.abs(flipped.null_distribution)
    # SciPy's own p-value takes rounding relative to the sum, and so misses ties if that is small.
    tie = abs(differences.sum()) - ROUNDING * np.abs(differences).sum()
    # To random flips the observed signs are added.
    added = int(2 ** len(differences) > FLIPS)
    return (int(np.count_nonzero(sums >= tie)) + added) / (len(sums) + added)


def holm(p_values: Array) -> Array:
    """P-values corrected for their number, in the order given (Holm, Scand. J. Stat. 6, 1979)."""
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def replicates_needed(comparisons: int) -> int:
    """From how many replicates on :func:`sign_flip` can be significant at all after Holm."""
    return next(n for n in count() if comparisons * 2 / 2**n <= 1 - LEVEL)


def detectable_difference(deviation: float, replicates: int, comparisons: int) -> float:
    """The smallest true mean difference that is found with 80% chance, in the deviation's unit.

    ``deviation`` is the standard deviation of the paired differences. The two-sided paired t test
    at 5% over the comparisons (at least 1) stands in for :func:`sign_flip`, which has no closed
    form. That finds it less often: with 10 replicates and 6 comparisons in 75%, with as many
    replicates as :func:`replicates_needed` says in 65%, with fewer never. Fewer than 2 replicates
    are a ``ValueError``.
    """
    if replicates < 2:
        raise ValueError(f"a test needs at least 2 replicates, not {replicates}")
    freedom = replicates - 1
    threshold = float(stats.t.isf((1 - LEVEL) / comparisons / 2, freedom))

    def excess(shift: float) -> float:
        # To be significant with the wrong sign is not to find it.
        return float(stats.nct.sf(threshold, freedom, shift)) - POWER

    # At twice the threshold and some, the power is above 95% for any number of replicates.
    shift = float(brentq(excess, 0, 2 * threshold + 2))
    return deviation * shift / math.sqrt(replicates)


def groups(names: Sequence[str], different: Collection[frozenset[str]]) -> list[tuple[str, ...]]:
    """The largest sets of names of which no pair is in ``different``; each name is in one or more.

    Names keep their order, and so do the groups. Insert and absorb: every different pair splits the
    groups that hold both (Piepho, J. Comput. Graph. Stat. 13, 2004).
    """
    found = {frozenset(names)} if names else set()
    for pair in different:
        whole = {group for group in found if not pair <= group}
        split = whole | {group - {name} for group in found - whole for name in pair}
        found = {group for group in split if not any(group < other for other in split)}
    positions = sorted(sorted(map(names.index, group)) for group in found)
    return [tuple(names[position] for position in group) for group in positions]


def expected_best(costs: Array) -> Array:
    """The expected lowest cost of k independent draws, for k = 1..n, from n draws: shape (n,).

    Unbiased: the mean over all choices of k of the n, where the i-th lowest cost has the weight
    C(n - i, k - 1) / C(n, k) (Tang et al., arXiv 2004.13705, after Dodge et al., arXiv 1909.03004).
    """
    ranked = np.sort(_finite(costs))
    # The same sum by parts: no two large numbers cancel, and it can only fall with k.
    steps = np.diff(ranked)
    return np.array([ranked[0] + steps @ worse[:-1] for worse in _all_worse(len(ranked))])


def best_quantiles(costs: Array, probabilities: tuple[float, ...]) -> Array:
    """Quantiles of the lowest cost of k of the n draws, for k = 1..n: shape (probabilities, n).

    Each the lowest cost seen that the best of k does not exceed with at least that probability.
    """
    ranked = np.sort(_finite(costs))
    most = (1 - np.array(probabilities)[:, np.newaxis]) * (1 + ROUNDING)
    quantiles = np.empty((len(probabilities), len(ranked)))
    for column, worse in enumerate(_all_worse(len(ranked))):
        quantiles[:, column] = ranked[np.count_nonzero(worse > most, axis=1)]
    return quantiles


def _finite(values: Array) -> Array:
    if not np.isfinite(values).all():
        raise ValueError("the values must be finite")
    return values


def _expanded_level(number: int) -> float:
    """Whose normal quantile is the t quantile of LEVEL times sqrt(n / (n - 1))."""
    quantile = stats.t.isf((1 - LEVEL) / 2, number - 1) * math.sqrt(number / (number - 1))
    # That of 2 values rounds to 1, of which BCa makes NaN.
    return min(1 - 2 * float(stats.norm.sf(quantile)), 1 - 1e-12)


def _all_worse(draws: int) -> Iterator[Array]:
    """For k = 1..n: the chances that k of n draws all rank behind the i-th best, shape (n,).

    They are C(n - i, k) / C(n, k), each made of that for k - 1 so that nothing overflows.
    """
    behind = np.arange(draws - 1, -1, -1)
    worse = np.ones(draws)
    for drawn in range(draws):
        worse = worse * (behind - drawn) / (draws - drawn)  # once 0, always 0
        yield worse
