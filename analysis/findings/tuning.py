"""The best that so many trials of a family bring."""

import math
from typing import Any

import pandas as pd

from analysis.scale import Scale
from analysis.statistics.best_of_draws import dependable_best, expected_best

CHANCE = 0.8
"""At least so many of new searches come to what is called dependable."""


def best_by_trials(trials: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The best of a family after so many trials.

    Columns ``family``, ``k`` (trials from 1, failed ones aside), ``cost``, ``dependable``, and
    ``kind``, of which there are two:

    - ``expected``: the best of k independent draws on average, and what the best of k new ones
      comes to in at least four cases of five (NaN where nothing seen is that sure). For families
      with two or more random draws, none of them stopped early, since nobody knows what it would
      have come to. A draw that diverged counts as the worst: accuracy 0, or the worst that any
      trial of the study completed with.
    - ``best so far``: what the search had found after the family's k-th trial; ``dependable`` is
      NaN. For families with trials that were no random draws, a control's first aside.
    """
    ended = trials[trials["status"].isin(("completed", "diverged", "stopped"))].sort_values("trial")
    ended = ended.assign(cost=scale.cost(ended[scale.column]).where(ended["status"] == "completed"))
    if "sampler" not in ended:
        ended["sampler"] = ""
    worst = _worst(ended["cost"], scale)
    tables = []
    for family, of_family in ended.groupby("family"):
        draws = of_family[of_family["sampler"] == "random"]
        if len(draws) > 1 and not (draws["status"] == "stopped").any() and not math.isnan(worst):
            costs = draws["cost"].fillna(worst).to_numpy()
            dependable = dependable_best(costs, CHANCE)
            tables.append(_rows(family, "expected", expected_best(costs), dependable))
        if not of_family["sampler"].isin(("random", "fixed")).all():
            best = of_family["cost"].cummin().ffill()
            tables.append(_rows(family, "best so far", best, math.nan))
    if not tables:
        return pd.DataFrame(columns=["family", "k", "cost", "dependable", "kind"])
    return pd.concat(tables, ignore_index=True)


def leaders(best: pd.DataFrame) -> list[tuple[int, str]]:
    """Which family leads after how many trials: (k, family), one for each change of the lead.

    Of :func:`best_by_trials` of one kind, from the first k at which two families can be compared. A
    tie goes to the one that leads already. A family without more trials keeps its last cost, and
    the lead until another is better: further trials could only have made it better still.
    """
    costs = best.pivot(index="k", columns="family", values="cost")
    comparable = costs.ffill()[costs.notna().sum(axis=1) > 1]
    changes: list[tuple[int, str]] = []
    for k, at_k in zip(comparable.index, comparable.to_dict("records"), strict=True):
        known = {str(family): cost for family, cost in at_k.items() if not math.isnan(cost)}
        lead = min(known, key=lambda family: known[family])
        if not changes or known[lead] < known[changes[-1][1]]:
            changes.append((int(k), lead))
    return changes


def _worst(costs: "pd.Series[float]", scale: Scale) -> float:
    """The cost of a trial that came to nothing; NaN if nobody can know."""
    if scale.ranking.column == "accuracy":
        return float(scale.cost(pd.Series([0.0]))[0])
    return float(costs.max())


def _rows(family: object, kind: str, cost: Any, dependable: Any) -> pd.DataFrame:
    """A row for each number of trials at which there is a cost."""
    columns = {"family": family, "k": range(1, len(cost) + 1), "cost": cost}
    return pd.DataFrame(columns | {"dependable": dependable, "kind": kind}).dropna(subset="cost")
