"""The linked pictures of the page, as numbers for its templates: the overview and the panels.

Places are percent of a picture's width or height, so that a picture is as wide as the page while
its dots stay round and its letters stay readable.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

from analysis.figures import cost_axis
from analysis.figures.parts import tier_labels
from analysis.findings.findings import Findings
from analysis.findings.shapes import RATE_DECADES, highest_shown
from analysis.page.words import between, brief, counted, spread
from analysis.scale import Scale
from analysis.statistics.conventions import Array

HEIGHT = 1000
"""Units of a panel's height."""
FLAT = 3
"""Units by which a line may miss the points that it leaves out; a pixel is ten."""


class Axis(NamedTuple):
    """An axis from one end of a picture to the other."""

    begin: float
    end: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """The place of a value in percent; beyond an end, it stands there."""
        begin, end = (math.log(one) if self.is_log else one for one in self[:2])
        place = (math.log(max(value, 1e-300)) if self.is_log else value) - begin
        return round(min(100.0, max(0.0, 100 * place / ((end - begin) or 1))), 1)


class Tick(NamedTuple):
    """A value that is written at an axis, and its place in percent."""

    at: float
    label: str


def overview_picture(found: Findings) -> dict[str, Any]:
    """Rows, axes and legend of the main picture."""
    rows, placed = found.overview
    scale, completed = found.results.scale, placed["cost"].dropna()
    shown = completed.clip(upper=cost_axis.worst_shown(scale, completed))
    results = Axis(*cost_axis.ends(scale, shown), scale.is_log(shown))
    rates = _rates_axis(placed["peak_lr"])
    tests = scale.cost(found.overview.tested)
    test_axis = Axis(*cost_axis.ends(scale, tests), scale.is_log(tests)) if len(tests) else None
    shapes, trials = _shapes(found), dict(list(placed.groupby("name")))
    return {
        "rows": [
            {
                "name": row["name"],
                "trial": row["trial"],
                "shape": _path(shapes[row["trial"]]) if row["trial"] in shapes else "",
                "is_tied": row["is_tied"],
                **_summary(trials[row["name"]], scale),
                "test": _test(row, test_axis, scale) if test_axis else None,
                "trials": [
                    _placed(trial, rates, results, shown.max())
                    for trial in trials[row["name"]].to_dict("records")
                ],
            }
            for row in rows.to_dict("records")
        ],
        "rate_ticks": _rate_ticks(rates),
        "ticks": _ticks(results, scale, shown, 0.035),
        "test_ticks": _ticks(test_axis, scale, tests, 0.07) if test_axis else [],
        "beyond": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}"
        if scale.higher_is_better
        else "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
        "is_log": results.is_log,
        "is_cut": bool((completed > shown.max()).any()),
        "legend": tier_labels(completed, scale),
    }


def _shapes(found: Findings) -> dict[int, Array]:
    """The rows' best shapes, as shares of their peaks, at 64 fractions of the run."""
    logs = found.rates[found.rates.index.isin(found.overview.rows["trial"])]
    own = 10 ** logs.sub(logs.max(axis=1), axis=0).to_numpy()
    low = 10.0**-RATE_DECADES
    return {
        int(trial): np.where(curve <= low, 0.0, curve)[np.isfinite(curve)]
        for trial, curve in zip(logs.index, own, strict=True)
    }


def _summary(trials: pd.DataFrame, scale: Scale) -> dict[str, str]:
    """The dots of a row in words."""
    low, high, best = trials["peak_lr"].min(), trials["peak_lr"].max(), trials["cost"].min()
    done = "" if math.isnan(best) else f", the best {scale.text(best)}"
    return {
        "rates": spread(low, high),
        "results": f"{counted(len(trials), 'trial')}{done}",
    }


def _path(shape: Array) -> str:
    """A curve in a square of 100."""
    return "M" + "L".join(f"{100 * k / 63:.3g} {100 - 100 * y:.3g}" for k, y in enumerate(shape))


def _placed(trial: Mapping[Any, Any], rates: Axis, results: Axis, worst: float) -> dict[str, Any]:
    """A trial in its row."""
    cost = trial["cost"]
    return {
        "trial": trial["trial"],
        "tier": trial["tier"],
        "rate": rates.at(trial["peak_lr"]),
        "result": None if math.isnan(cost) else results.at(min(cost, worst)),
        "is_beyond": cost > worst,
        "height": round(50 + 50 * trial["offset"]),
    }


