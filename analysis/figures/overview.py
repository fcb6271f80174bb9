"""The main picture: schedules against what they came to, a row a family."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import cost_axis
from analysis.figures.style import INK, LOST, TIERS, WIDTH, scale_rates, short
from analysis.findings.finalists import Comparison
from analysis.findings.overview import overview as found_overview
from analysis.findings.ranks import ACCURACY
from analysis.findings.shapes import curves_by_trial
from analysis.scale import Scale

ROW = 0.26  # inches
BAND = 0.36  # of a row, to either side of its middle


def overview(
    trials: pd.DataFrame,
    schedules: pd.DataFrame,
    scale: Scale = ACCURACY,
    comparison: Comparison | None = None,
) -> Figure:
    """Each family's best shape, its peak rates, all its trials, and its mean on fresh seeds.

    Shapes are shares of their own peak, linear. Trials far worse than most stand at the edge of
    their axis; crosses diverged or failed. Without finalists there is no fourth column.
    """
    found = found_overview(trials, scale, comparison)
    rows, placed = found
    widths = [0.8, 1.2, 2, 1.5] if comparison else [0.8, 1.2, 2]
    figure, columns = plt.subplots(
        1,
        len(widths),
        figsize=(WIDTH, ROW * len(rows) + 0.6),
        sharey=True,
        squeeze=False,
        width_ratios=widths,
    )
    shapes, rates, results, *tests = columns[0]
    shapes.set_ylim(len(rows) - 0.5, -0.5)
    shapes.set_yticks(range(len(rows)), [short(name) for name in rows["name"]])
    for axes in columns[0]:
        axes.grid(axis="y", color="0.92")
        axes.tick_params(axis="y", length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    heights = placed["name"].map({name: row for row, name in enumerate(rows["name"])})
    placed = placed.assign(height=heights + 0.4 * placed["offset"])
    _draw_shapes(shapes, rows, schedules)
    _draw_rates(rates, placed)
    _draw_results(results, placed.dropna(subset="cost"), scale)
    for axes in tests:
        _draw_tests(axes, rows, scale)
        cost_axis.limit(scale, axes.xaxis, scale.cost(found.tested))
    return figure


def _draw_shapes(axes: Axes, rows: pd.DataFrame, schedules: pd.DataFrame) -> None:
    curves = curves_by_trial(schedules)
    for row, trial in enumerate(rows["trial"]):
        if trial in curves:
            run, share = (curves[trial] / curves[trial].max(axis=0)).T
            axes.fill_between(run, row + BAND, row + BAND - 2 * BAND * share, color="0.9", lw=0)
            axes.plot(run, row + BAND - 2 * BAND * share, color=INK, lw=1)
    axes.set(xlim=(0, 1), xticks=[], xlabel="best shape,\nshare of its peak")


def _draw_rates(axes: Axes, placed: pd.DataFrame) -> None:
    scale_rates(axes.xaxis, (1, 3))
    _dots(axes, placed, "peak_lr")
    axes.set(xlabel="peak rates")


def _draw_results(axes: Axes, placed: pd.DataFrame, scale: Scale) -> None:
    worst = cost_axis.worst_shown(scale, placed["cost"])
    shown = placed.assign(cost=placed["cost"].clip(upper=worst))
    cost_axis.limit(scale, axes.xaxis, shown["cost"])
    _dots(axes, shown, "cost")
    axes.set(xlabel=f"validation {scale.name} of its trials")


def _dots(axes: Axes, placed: pd.DataFrame, column: str) -> None:
    """The best on top."""
    for tier in (-1, 3, 2, 1, 0):
        own = placed[placed["tier"] == tier]
        marker, colour = ("x", LOST) if tier < 0 else ("o", TIERS[tier])
        axes.scatter(own[column], own["height"], s=9, marker=marker, color=colour, lw=0.7)


def _draw_tests(axes: Axes, rows: pd.DataFrame, scale: Scale) -> None:
    """Means with their intervals; grey are finalists that were found worse than another."""
    ends = rows[["mean", "low", "high"]].apply(scale.cost)
    colours, heights = list(np.where(rows["is_tied"], INK, "0.55")), range(len(rows))
    axes.hlines(heights, ends["low"], ends["high"], colors=colours, linewidths=1.6)
    axes.scatter(ends["mean"], heights, color=colours, s=16, ec="white", lw=0.5, zorder=3)
    axes.set(xlabel=f"test {scale.name}, mean\nand 95% interval")
