"""What the search says of the families, and how fairly it treated them.

Trials are as :func:`analysis.load` gives them. Families are in the order of their names if nothing
else is said.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.scale import Scale
from analysis.statistics.best_of_draws import best_quantiles, expected_best

CENTRAL = (0.1, 0.9)  # quantiles
UNEQUAL = 1.25  # amounts of training, if they differ by more than this factor


def tuning_curves(trials: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The best of a family after so many trials.

    Columns ``family``, ``k`` (trials from 1, failed ones aside), ``cost``, ``low``, ``high``, and
    ``kind``, of which there are two:

    - ``expected``: the best of k independent draws on average, and the central 80% of outcomes. For
      families with two or more random draws, none of them stopped early, since nobody knows what it
      would have come to. A draw that diverged counts as the worst: accuracy 0, or the worst that
      any trial of the study completed with.
    - ``best so far``: what the search had found after the family's k-th trial; ``low`` and ``high``
      are NaN. For families with trials that were no random draws, a control's first aside.
    """
    ended = trials[trials["status"].isin(("completed", "diverged", "stopped"))].sort_values("trial")
    ended = ended.assign(cost=scale.cost(ended[scale.column]).where(ended["status"] == "completed"))
    if "sampler" not in ended:
        ended["sampler"] = ""
    worst = _worst(ended["cost"], scale)
    curves = []
    for family, of_family in ended.groupby("family"):
        draws = of_family[of_family["sampler"] == "random"]
        if len(draws) > 1 and not (draws["status"] == "stopped").any() and not math.isnan(worst):
            costs = draws["cost"].fillna(worst).to_numpy()
            low, high = best_quantiles(costs, CENTRAL)
            curves.append(_curve(family, "expected", expected_best(costs), low, high))
        if not of_family["sampler"].isin(("random", "fixed")).all():
            best = of_family["cost"].cummin().ffill()
            curves.append(_curve(family, "best so far", best, math.nan, math.nan))
    if not curves:
        return pd.DataFrame(columns=["family", "k", "cost", "low", "high", "kind"])
    return pd.concat(curves, ignore_index=True)


def leaders(curves: pd.DataFrame) -> list[tuple[int, str]]:
    """Which family leads after how many trials: (k, family), one for each change of the lead.

    Of :func:`tuning_curves` of one kind, from the first k at which two families can be compared. A
    tie goes to the one that leads already. A family whose curve has ended keeps its last cost, and
    the lead until another is better: further trials could only have made it better still.
    """
    costs = curves.pivot(index="k", columns="family", values="cost")
    comparable = costs.ffill()[costs.notna().sum(axis=1) > 1]
    changes: list[tuple[int, str]] = []
    for k, at_k in zip(comparable.index, comparable.to_dict("records"), strict=True):
        known = {str(family): cost for family, cost in at_k.items() if not math.isnan(cost)}
        best = min(known, key=lambda family: known[family])
        if not changes or known[best] < known[changes[-1][1]]:
            changes.append((int(k), best))
    return changes


def forgiveness(trials: pd.DataFrame, noise: float, scale: Scale) -> pd.DataFrame:
    """How wide a range of peak rates is good, a row a family, the widest first.

    Columns ``family``, ``low``, ``high`` (peak rates), ``decades`` (between them), ``good`` (trials
    from low to high that are), ``trials`` (completed or diverged). A trial is good if its metric is
    no more than twice the ``noise`` (standard deviation over seeds, in the metric's own units)
    worse than that of its family's best. The range reaches from the best trial's rate to good ones
    on either side, but never across a rate that diverged. It may span a trial that was worse, since
    that may have been for its shape. Only rates that were tried count, and a better best may narrow
    it. Families that completed no trial are left out.
    """
    rows = []
    for family, of_family in trials.groupby("family"):
        completed = of_family[of_family["status"] == "completed"]
        diverged = of_family.loc[of_family["status"] == "diverged", "peak_lr"]
        if completed.empty:
            continue
        rates, values = completed["peak_lr"], completed[scale.column]
        worse = values.max() - values if scale.higher_is_better else values - values.min()
        best = float(rates[worse.idxmin()])
        below = max(diverged[diverged <= best], default=0.0)
        above = min(diverged[diverged >= best], default=math.inf)
        # The best is good even where another trial of the same rate diverged.
        safe = ((rates > below) & (rates < above)) | (rates == best)
        good = rates[safe & (worse <= 2 * noise)]
        low, high = float(good.min()), float(good.max())
        count = len(completed) + len(diverged)
        rows.append((family, low, high, math.log10(high / low), len(good), count))
    ranges = pd.DataFrame(rows, columns=["family", "low", "high", "decades", "good", "trials"])
    return ranges.sort_values(["decades", "family"], ascending=[False, True], ignore_index=True)


