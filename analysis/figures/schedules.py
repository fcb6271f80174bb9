"""The schedules as they were applied, by what they came to."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.parts import POINTS, scale_schedules, thinned, tier_legend
from analysis.figures.style import LOST, TIERS, family_panels, short
from analysis.findings.finalists import Comparison
from analysis.findings.overview import overview
from analysis.findings.ranks import ACCURACY
from analysis.findings.shapes import curves_by_trial
from analysis.scale import Scale


def schedules_by_result(
    trials: pd.DataFrame,
    schedules: pd.DataFrame,
    scale: Scale = ACCURACY,
    comparison: Comparison | None = None,
    log: bool = False,
) -> Figure:
    """Every trial's schedule as applied, coloured by what it came to.

    A panel a row of :func:`~analysis.findings.overview.overview`, its best shape drawn stronger;
    dotted are trials that did not complete. The rates are linear, or by their logarithm.
    """
    rows, placed = overview(trials, scale, comparison)
    curves = curves_by_trial(schedules)
    figure, panels = family_panels(list(rows["name"]))
    every = max(1, len(schedules) // POINTS)
    # The worst first, so that the best lies on top.
    drawn = placed[placed["trial"].isin(curves)].sort_values(
        ["cost", "trial"], ascending=False, na_position="first"
    )
    for name, axes in panels.items():
        own = drawn[drawn["name"] == name]
        for style, some in ((":", own[own["tier"] < 0]), ("-", own[own["tier"] >= 0])):
            lines = LineCollection(
                [thinned(curves[trial], every) for trial in some["trial"]],
                colors=[TIERS[tier] if tier >= 0 else LOST for tier in some["tier"]],
                linestyles=style,
                linewidths=np.where(some["trial"].isin(rows["trial"]), 1.8, 0.7),
            )
            axes.add_collection(lines, autolim=False)
        axes.set_title(short(name))
    first = next(iter(panels.values()))
    peaks = schedules.groupby("trial")["lr"].max()
    scale_schedules(first, peaks, schedules["lr"].min() if log else None)
    first.xaxis.set_major_locator(MaxNLocator(2))
    figure.supxlabel("fraction of training", size="medium")
    figure.supylabel("learning rate", size="medium")
    tier_legend(figure, placed["cost"], scale)
    return figure
