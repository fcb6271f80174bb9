"""The learning curves."""

import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import cost_axis
from analysis.figures.parts import tier_legend
from analysis.figures.style import CROWD, PANELS, TIERS, family_panels, short
from analysis.findings.overview import overview
from analysis.findings.ranks import ACCURACY
from analysis.findings.shapes import split_by_trial
from analysis.scale import Scale


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The validation metric after each epoch, a panel a family, coloured by where it ended."""
    rows, placed = overview(trials, scale)
    curves = epochs.merge(placed.dropna(subset="cost"), on="trial")
    curves["epoch_cost"] = scale.cost(curves[scale.column])
    figure, panels = family_panels(list(rows["name"])[:PANELS])
    single = curves["epoch"].max() == 1
    for name, axes in panels.items():
        axes.set_title(short(name))
        own = curves[curves["name"] == name].sort_values(["cost", "trial"], ascending=False)
        colours = [TIERS[tier] for tier in own.drop_duplicates("trial")["tier"]]
        points = own[["epoch", "epoch_cost"]].to_numpy()
        lines = split_by_trial(own["trial"].to_numpy(), points) if len(own) else {}
        drawn = LineCollection(list(lines.values()), colors=colours, linewidths=0.8)
        drawn.set_rasterized(len(own) > CROWD)
        axes.add_collection(drawn)
        if single:  # which makes no line
            axes.scatter(own["epoch"], own["epoch_cost"], c=colours, s=8)
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    first.set_xlim(curves["epoch"].min() - 0.3, curves["epoch"].max() + 0.3)
    cost_axis.label(scale, first.yaxis, curves["epoch_cost"])
    figure.supxlabel("epoch", size="medium")
    figure.supylabel(f"validation {scale.name}", size="medium")
    tier_legend(figure, placed["cost"], scale)
    return figure
