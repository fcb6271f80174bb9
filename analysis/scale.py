"""The scale of a metric: its cost, and how it is written.

A metric is drawn by its cost, so that lower is better and darker whatever the metric: the error for
a share that should be high (they crowd near 100%, and the logarithm spreads them), the value itself
for what should be low, its negative for anything else.
"""

import math
from dataclasses import dataclass

import pandas as pd

from study.tasks.ranking import BY_ACCURACY, SIGNIFICANT, Ranking

MINUS = "\N{MINUS SIGN}"
MOST_DECIMALS = 6
"""Beyond them nobody counts zeros, and a difference is written by its own digits."""
LEAST_ERROR = 5e-5
"""At which an error of 0 is put, half a sample of 10,000, so that a log axis can show it."""


@dataclass(frozen=True)
class Scale:
    """The scale of one metric."""

    ranking: Ranking = BY_ACCURACY
    decimals: int | None = None
    """Digits of a difference after the point, for a metric that is no share: as many as its values
    have."""

    @staticmethod
    def of(ranking: Ranking, values: "pd.Series[float]") -> "Scale":
        """The scale of a metric whose differences are written as finely as these values."""
        usual = values.abs().median()
        if ranking.percent or not 0 < usual < math.inf:
            return Scale(ranking)
        decimals = max(0, SIGNIFICANT - 1 - math.floor(math.log10(usual)))
        return Scale(ranking, decimals if decimals <= MOST_DECIMALS else None)

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
        """True if the axis has to be turned for costs to fall upwards."""
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
        """The value of a cost as people read it."""
        return self.written(self.value(cost))

    def written(self, value: float) -> str:
        """A value as people read it."""
        return self.ranking.text(value).replace("-", MINUS)

    def difference(self, value: float) -> str:
        """A difference between two values: of shares, in points of a percent."""
        if self.ranking.percent:
            return f"{100 * value:z.2f} points".replace("-", MINUS)
        digits = "3g" if self.decimals is None else f"{self.decimals}f"
        if self.decimals is not None and 1e-9 < abs(value) < 0.5 * 10.0**-self.decimals:
            digits = "1g"  # no difference is written as 0 that is none
        return f"{value:z.{digits}}".replace("-", MINUS)

    def is_log(self, costs: "pd.Series[float]") -> bool:
        """True if these costs are spaced by their logarithm."""
        return self._is_error or (not self.higher_is_better and bool((costs.dropna() > 0).all()))
