"""The best of k draws: what is expected, and what can be depended on."""

import numpy as np

from analysis.statistics.conventions import ROUNDING, Array, finite


def expected_best(costs: Array) -> Array:
    """The expected lowest cost of k independent draws, for k = 1..n, from n draws: shape (n,).

    Unbiased: the mean over all choices of k of the n, where the i-th lowest cost has the weight
    C(n - i, k - 1) / C(n, k) (Tang et al., arXiv 2004.13705, after Dodge et al., arXiv 1909.03004).
    """
    ranked = np.sort(finite(costs))
    # The same sum by parts: no two large numbers cancel, and it can only fall with k.
    steps = np.diff(ranked)
    behind = np.arange(len(ranked) - 1, -1, -1)
    worse = np.ones(len(ranked))  # the chance that all k rank behind the i-th best
    expected = np.empty(len(ranked))
    for drawn in range(len(ranked)):
        # C(n - i, k) / C(n, k), of that for k - 1 so that nothing overflows; once 0, always 0.
        worse = worse * (behind - drawn) / (len(ranked) - drawn)
        expected[drawn] = ranked[0] + steps @ worse[:-1]
    return expected


def dependable_best(costs: Array, chance: float) -> Array:
    """The lowest of n costs that the best of k new draws comes to with a chance, k = 1..n: (n,).

    With at least that chance, whatever the distribution: all k new draws lie behind the j-th lowest
    of the n in C(n, j) / C(n + k, j) of the orders of all n + k, each of which is as likely (Hahn &
    Meeker, Statistical Intervals, 1991). NaN where not even the highest of the n is so sure.
    """
    ranked = np.append(np.sort(finite(costs)), np.nan)
    left = np.arange(len(costs), 0, -1)
    most = (1 - chance) * (1 + ROUNDING)
    behind = (np.cumprod(left / (left + new)) for new in left[::-1])
    ranks = (np.count_nonzero(one > most) for one in behind)
    reached: Array = ranked[np.fromiter(ranks, dtype=int, count=len(costs))]
    return reached
