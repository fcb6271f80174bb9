"""Which finalists are better than which, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.load import Results
from analysis.scale import Scale
from analysis.statistics.conventions import Array
from analysis.statistics.intervals import Interval, mean_interval
from analysis.statistics.repeated_intervals import repeated_interval
from study.results.best_trials import best_finalist, recommended, unbeaten
from study.results.sequential import found_above, paired_differences
from study.results.study_record import Finalist, SeedPlan, StoredSpace, last_plan, names_of


class Ensemble(NamedTuple):
    """One finalist's snapshots, found better than every single model, its own included."""

    finalist: str
    snapshots: int
    """Passes through the model where a single one has one."""
    better: Interval
    """By how much than the best single model, in the metric's own units, paired by replicate."""


class Comparison(NamedTuple):
    """The finalists, compared by the seeds of the study's last plan up to its newest look.

    They go by their names, :func:`~study.results.study_record.names_of`.
    """

    finalists: pd.DataFrame
    """A row a finalist that collapsed under no seed, best first: ``finalist``, ``family``,
    ``trial``, ``is_default``, ``trials`` (that its family had), ``seeds`` (its own: one that is
    beaten pauses), and the ``mean`` of its test metric with the ends of its 95% interval, ``low``
    and ``high``."""
    pairs: pd.DataFrame
    """A row a pair of them that share a seed: ``better``, ``worse``, ``found`` (if they have been
    told apart), ``seeds``, the ``difference`` (how much better, in the metric's own units: its
    pseudo-median, and with fewer than 7 seeds its mean) with ``low`` and ``high``, and the
    ``mean``."""
    lost: dict[str, str]
    """Finalists left out, and why."""
    runs: pd.DataFrame
    """The rows of the finalists' table that this rests on, with their names, ``finalist``."""
    seeds: int
    """Those of the newest look, or all where there are too few to look."""
    plan: SeedPlan
    winner: str | None
    """The finalist that was found better than every other."""
    tied: list[str]
    """The best, and those that the seeds cannot tell from it: than which no other was found better,
    or, where that is so of the best alone, than which it was not found better itself. Best first.
    """
    recommended: str
    """The winner, or the simplest finalist than which no other was found better."""
    is_alone: bool
    """True if there is only one than which no other was found better."""
    ensemble: Ensemble | None
    """The best of those that were found better than every single model, if there is one."""

    @property
    def is_decided(self) -> bool:
        """True if the plan has come to its end."""
        return bool(self.plan.looks) and self.plan.looks[-1].ends


def compare_finalists(results: Results) -> Comparison | None:
    """Compare finalists seed by seed; None before the first look, or where all have collapsed.

    A finalist that diverged under some seed is no candidate, whatever its other seeds say, nor is
    one that completed none. A run that failed says nothing of its schedule.
    """
    study, scale = results.study, results.scale
    plan, chosen = last_plan(study), [Finalist(**one) for one in study["finalists"]]
    if results.finalists.empty or plan is None:
        return None
    names, look = names_of(chosen), plan.looks[-1] if plan.looks else None
    runs, seeds = _of_plan(results.finalists, plan, names)
    rows: list[Any] = runs.to_dict("records")
    leader = look.leader if look else best_finalist(rows, scale.ranking)
    if leader is None:
        return None
    lost, best = _lost(runs, scale), names[leader]
    values = _values(runs, seeds, scale).drop(columns=list(lost))
    first = [names[one] for one in unbeaten(chosen, look)] if look else [*map(str, values)]
    order = _ordered(values, best, first, scale)
    beaten = {(names[one], names[other]) for one, other in look.beaten} if look else set()
    tied = [name for name in order if name in first]
    if len(tied) == 1:
        tied = [name for name in order if (best, name) not in beaten]
    simplest = recommended(chosen, plan.looks, StoredSpace(**study["search_space"]))
    return Comparison(
        _described(order, values, chosen, results),
        _pairs(runs, values[order], beaten, plan, scale),
        lost,
        runs,
        seeds,
        plan,
        best if look and look.second is None and len(order) > 1 else None,
        tied,
        best if simplest is None else names[simplest],
        len(first) == 1,
        _ensemble(runs, values[order], plan, scale),
    )


def _of_plan(
    finalists: pd.DataFrame, plan: SeedPlan, names: Mapping[int, str]
) -> tuple[pd.DataFrame, int]:
    """The runs of the newest look's seeds, with the finalists' names; and how many seeds."""
    seeds = finalists["replicate"] - plan.first
    count = int(seeds.max()) + 1
    if plan.looks_at:
        count = plan.looks[-1].seeds if plan.looks else 0
    own = finalists[seeds.between(0, count - 1)]
    return own.assign(finalist=own["trial"].map(names), seed=own["replicate"] - plan.first), count


