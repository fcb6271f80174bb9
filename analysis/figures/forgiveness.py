"""The cost of a badly chosen peak rate."""

from fractions import Fraction

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import cost_axis
from analysis.figures.style import COLUMN, INK, QUIET, short
from analysis.findings.ranks import ACCURACY
from analysis.scale import Scale


def forgiveness(runs: pd.DataFrame, means: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The metric against multiples of a configuration's own peak rate; the control is grey.

    Dots are seeds, lines their means, crosses diverged. ``means`` as
    :func:`~analysis.findings.forgiveness.forgiveness` makes them of the ``runs``.
    """
    figure, axes = plt.subplots(figsize=(COLUMN, 2.2))
    by_trial = means.groupby(["family", "trial"], sort=False)
    for ((family, trial), line), colour in zip(by_trial, (INK, QUIET), strict=False):
        own = runs[runs["trial"] == trial]
        costs = scale.cost(own[scale.column])
        axes.plot(own["factor"], costs, "o", color=colour, ms=3, mew=0, alpha=0.5)
        axes.plot(line["factor"], scale.cost(line["mean"]), color=colour, label=short(str(family)))
        lost = own.loc[own["status"] == "diverged", "factor"]
        axes.plot(
            lost,
            [0.05 if scale.higher_is_better else 0.95] * len(lost),
            "x",
            color=colour,
            ms=3.5,
            transform=axes.get_xaxis_transform(),
        )
    factors = sorted(set(means["factor"]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(factors, [str(Fraction(factor)) for factor in factors])
    cost_axis.label(scale, axes.yaxis, scale.cost(runs[scale.column]))
    axes.set(xlabel="peak learning rate, times its own", ylabel=f"validation {scale.name}")
    axes.legend()
    return figure
