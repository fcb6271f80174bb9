"""Forgiveness: what a badly chosen peak rate costs, as it was measured."""

import math

import numpy as np
import pandas as pd

from analysis.scale import Scale
from analysis.statistics.intervals import mean_interval

CONTROL = "constant"


def forgiveness(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """A row a configuration and peak rate: the control last, the rates ascending.

    Columns ``family``, ``trial``, ``factor`` (of its own peak rate), ``peak_lr``; the ``mean`` of
    the validation metric with the ends of its 95% interval, ``low`` and ``high``; ``worse``: by how
    much than at its own rate, the mean of differences within a seed, in the metric's own units; and
    how many of its ``seeds`` ``diverged``, which are in no mean. NaN: it cannot be known, or is the
    own rate against itself. A run that failed says nothing of its rate and is left out.

    Args:
        runs: :attr:`analysis.load.Results.forgiveness`.
        scale: of the metric.
    """
    rows, sign = [], 1 if scale.higher_is_better else -1
    told = runs[runs["status"] != "failed"].set_index("seed")
    for name, of_one in told.groupby(["family", "trial"]):
        own = of_one.loc[of_one["factor"] == 1, scale.column]
        for (factor, peak_lr), at_rate in of_one.groupby(["factor", "peak_lr"]):
            values = at_rate[scale.column]
            worse = (sign * (own - values)).mean() if factor != 1 else math.nan
            diverged = (at_rate["status"] == "diverged").sum()
            outcome = (*mean_interval(np.array(values.dropna())), worse, len(values), diverged)
            rows.append((*name, factor, peak_lr, *outcome))
    columns = ["family", "trial", "factor", "peak_lr", "mean", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "worse", "seeds", "diverged"])
    return table.sort_values(
        "family", key=lambda names: names == CONTROL, kind="stable", ignore_index=True
    )
