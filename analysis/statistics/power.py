"""Power of the tests: replicates and differences that they need."""

import math
from itertools import count

from scipy import stats
from scipy.optimize import brentq

from analysis.statistics.conventions import LEVEL

POWER = 0.8


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
