"""The axis of costs, on which the values are written that they stand for."""

import math

import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from analysis.scale import MINUS, Scale

LETTER, LINE = 0.055, 0.06
"""Room of a letter, with a margin, and of a line, as shares of an axis in one column's figure."""
DECADES = 100
"""More than any axis has: with fewer, matplotlib leaves decades out."""


def worst_shown(scale: Scale, costs: "pd.Series[float]") -> float:
    """The highest cost that an axis of these shows: a few collapsed trials must not eat it all."""
    low, middle, high = float(costs.min()), float(costs.median()), float(costs.max())
    if scale.is_log(costs):
        return min(high, max(10 * low, 2 * middle))
    return min(high, low + 3 * (middle - low)) if middle > low else high


def label(scale: Scale, axis: Axis, costs: "pd.Series[float]") -> None:
    """Scale an axis of costs, and write the values there that they stand for.

    What is better lies to the right or above where the metric is to be high, else it is where
    small numbers always are.
    """
    costs = costs.dropna()
    axes, kind = axis.axes, "log" if scale.is_log(costs) else "linear"
    vertical = axis is axes.yaxis
    if costs.nunique() == 1:  # of which matplotlib makes no axis, but a warning
        _end(scale, axis, costs)
    if axis.get_scale() != kind:
        (axes.set_yscale if vertical else axes.set_xscale)(kind)
    if scale.higher_is_better and not axis.get_inverted():
        (axes.invert_yaxis if vertical else axes.invert_xaxis)()
    if len(costs):
        places = marks(scale, costs, 0.0 if vertical else LETTER)
        axis.set_ticks(places, [written(scale, place) for place in places])
    axis.set_minor_locator(NullLocator())


def limit(scale: Scale, axis: Axis, costs: "pd.Series[float]") -> None:
    """Have an axis end with these costs and a margin, whatever else is drawn, and label it."""
    _end(scale, axis, costs)
    label(scale, axis, costs)


def _end(scale: Scale, axis: Axis, costs: "pd.Series[float]") -> None:
    axes = axis.axes
    (axes.set_ylim if axis is axes.yaxis else axes.set_xlim)(ends(scale, costs))


def ends(scale: Scale, costs: "pd.Series[float]") -> tuple[float, float]:
    """The costs at which an axis of these begins and ends, with a margin."""
    best, worst = float(costs.min()), float(costs.max())
    ratio = (worst / best) ** 0.08 if worst > best > 0 else 1.1
    span = 0.08 * (worst - best) or 0.1 * abs(best) or 1.0
    log = scale.is_log(costs)
    low, high = (best / ratio, worst * ratio) if log else (best - span, worst + span)
    return (high, low) if scale.higher_is_better else (low, high)


def marks(scale: Scale, costs: "pd.Series[float]", letter: float = 0.0) -> list[float]:
    """Costs at round values, for which an axis of these costs has room.

    Args:
        scale: of the costs.
        costs: on the axis.
        letter: room that one takes, as a share of the axis; none where values stand in a column.
    """
    low, high = float(costs.min()), float(costs.max())
    places = _ticks(scale, low, high, scale.is_log(costs))
    letters = max(len(written(scale, place)) for place in places)
    return _apart(scale, places, low, high, letter * letters or LINE)


def _ticks(scale: Scale, low: float, high: float, log: bool) -> list[float]:
    """Costs between two, at round numbers."""
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)) if log else ():
        # A decade beyond the ends, since where it finds few ticks it takes equal steps.
        every = LogLocator(subs=mantissas, numticks=DECADES).tick_values(low / 10, 10 * high)
        ticks = [float(tick) for tick in every if 0.99 * low <= tick <= 1.01 * high]
        if len(ticks) >= 4:
            return ticks
    # Within a small part of a decade, equal steps of the value read better.
    values = MaxNLocator(6).tick_values(*sorted((scale.value(low), scale.value(high))))
    ticks = [scale.value(float(value)) for value in values]  # value() is its own inverse
    margin = 0.01 * (high - low)
    return [tick for tick in ticks if low - margin <= tick <= high + margin] or [low]


def _apart(scale: Scale, ticks: list[float], low: float, high: float, gap: float) -> list[float]:
    """Those that keep a distance, as a share of the axis, from the last; from the best on."""
    log = scale.is_log(pd.Series([low]))

    def place(cost: float) -> float:
        return math.log(cost / low) if log else cost - low

    kept: list[float] = []
    for tick in sorted(ticks):
        if not kept or place(tick) - place(kept[-1]) >= gap * place(high):
            kept.append(tick)
    return kept


def written(scale: Scale, cost: float) -> str:
    """The value of a cost, as it stands on an axis."""
    value = scale.value(cost)
    text = f"{100 * value:.6g}%" if scale.ranking.percent else f"{value:.6g}"
    return text.replace("-", MINUS)
