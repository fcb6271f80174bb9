"""Forgiveness: how far the peak rate may be off."""

import math

import pandas as pd

from analysis.scale import Scale


def forgiveness(trials: pd.DataFrame, noise: float, scale: Scale) -> pd.DataFrame:
    """A row a family, the widest first: how wide a range of peak rates is good.

    Columns ``family``, ``low``, ``high`` (peak rates), ``decades`` (between them), ``good`` (trials
    from low to high that are), ``trials`` (completed or diverged). A trial is good if its metric is
    no more than twice the ``noise`` (standard deviation over seeds, in the metric's own units)
    worse than that of its family's best. The range reaches from the best trial's rate to good ones
    on either side, but never across a rate that diverged. It may span a trial that was worse, since
    that may have been for its shape. Only rates that were tried count, and a better best may narrow
    it. Families that completed no trial are left out.
    """
    rows = []
    for family, of_family in trials.groupby("family"):
        completed = of_family[of_family["status"] == "completed"]
        diverged = of_family.loc[of_family["status"] == "diverged", "peak_lr"]
        if completed.empty:
            continue
        rates, values = completed["peak_lr"], completed[scale.column]
        worse = values.max() - values if scale.higher_is_better else values - values.min()
        best = float(rates[worse.idxmin()])
        below = max(diverged[diverged <= best], default=0.0)
        above = min(diverged[diverged >= best], default=math.inf)
        # The best is good even where another trial of the same rate diverged.
        safe = ((rates > below) & (rates < above)) | (rates == best)
        good = rates[safe & (worse <= 2 * noise)]
        low, high = float(good.min()), float(good.max())
        count = len(completed) + len(diverged)
        rows.append((family, low, high, math.log10(high / low), len(good), count))
    ranges = pd.DataFrame(rows, columns=["family", "low", "high", "decades", "good", "trials"])
    return ranges.sort_values(["decades", "family"], ascending=[False, True], ignore_index=True)
