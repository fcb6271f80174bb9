"""The schedules as they were applied, by what they came to."""

import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import cost_axis
from analysis.figures.parts import LOST, POINTS, colour_bar, curve_lines, mark_best, scale_schedules
from analysis.figures.style import (
    COLORMAP,
    family_panels,
    short,
)
from analysis.findings.ranks import ACCURACY, family_ranking
from analysis.findings.shapes import realised_curves
from analysis.scale import Scale


def schedules_by_result(
    trials: pd.DataFrame, schedules: pd.DataFrame, scale: Scale = ACCURACY
) -> Figure:
    """The main picture: every trial's schedule as applied, coloured by its final metric.

    A panel a family, the family's best drawn stronger, the winner of all strongest and labelled.
    """
    ranking = family_ranking(trials, scale)
    curves = realised_curves(trials, schedules, scale)
    norm = cost_axis.norm(scale, curves["cost"])
    figure, panels = family_panels(list(ranking["family"]))
    winner = ranking["trial"].iloc[0]
    every = max(1, len(curves) // POINTS)
    for best, (family, axes) in zip(ranking.to_dict("records"), panels.items(), strict=True):
        of_family = curves[curves["family"] == family]
        lost = of_family[of_family["cost"].isna()]
        axes.add_collection(
            LineCollection(curve_lines(lost, every), colors=LOST, linewidths=0.6, linestyles=":")
        )
        # The worst first, so that the best lies on top.
        ended = of_family.dropna(subset="cost").sort_values("cost", ascending=False, kind="stable")
        costs = ended.groupby("trial", sort=False)["cost"].first()
        lines = LineCollection(curve_lines(ended, every), cmap=COLORMAP, norm=norm, linewidths=0.7)
        lines.set_array(costs.to_numpy())
        axes.add_collection(lines)
        axes.set_title(short(family))
        if best["trial"] in costs.index:
            of_all = best["trial"] == winner
            mark_best(axes, ended[ended["trial"] == best["trial"]], norm, of_all)
            value = scale.text(best["best_cost"])
            words = f"{value}, best of all" if of_all else f"best {value}"
            axes.set_title(f"{short(family)}\n{words}", weight="bold" if of_all else None)
    first = next(iter(panels.values()))
    scale_schedules(first, curves["lr"])
    first.xaxis.set_major_locator(MaxNLocator(2))
    figure.supxlabel("fraction of training", size="medium")
    figure.supylabel("learning rate", size="medium")
    colour_bar(figure, list(panels.values()), norm, scale)
    return figure