def fairness(trials: pd.DataFrame, search_space: Mapping[str, Any]) -> pd.DataFrame:
    """What each family was given, in the order of the search space.

    Columns ``family``, ``trials``, ``epochs``, ``steps``, ``seconds`` (wall time), ``completed``,
    ``diverged``, ``failed``, ``stopped`` (trials), ``dimensions`` (searched parameters, the peak
    rate among them). All are 0 for a family without a trial. The search space is study.json's.
    """
    families = trials.groupby("family")
    given = families[["epochs", "steps", "wall_seconds"]].sum()
    given.insert(0, "trials", families.size())
    for status in ("completed", "diverged", "failed", "stopped"):
        given[status] = (trials["status"] == status).groupby(trials["family"]).sum()
    ledger = given.reindex(search_space["families"], fill_value=0).rename_axis("family")
    ledger["dimensions"] = [
        _dimensions(family, trials[trials["family"] == family], search_space)
        for family in ledger.index
    ]
    return ledger.rename(columns={"wall_seconds": "seconds"}).reset_index()


def unfair(ledger: pd.DataFrame) -> list[str]:
    """Where :func:`fairness` finds that families were treated unequally, in plain sentences."""
    sentences = []
    counts = ledger.set_index("family")["trials"]
    tried = ledger[ledger["trials"] > 0].set_index("family")
    lengths, dimensions = tried["epochs"] / tried["trials"], tried["dimensions"]
    if counts.max() - counts.min() > 1:
        sentences.append(
            f"Families had {counts.min()} to {counts.max()} trials ({counts.idxmax()} most, "
            f"{counts.idxmin()} least); --allocation balanced gives each the same."
        )
    elif lengths.max() > UNEQUAL * lengths.min():
        sentences.append(
            f"Families had nearly the same number of trials, but of {lengths.min():.3g} to "
            f"{lengths.max():.3g} epochs on average ({lengths.idxmax()} longest, "
            f"{lengths.idxmin()} shortest)."
        )
    if dimensions.max() > dimensions.min():
        sentences.append(
            f"Families have {dimensions.min()} to {dimensions.max()} searched parameters: with "
            "equal trials, those with more are searched less densely."
        )
    if failed := int(ledger["failed"].sum()):
        families = ", ".join(ledger.loc[ledger["failed"] > 0, "family"])
        trials = "1 trial" if failed == 1 else f"{failed} trials"
        sentences.append(f"{trials} failed ({families}), which says nothing of the schedules.")
    return sentences


def wrongly_pruned(trials: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """What early stopping saved and what it cost, a row a family that had pruned trials.

    Columns ``family``, ``pruned``, ``spared`` (pruned, but let run), ``wrong`` (spared and no
    worse in the end than the median of the family's trials that completed unpruned; none if
    there are no such), ``epochs_saved`` (of the longest trial's, those that stopped ones lack).
    """
    columns = ["family", "pruned", "spared", "wrong", "epochs_saved"]
    rows = []
    if "pruned" in trials:
        costs = scale.cost(trials[scale.column]).where(trials["status"] == "completed")
        for family, pruned in trials[trials["pruned"].notna()].groupby("family"):
            others = costs[(trials["family"] == family) & trials["pruned"].isna()]
            stopped = pruned["status"] == "stopped"
            wrong = (costs[pruned.index] <= others.median()).sum()
            saved = (trials["epochs"].max() - pruned.loc[stopped, "epochs"]).sum()
            rows.append((family, len(pruned), int((~stopped).sum()), int(wrong), int(saved)))
    return pd.DataFrame(rows, columns=columns)


def _worst(costs: "pd.Series[float]", scale: Scale) -> float:
    """What a trial costs that came to nothing; NaN if nobody can know."""
    if scale.ranking.column == "accuracy":
        return float(scale.cost(pd.Series([0.0]))[0])
    return float(costs.max())


def _curve(family: object, kind: str, cost: Any, low: Any, high: Any) -> pd.DataFrame:
    """A row for each number of trials at which there is a cost."""
    columns = {"family": family, "k": range(1, len(cost) + 1), "cost": cost, "low": low}
    return pd.DataFrame(columns | {"high": high, "kind": kind}).dropna(subset="cost")


def _dimensions(family: str, of_family: pd.DataFrame, search_space: Mapping[str, Any]) -> int:
    """Searched parameters of a family that has trials, else 0."""
    if of_family.empty:
        return 0
    return sum(map(_is_searched, search_space["parameters"][family].values()))


def _is_searched(range_: Mapping[str, Any]) -> bool:
    """Whether a distribution, as Optuna writes it, has more than one value."""
    attributes = range_["attributes"]
    values = attributes.get("choices") or (attributes["low"], attributes["high"])
    return len(set(values)) > 1
