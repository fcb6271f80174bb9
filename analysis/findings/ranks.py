"""Ranks of what trials came to, by cost: lower is better whatever the metric."""

import numpy as np
import pandas as pd

from analysis.scale import Scale

ACCURACY = Scale()
TIERS = (0.1, 0.25, 0.5)
"""Shares of the completed trials at which their colours change, the best first."""


def with_cost(trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """Trials that completed, with ``cost``."""
    completed = trials[trials["status"] == "completed"].copy()
    completed["cost"] = scale.cost(completed[scale.column])
    return completed


def family_ranking(trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """A row a family, best first: ``family``, ``best_cost`` (NaN if none completed), ``trial``."""
    completed = with_cost(trials, scale)
    best = completed.loc[completed.groupby("family")["cost"].idxmin(), ["family", "cost", "trial"]]
    ranking = best.rename(columns={"cost": "best_cost"}).sort_values(["best_cost", "trial"])
    others = sorted(set(trials["family"]) - set(ranking["family"]))
    return pd.concat([ranking, pd.DataFrame({"family": others})], ignore_index=True)


def tiers(costs: "pd.Series[float]") -> "pd.Series[int]":
    """0 for costs of the best tenth of all, 1 of the best quarter, 2 of the best half, 3 of others.

    Equal costs are in one tier. A cost that is NaN is in none: -1.
    """
    places = (costs.rank(method="min") - 1) / max(1, costs.count())
    return pd.Series(np.searchsorted(TIERS, places, side="right"), costs.index).where(
        costs.notna(), -1
    )


def far_off(costs: "pd.Series[float]", families: "pd.Series[str]") -> "pd.Series[bool]":
    """True for replicates that came to far worse than the others of their family.

    By more than ten times the family's median absolute deviation, and by more than its median, so
    that ties do not make noise of it: an error that more than doubled. Of ten seeds whose noise is
    normal or Student's t of 3 degrees of freedom, 0.07% or 0.45% are taken for far off if only the
    first condition binds; none or 0.08% if the noise has a scale of a tenth of the error.
    """
    middle = costs.groupby(families).transform("median")
    deviations = costs - middle
    usual = deviations.abs().groupby(families).transform("median")
    return deviations > np.maximum(10 * usual, middle.abs())