def _lost(runs: pd.DataFrame, scale: Scale) -> dict[str, str]:
    """Finalists that are no candidates, and why.

    A run that has completed with a test metric that is no finite number, as a table from elsewhere
    may hold one, has diverged.
    """
    is_odd = (runs["status"] == "completed") & ~np.isfinite(runs[scale.test_column].astype(float))
    lost = {}
    for name, statuses in runs["status"].mask(is_odd, "diverged").groupby(runs["finalist"]):
        if count := int((statuses == "diverged").sum()):
            lost[str(name)] = f"diverged under {count} of its {len(statuses)} seeds"
        elif not (statuses == "completed").any():
            lost[str(name)] = "completed under none of its seeds"
    return lost


def _values(runs: pd.DataFrame, seeds: int, scale: Scale) -> pd.DataFrame:
    """Test metrics: a row a seed, a column a finalist."""
    table = runs.pivot(index="seed", columns="finalist", values=scale.test_column)
    return table.reindex(index=range(seeds))


def _ordered(values: pd.DataFrame, best: str, first: Sequence[str], scale: Scale) -> list[str]:
    """The finalists: the best, the others of the first, the rest.

    Each by how far it is behind the best under the seeds of both, since some have paused.
    """
    gains = {str(name): _gains(values[best], values[name], scale) for name in values}
    behind = {name: mean_interval(own[np.isfinite(own)]).mean for name, own in gains.items()}
    return sorted(
        behind,
        key=lambda name: (name != best, name not in first, np.isnan(behind[name]), behind[name]),
    )


def _described(
    order: Sequence[str], values: pd.DataFrame, chosen: Sequence[Finalist], results: Results
) -> pd.DataFrame:
    names = names_of(chosen)
    by_name = {names[one.trial]: one for one in chosen}
    trials = results.trials["family"].value_counts()
    rows: list[dict[str, Any]] = []
    for name in order:
        own, one = values[name].dropna().to_numpy(), by_name[name]
        row = {"finalist": name, **asdict(one), "trials": int(trials.get(one.family, 0))}
        rows.append(row | {"seeds": len(own)} | mean_interval(own)._asdict())
    return pd.DataFrame(rows)


def _pairs(
    runs: pd.DataFrame,
    values: pd.DataFrame,
    beaten: set[tuple[str, str]],
    plan: SeedPlan,
    scale: Scale,
) -> pd.DataFrame:
    """The :attr:`Comparison.pairs`, of finalists in their order."""
    trained = runs["finalist"].value_counts().to_dict()
    rows: list[dict[str, Any]] = []
    for pair in combinations(map(str, values.columns), 2):
        found = {pair, pair[::-1]} & beaten
        better, worse = min(found, default=pair)
        seeds = _last_look(plan, min(trained[better], trained[worse]))
        apart = _gains(values[better], values[worse], scale)[:seeds]
        plain = mean_interval(apart[np.isfinite(apart)])
        if np.isnan(plain.mean):
            continue
        middle, low, high = repeated_interval(apart, plan.replicates) if plan.looks_at else plain
        mean = plain.mean
        if middle < 0 and not found:
            better, worse = worse, better
            middle, low, high, mean = -middle, -high, -low, -mean
        row = {"better": better, "worse": worse, "found": bool(found), "seeds": seeds}
        rows.append(row | {"difference": middle, "low": low, "high": high, "mean": mean})
    columns = ["better", "worse", "found", "seeds", "difference", "low", "high", "mean"]
    return pd.DataFrame(rows, columns=columns)


def _ensemble(
    runs: pd.DataFrame, values: pd.DataFrame, plan: SeedPlan, scale: Scale
) -> Ensemble | None:
    """The :attr:`Comparison.ensemble`: better than each single model by the test of the looks.

    Each that is no better is named in no more than 2.5 of 100 studies.
    """
    if not plan.looks:
        return None
    table = runs.pivot(index="seed", columns="finalist", values=scale.ensemble_column)
    table = table.reindex(index=values.index, columns=values.columns)
    table = table.dropna(axis="columns", how="all")
    trained = runs["finalist"].value_counts().to_dict()
    singles = [str(name) for name in values if trained[name] == len(values)]  # others have paused
    order = table.mean().sort_values(ascending=not scale.higher_is_better, kind="stable").index
    for name in map(str, order):
        seeds = _last_look(plan, trained[name])
        gains = np.array([_gains(table[name], values[one], scale)[:seeds] for one in singles])
        if found_above(gains, plan.replicates).any(axis=1).all():
            count = int(runs.set_index("finalist").loc[[name], "snapshots"].max())
            return Ensemble(name, count, repeated_interval(gains[0], plan.replicates))
    return None


def _last_look(plan: SeedPlan, seeds: int) -> int:
    """The last look that so many seeds have come to; of a plan without looks, all of them."""
    return max((look for look in plan.looks_at if look <= seeds), default=seeds)


def _gains(values: "pd.Series[float]", others: "pd.Series[float]", scale: Scale) -> Array:
    """By how much the one is better, seed by seed."""
    apart = paired_differences(np.asarray(values, np.float64), np.asarray(others, np.float64))
    return apart if scale.higher_is_better else -apart