def _test(row: Mapping[Any, Any], axis: Axis, scale: Scale) -> dict[str, Any] | None:
    if math.isnan(row["mean"]):
        return None
    mean, low, high = scale.cost(pd.Series([row["mean"], row["low"], row["high"]]))
    ends = between(row["low"], row["high"], scale.written)
    seeds = counted(int(row["seeds"]), "seed")
    return {
        "mean": axis.at(mean),
        "span": None if math.isnan(low) else sorted((axis.at(low), axis.at(high))),
        "text": scale.written(row["mean"]),
        "words": f"mean of {seeds}, 95% interval {ends}" if ends else f"mean of {seeds}",
    }


def _rates_axis(rates: "pd.Series[float]") -> Axis:
    low, high = float(rates.min()), float(rates.max())
    margin = (high / low) ** 0.05 if high > low else 2.0
    return Axis(low / margin, high * margin, is_log=True)


def _rate_ticks(axis: Axis) -> list[Tick]:
    for subs in ((1,), (1, 3), (1, 2, 5)):
        every = LogLocator(subs=subs).tick_values(axis.begin, axis.end)
        ticks = [float(one) for one in every if axis.begin < one < axis.end]
        if len(ticks) > 1:
            break
    return [Tick(axis.at(one), f"{one:g}") for one in ticks[:: 1 + len(ticks) // 5]]


def _ticks(axis: Axis, scale: Scale, costs: "pd.Series[float]", letter: float) -> list[Tick]:
    return [
        Tick(axis.at(cost), cost_axis.written(scale, cost))
        for cost in cost_axis.marks(scale, costs, letter)
    ]


def panels_picture(found: Findings) -> dict[str, Any]:
    """Every trial's curve, a panel a row of the overview: linear, and its axis by either scale."""
    rows, placed = found.overview
    rates = found.rates
    top = top_rate(found)
    heights = _heights(rates.to_numpy(), top)
    lines = {
        int(trial): _line(curve[np.isfinite(curve)])
        for trial, curve in zip(rates.index, heights, strict=True)
    }
    trials = dict(list(placed[placed["trial"].isin(rates.index)].groupby("name")))
    linear = [one for one in MaxNLocator(3).tick_values(0, top) if 0 <= one <= 1.04 * top]
    log_axis = log_heights_axis(found)
    decades = LogLocator(numticks=99).tick_values(log_axis.begin, log_axis.end)
    decades = [float(one) for one in decades if log_axis.begin <= one <= log_axis.end]
    return {
        "height": HEIGHT,
        "cut": int((10 ** rates.max(axis=1) > 1.05 * top).sum()),
        "panels": [
            {
                "name": row["name"],
                "best": row["trial"],
                # The worst first, so that the best lies on top.
                "trials": [
                    {"trial": one["trial"], "tier": one["tier"], "line": lines[one["trial"]]}
                    for one in trials[row["name"]]
                    .sort_values("cost", ascending=False, na_position="first")
                    .to_dict("records")
                ]
                if row["name"] in trials
                else [],
            }
            for row in rows.to_dict("records")
        ],
        "linear_ticks": [Tick(100 - Axis(0, 1.05 * top).at(one), brief(one)) for one in linear],
        "log_ticks": [
            Tick(100 - log_axis.at(one), f"{one:g}") for one in decades[:: 1 + len(decades) // 5]
        ],
    }


def top_rate(found: Findings) -> float:
    """The rate at which linear panels end; some curves may leave them."""
    return highest_shown(10 ** found.rates.max(axis=1))


def log_heights_axis(found: Findings) -> Axis:
    """The axis of rates by their logarithm, which the page's script draws on."""
    rates = found.rates
    low, high = 10 ** float(rates.min().min()), 10 ** float(rates.max().max())
    return Axis(low / 1.2, high * 1.2, is_log=True)


def _heights(logs: Array, top: float) -> Array:
    """Places of rates below the upper edge of a panel, in units of its height; zero at its foot."""
    rates = 10**logs
    rates = np.where(rates <= top * 10.0**-RATE_DECADES, 0, rates)
    heights: Array = np.round(HEIGHT * (1 - rates / (1.05 * top)))
    return heights


def _line(heights: Array) -> str:
    """An SVG path through points at equal steps, without those that lie on a line anyway."""
    kept = _corners(heights)
    return "M" + "L".join(f"{k} {heights[k]:.0f}" for k in kept)


def _corners(heights: Array) -> list[int]:
    """Points that a line has to keep to stay within ``FLAT`` of all others.

    Ramer 1972, Douglas and Peucker 1973, by vertical distances.
    """
    kept, spans = {0, len(heights) - 1}, [(0, len(heights) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        line = np.linspace(heights[first], heights[last], last - first + 1)
        off = np.abs(heights[first : last + 1] - line)
        furthest = int(off.argmax())
        if off[furthest] > FLAT:
            middle = first + furthest
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return sorted(kept)
