"""Tests of paired differences, corrected for their number, and the groups that they leave."""

from collections.abc import Collection, Sequence

import numpy as np
from scipy import stats

from analysis.statistics.conventions import ROUNDING, SEED, Array, finite

FLIPS = 2**16
"""Of signs: all of them for up to 16 replicates, else so many at random."""


def sign_flip(differences: Array) -> float:
    """The p-value of paired differences that are symmetric about 0 if nothing differs.

    Two-sided: the share of flips of their signs whose sum is at least as far from 0. Exact for up
    to 16 differences, else estimated from 65,536 random flips, and then never 0.
    """
    differences = finite(differences)
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
