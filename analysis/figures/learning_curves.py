"""The learning curves."""

import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import cost_axis
from analysis.figures.parts import colour_bar
from analysis.figures.style import (
    COLORMAP,
    family_panels,
    short,
)
from analysis.findings.ranks import ACCURACY, family_ranking, with_cost
from analysis.scale import Scale


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The validation metric after each epoch, a panel a family, coloured by where it ended."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)[["trial", "family", "cost"]]
    curves = epochs.merge(completed, on="trial")
    curves["epoch_cost"] = scale.cost(curves[scale.column])
    norm = cost_axis.norm(scale, completed["cost"])
    figure, panels = family_panels(list(ranking["family"]))
    single = curves["epoch"].max() == 1
    for family, axes in panels.items():
        axes.set_title(short(family))
        own = curves[curves["family"] == family].sort_values(["cost", "trial"], ascending=False)
        ended = own.groupby("trial", sort=False)
        lines = [curve[["epoch", "epoch_cost"]].to_numpy() for _, curve in ended]
        drawn = LineCollection(lines, cmap=COLORMAP, norm=norm, linewidths=0.8)
        drawn.set_array(ended["cost"].first().to_numpy())
        axes.add_collection(drawn)
        if single:  # which makes no line
            axes.scatter(
                own["epoch"], own["epoch_cost"], c=own["cost"], cmap=COLORMAP, norm=norm, s=8
            )
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    first.set_xlim(curves["epoch"].min() - 0.3, curves["epoch"].max() + 0.3)
    cost_axis.label(scale, first.yaxis, curves["epoch_cost"])
    figure.supxlabel("epoch", size="medium")
    figure.supylabel(f"validation {scale.name}", size="medium")
    colour_bar(figure, list(panels.values()), norm, scale)
    return figure
