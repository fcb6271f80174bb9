"""The finalists on the test split."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import cost_axis
from analysis.figures.style import INK, beside, rows_figure, short
from analysis.findings.ranks import ACCURACY, far_off
from analysis.scale import Scale


def finalists(runs: pd.DataFrame, described: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Every run a dot, and each finalist's mean with its interval, best on top.

    ``runs`` and ``described`` are those of :class:`~analysis.findings.finalists.Comparison`, the
    latter its ``finalists``. Runs far worse than the rest are written at the side, since they would
    leave no room for the others.
    """
    order = list(described["finalist"])
    dots = runs[runs["finalist"].isin(order)].dropna(subset=scale.test_column)
    dots = dots.assign(cost=scale.cost(dots[scale.test_column]))
    off = far_off(dots["cost"], dots["finalist"])
    figure, axes = rows_figure(len(order), 0.34)
    shown = dots[~off]
    # Apart by the golden ratio, and the same each time.
    heights = shown["finalist"].map(order.index) + 0.4 * ((0.618 * shown["seed"]) % 1 - 0.5)
    axes.scatter(shown["cost"], heights, s=9, color="0.7", lw=0, zorder=1)
    ends = described[["mean", "low", "high"]].apply(scale.cost)
    for position, name in enumerate(order):
        span = ends[["low", "high"]].iloc[position]
        axes.plot(span, [position] * 2, color=INK, lw=2, solid_capstyle="butt", zorder=2)
        others = dots.loc[off & (dots["finalist"] == name), "cost"]
        if len(others):
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            beside(axes, position, f"and {scale.text(others.iloc[0])}{more}")
    axes.plot(ends["mean"], range(len(order)), "o", color=INK, ms=5, mec="white", zorder=3)
    whole = ~described["finalist"].isin(dots.loc[off, "finalist"]).to_numpy()
    cost_axis.limit(
        scale, axes.xaxis, pd.concat([shown["cost"], *(ends[whole][one] for one in ends)])
    )
    names = zip(described["family"], order, strict=True)
    labels = [short(family) + "\n(default)" * (family != name) for family, name in names]
    axes.set_yticks(range(len(order)), labels)
    axes.set(xlabel=f"test {scale.name}")
    axes.grid(axis="y", color="0.92")
    return figure
