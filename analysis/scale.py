"""How a metric is drawn and written: its cost, its axis, its colours.

A metric is drawn by its cost, so that lower is better and darker whatever the metric: the error for
a share that should be high (they crowd near 100%, and the logarithm spreads them), the value itself
for what should be low, its negative for anything else.
"""

import math
from dataclasses import dataclass

import pandas as pd
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import MaxNLocator, NullLocator

from study.tasks.metric import ACCURACY, Ranking

LEAST_ERROR = 5e-5
"""At which an error of 0 is put, half a sample of 10,000, so that a log axis can show it."""


@dataclass(frozen=True)
class Scale:
    """The scale of one metric."""

    ranking: Ranking = ACCURACY

    @property
    def name(self) -> str:
        """The metric's."""
        return self.ranking.name

    @property
    def column(self) -> str:
        """In the tables: its value on the validation split."""
        return f"val_{self.ranking.column}"

    @property
    def test_column(self) -> str:
        """In the finalists' table: its value on the test split."""
        return f"test_{self.ranking.column}"

    @property
    def ensemble_column(self) -> str:
        """In the finalists' table: that of the mean of its snapshots' outputs."""
        return f"ensemble_{self.ranking.column}"

    @property
    def higher_is_better(self) -> bool:
        """Whether the axis has to be turned for costs to fall upwards."""
        return self.ranking.direction == "maximize"

    @property
    def _is_error(self) -> bool:
        return self.ranking.percent and self.higher_is_better

    def cost(self, values: "pd.Series[float]") -> "pd.Series[float]":
        """Lower is better."""
        if self._is_error:
            return (1 - values).clip(lower=LEAST_ERROR)
        return -values if self.higher_is_better else values

    def value(self, cost: float) -> float:
        """The inverse of :meth:`cost`."""
        if self._is_error:
            return 1 - cost
        return -cost if self.higher_is_better else cost

    def text(self, cost: float) -> str:
        """The value as people read it."""
        return self.ranking.text(self.value(cost))

    def difference(self, value: float) -> str:
        """A difference between two values: of shares, in points of a percent."""
        return f"{100 * value:.2f} points" if self.ranking.percent else f"{value:.3g}"

    def is_log(self, costs: "pd.Series[float]") -> bool:
        """Whether these costs are spaced by their logarithm."""
        return self._is_error or (not self.higher_is_better and bool((costs.dropna() > 0).all()))

    def norm(self, costs: "pd.Series[float]") -> Normalize:
        """Colours from the best to the worst, of which a few collapsed trials must not eat all."""
        costs = costs.dropna()
        if costs.empty:
            return LogNorm(0.01, 1)
        low, middle, high = float(costs.min()), float(costs.median()), float(costs.max())
        if self.is_log(costs):
            high = min(high, max(10 * low, 2 * middle))
            return LogNorm(low, max(high, 1.05 * low), clip=True)
        high = min(high, low + 3 * (middle - low)) if middle > low else high
        return Normalize(low, high if high > low else low + 1e-9, clip=True)

    def label(self, axis: Axis, costs: "pd.Series[float]") -> None:
        """Scale an axis of costs, and write the values there that they stand for.

        What is better lies to the right or above where the metric is to be high, else it is where
        small numbers always are.
        """
        costs = costs.dropna()
        axes, kind = axis.axes, "log" if self.is_log(costs) else "linear"
        vertical = axis is axes.yaxis
        if costs.nunique() == 1:  # of which matplotlib makes no axis, but a warning
            self._end(axis, costs)
        if axis.get_scale() != kind:
            (axes.set_yscale if vertical else axes.set_xscale)(kind)
        if self.higher_is_better and not axis.get_inverted():
            (axes.invert_yaxis if vertical else axes.invert_xaxis)()
        if len(costs):
            ends = float(costs.min()), float(costs.max())
            ticks = self._ticks(*ends, self.is_log(costs))
            # Written along an axis, values need more room than above each other.
            ticks = self._apart(ticks, *ends, 0.06 if vertical else 0.18)
            axis.set_ticks(ticks, [self._written(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())

    def limit(self, axis: Axis, costs: "pd.Series[float]") -> None:
        """Have an axis end with these costs and a margin, whatever else is drawn, and label it."""
        self._end(axis, costs)
        self.label(axis, costs)

    def _end(self, axis: Axis, costs: "pd.Series[float]") -> None:
        best, worst = float(costs.min()), float(costs.max())
        ratio = (worst / best) ** 0.08 if worst > best > 0 else 1.1
        span = 0.08 * (worst - best) or 0.1 * abs(best) or 1.0
        log = self.is_log(costs)
        low, high = (best / ratio, worst * ratio) if log else (best - span, worst + span)
        axes, ends = axis.axes, (high, low) if self.higher_is_better else (low, high)
        (axes.set_ylim if axis is axes.yaxis else axes.set_xlim)(ends)

    def _ticks(self, low: float, high: float, log: bool) -> list[float]:
        """Costs between two, at round numbers."""
        for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)) if log else ():
            ticks = [m * 10.0**k for k in range(-9, 10) for m in mantissas]
            ticks = [tick for tick in ticks if 0.99 * low <= tick <= 1.01 * high]
            if len(ticks) >= 4:
                return ticks
        # Within a small part of a decade, equal steps of the value read better.
        values = MaxNLocator(6).tick_values(*sorted((self.value(low), self.value(high))))
        ticks = [self.value(float(value)) for value in values]  # value() is its own inverse
        margin = 0.01 * (high - low)
        return [tick for tick in ticks if low - margin <= tick <= high + margin] or [low]

    def _apart(self, ticks: list[float], low: float, high: float, gap: float) -> list[float]:
        """Those that keep a distance, as a share of the axis, from the last; from the best on."""
        log = self.is_log(pd.Series([low]))

        def place(cost: float) -> float:
            return math.log(cost / low) if log else cost - low

        kept: list[float] = []
        for tick in sorted(ticks):
            if not kept or place(tick) - place(kept[-1]) >= gap * place(high):
                kept.append(tick)
        return kept

    def _written(self, cost: float) -> str:
        value = self.value(cost)
        return f"{100 * value:.6g}%" if self.ranking.percent else f"{value:.6g}"
