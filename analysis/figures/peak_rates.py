"""Results against peak rates."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import cost_axis
from analysis.figures.style import (
    INK,
    PANELS,
    QUIET,
    family_panels,
    scale_rates,
    short,
)
from analysis.findings.ranks import ACCURACY, family_ranking, with_cost
from analysis.scale import Scale

CROWDED = 30  # trials of a family, for which an even axis has no room


def result_by_peak_lr(trials: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The final metric against the peak rate, a panel a family; crosses diverged."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)
    figure, panels = family_panels(list(ranking["family"])[:PANELS])
    for family, axes in panels.items():
        dots = completed[completed["family"] == family]
        axes.scatter(dots["peak_lr"], dots["cost"], s=9, color=INK, alpha=0.8, lw=0)
        lost = trials[(trials["family"] == family) & (trials["status"] == "diverged")]
        axes.plot(
            lost["peak_lr"],
            [0.05 if scale.higher_is_better else 0.95] * len(lost),
            "x",
            color=QUIET,
            ms=3.5,
            transform=axes.get_xaxis_transform(),
        )
        axes.set_title(short(family))
    first = next(iter(panels.values()))
    scale_rates(first.xaxis, (1, 3))
    cost_axis.label(scale, first.yaxis, completed["cost"])
    figure.supxlabel("peak learning rate", size="medium")
    figure.supylabel(f"final {scale.name} (cross: diverged)", size="medium")
    return figure
