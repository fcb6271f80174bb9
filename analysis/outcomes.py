"""What trials came to, by cost: lower is better whatever the metric."""

import pandas as pd

from analysis.scale import Scale

ACCURACY = Scale()


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


def edge_of_bulk(costs: "pd.Series[float]") -> float:
    """Up to which costs belong with the rest; the highest, but where some lie far outside.

    That is, more than six times the width of the middle half above its end.
    """
    low, high = costs.quantile((0.25, 0.75))
    return float(high + 6 * (high - low)) if high > low else float(costs.max())
