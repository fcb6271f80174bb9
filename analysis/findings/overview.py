"""Schedules against what they came to, at one glance: a row a family, ranked as the finalists."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.finalists import Comparison
from analysis.findings.ranks import ACCURACY, family_ranking, tiers
from analysis.scale import Scale


class Overview(NamedTuple):
    """Rows of the main picture, and the trials that stand in them."""

    rows: pd.DataFrame
    """A row a family, and one for a default that is a finalist beside its own family: ``name``,
    ``family``, ``trial`` (whose curve is its best shape; -1 where none completed), and of
    finalists ``seeds``, the ``mean`` of the test metric with the ends of its 95% interval, ``low``
    and ``high``, and ``is_tied``: true of the winner and of those not told apart from the best.
    NaN and false for families that are none. Finalists first, in their order; then the families by
    their best trials."""
    trials: pd.DataFrame
    """A row a trial: ``trial``, ``name`` (of its row), ``status``, ``peak_lr``, ``cost`` (NaN
    unless it completed), ``tier`` (:func:`~analysis.findings.ranks.tiers`) and ``offset`` from the
    middle of the row, -0.5 to 0.5: apart by the golden ratio, and the same each time."""

    @property
    def tested(self) -> "pd.Series[float]":
        """The means of the finalists and the ends of their intervals, those that are known."""
        known: pd.Series[float] = pd.concat([self.rows[one] for one in ("mean", "low", "high")])
        return known.dropna()


def overview(
    trials: pd.DataFrame, scale: Scale = ACCURACY, comparison: Comparison | None = None
) -> Overview:
    """The main picture of a study in numbers, ranked by its finalists if there are any."""
    costs = scale.cost(trials[scale.column]).where(trials["status"] == "completed")
    ranking = family_ranking(trials, scale).rename(columns={"family": "name"})
    rows = ranking.assign(family=ranking["name"])[["name", "family", "trial"]]
    named: dict[int, str] = {}
    if comparison:
        finalists = comparison.finalists.rename(columns={"finalist": "name"})
        finalists = finalists.assign(is_tied=finalists["name"].isin(comparison.tied))
        own = finalists[finalists["name"] != finalists["family"]]  # defaults beside their family
        named = dict(zip(own["trial"], own["name"], strict=True))
        rows = pd.concat([finalists, rows[~rows["name"].isin(finalists["name"])]])
    columns = ["name", "family", "trial", "seeds", "mean", "low", "high", "is_tied"]
    rows = rows.reindex(columns=columns).reset_index(drop=True)
    rows["is_tied"] = rows["is_tied"].eq(True)
    rows["trial"] = rows["trial"].fillna(-1).astype(np.int64)
    names = [named.get(*one) for one in zip(trials["trial"], trials["family"], strict=True)]
    placed = trials[["trial", "status", "peak_lr"]]
    offset = (0.618 * trials["trial"]) % 1 - 0.5
    return Overview(rows, placed.assign(name=names, cost=costs, tier=tiers(costs), offset=offset))
