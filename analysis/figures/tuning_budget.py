"""The best result against the number of trials."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import cost_axis
from analysis.figures.peak_rates import CROWDED
from analysis.figures.style import (
    INK,
    PANELS,
    family_panels,
    scale_rates,
    short,
)
from analysis.findings.ranks import ACCURACY, family_ranking
from analysis.scale import Scale

DOZEN = 12


def tuning_budget(trials: pd.DataFrame, best: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The best of each family after so many of its trials, a panel a family, others in grey.

    ``best`` as :func:`~analysis.findings.tuning.best_by_trials` makes them; what is expected
    of independent draws is a line, what can be depended on of them is dashed, and the best so far
    of others is dotted.
    """
    ranking = family_ranking(trials, scale)
    ranking = ranking[ranking["family"].isin(best["family"])]
    figure, panels = family_panels(list(ranking["family"])[:PANELS])
    # In grey a dozen points of each are enough, at even steps of a logarithmic axis.
    points = np.geomspace(1, best["k"].max(), DOZEN).round()
    some = best[best["k"].isin(points) | (best["k"] < DOZEN)]
    every = [own[["k", "cost"]].to_numpy() for _, own in some.groupby(["family", "kind"])]
    for family, axes in panels.items():
        axes.add_collection(LineCollection(every, colors="0.9", linewidths=0.7, zorder=1))
        for kind, own in best[best["family"] == family].groupby("kind"):
            axes.plot(own["k"], own["dependable"], "--", color=INK, lw=0.9)
            style = "-" if kind == "expected" else ":"
            marker = "o" if len(own) < CROWDED else ""
            axes.plot(own["k"], own["cost"], style, color=INK, lw=1.3, marker=marker, ms=2)
        axes.set_title(short(family))
    first = next(iter(panels.values()))
    if best["k"].max() > CROWDED:  # where few may have had that many
        scale_rates(first.xaxis, (1, 3))
    else:
        first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # What a single draw may come to would leave no room for what tuning brings.
    costs = best.loc[best["k"] > int(best["k"].max() > 1), "cost"]
    cost_axis.limit(scale, first.yaxis, costs)
    figure.supxlabel("trials of the family", size="medium")
    figure.supylabel(f"best validation {scale.name}", size="medium")
    return figure
