"""Parts that several pictures share."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.figures.style import COLUMN, TIERS, scale_rates
from analysis.findings.ranks import tiers
from analysis.findings.shapes import RATE_DECADES, highest_shown
from analysis.scale import Scale
from analysis.statistics.conventions import Array

POINTS = 200_000
"""Points of all curves of a figure together; more of them only take time."""


def scale_schedules(axes: Axes, peaks: "pd.Series[float]", low: float | None = None) -> None:
    """The rate above the fraction of training.

    Args:
        axes: to scale.
        peaks: highest rates of the curves.
        low: the lowest rate, to show rates by their logarithm, down to what is as good as zero.
    """
    if low is None:
        top = highest_shown(peaks)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.set_ylim(-0.03 * top, 1.05 * top)
    else:
        top = float(peaks.max())
        scale_rates(axes.yaxis)
        axes.set_ylim(max(low, top / 10**RATE_DECADES) / 1.5, top * 1.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))


def thinned(points: Array, every: int) -> Array:
    """Every so many, and the last."""
    kept: Array = points[np.unique([*range(0, len(points), every), len(points) - 1])]
    return kept


def tier_labels(costs: "pd.Series[float]", scale: Scale) -> dict[int, str]:
    """The values at which each tier that there is ends."""
    own = tiers(costs)
    direction = "or more" if scale.higher_is_better else "or less"
    worst = {tier: costs[own == tier].max() for tier in range(len(TIERS)) if (own == tier).any()}
    labels = {tier: f"{scale.text(float(cost))} {direction}" for tier, cost in worst.items()}
    return labels | ({len(TIERS) - 1: "worse"} if len(TIERS) - 1 in worst else {})


def tier_legend(figure: Figure, costs: "pd.Series[float]", scale: Scale) -> None:
    """Above the panels: the colours of results."""
    labels = tier_labels(costs, scale)
    handles = [Line2D([], [], color=TIERS[tier], lw=2.5) for tier in labels]
    figure.legend(
        handles,
        list(labels.values()),
        loc="outside upper center",
        ncols=len(labels) if figure.get_figwidth() > COLUMN else 1,
        title=f"final {scale.name}",
        handlelength=1.2,
    )
