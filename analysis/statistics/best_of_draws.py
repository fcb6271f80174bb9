"""The best of k draws, as expected and in quantiles."""

from collections.abc import Iterator

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
    return np.array([ranked[0] + steps @ worse[:-1] for worse in _all_worse(len(ranked))])


def best_quantiles(costs: Array, probabilities: tuple[float, ...]) -> Array:
    """Quantiles of the lowest cost of k of the n draws, for k = 1..n: shape (probabilities, n).

    Each the lowest cost seen that the best of k does not exceed with at least that probability.
    """
    ranked = np.sort(finite(costs))
    most = (1 - np.array(probabilities)[:, np.newaxis]) * (1 + ROUNDING)
    quantiles = np.empty((len(probabilities), len(ranked)))
    for column, worse in enumerate(_all_worse(len(ranked))):
        quantiles[:, column] = ranked[np.count_nonzero(worse > most, axis=1)]
    return quantiles


def _all_worse(draws: int) -> Iterator[Array]:
    """For k = 1..n: the chances that k of n draws all rank behind the i-th best, shape (n,).

    They are C(n - i, k) / C(n, k), each made of that for k - 1 so that nothing overflows.
    """
    behind = np.arange(draws - 1, -1, -1)
    worse = np.ones(draws)
    for drawn in range(draws):
        worse = worse * (behind - drawn) / (draws - drawn)  # once 0, always 0
        yield worse
