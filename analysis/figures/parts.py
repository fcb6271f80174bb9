"""Parts that several pictures share."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import PercentFormatter

from analysis.figures import cost_axis
from analysis.figures.style import (
    COLORMAP,
    scale_rates,
)
from analysis.findings.shapes import RATE_DECADES
from analysis.scale import Scale

LOST = "0.7"  # trials that did not complete
POINTS = 200_000
"""Of all curves of a figure together; more of them only take time."""


def scale_schedules(axes: Axes, rates: "pd.Series[float]") -> None:
    """The rate above the fraction of training, down to what is as good as zero."""
    top = float(rates.max())
    low = max(float(rates.min()), top / 10**RATE_DECADES)
    scale_rates(axes.yaxis)
    axes.set(xlim=(0, 1), ylim=(low / 1.5, top * 1.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))


def curve_lines(curves: pd.DataFrame, every: int) -> "list[np.ndarray[Any, Any]]":
    """(points, 2) of fraction and rate for each trial, in the order of the rows."""
    return [
        own[["fraction", "lr"]].to_numpy()[_thinned(len(own), every)]
        for _, own in curves.groupby("trial", sort=False)
    ]


def _thinned(count: int, every: int) -> "np.ndarray[Any, Any]":
    """Every so many, and the last."""
    return np.unique([*range(0, count, every), count - 1])


def mark_best(axes: Axes, curve: pd.DataFrame, norm: Normalize, of_all: bool) -> None:
    """Draw the best of a family stronger, the best of all strongest."""
    (line,) = axes.plot(
        curve["fraction"],
        curve["lr"],
        color=plt.get_cmap(COLORMAP)(norm(curve["cost"].iloc[0])),
        lw=2 if of_all else 1.3,
        zorder=4 if of_all else 3,
    )
    if of_all:
        line.set_path_effects([Stroke(linewidth=3.4, foreground="white"), Normal()])


def colour_bar(figure: Figure, panels: Sequence[Axes], norm: Normalize, scale: Scale) -> None:
    """The bar of the colours of results, beside the panels."""
    bar = figure.colorbar(
        ScalarMappable(norm, COLORMAP),
        ax=list(panels),
        label=f"final {scale.name}",
        pad=0.01,
        aspect=9 * figure.get_figheight(),
    )
    bar.outline.set_visible(False)
    assert bar.solids
    bar.solids.set(rasterized=False, edgecolor="face")  # else it is a picture, even in a PDF
    cost_axis.label(scale, bar.ax.yaxis, pd.Series([norm.vmin, norm.vmax]))
