"""Which finalists are better than which, by how much, and how sure that is."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.allocation import fairness
from analysis.load import Results
from analysis.scale import Scale
from analysis.statistics.intervals import Interval, mean_interval
from analysis.statistics.repeated_intervals import repeated_interval
from study.results.sequential import found_above, paired_differences
from study.results.study_record import Finalist, SeedPlan, last_plan, names_of


class Ensemble(NamedTuple):
    """One finalist's snapshots, which are better than every single model, its own included."""

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
    ``trial``, ``trials`` (that its family had), ``seeds`` (its own: one that is beaten pauses), and
    the ``mean`` of its test metric with the ends of its 95% interval, ``low`` and ``high``."""
    pairs: pd.DataFrame
    """A row a pair of them: ``better``, ``worse``, ``found`` (if they have been told apart),
    ``seeds``, the ``difference`` (how much better, in the metric's own units: its pseudo-median,
    and with fewer than 7 seeds its mean) with ``low`` and ``high``, and the ``mean``."""
    lost: dict[str, str]
    """Finalists left out, and why."""
    seeds: int
    """Those of the newest look, or all where there are too few to look."""
    plan: SeedPlan
    winner: str | None
    """The finalist that was found better than every other."""
    unbeaten: list[str]
    """Finalists than which no other was found better, the best first."""
    recommended: str
    """The simplest of these: the fewest searched parameters, a default before one that was tuned,
    then the older family."""
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
    runs, seeds = _of_plan(results.finalists, plan, names_of(chosen))
    lost = _lost(runs, scale)
    values = _values(runs, scale).drop(columns=list(lost))
    if seeds < 2 or values.empty:
        return None
    simplicity = _simplicity(chosen, results)
    names = names_of(chosen)
    look = plan.looks[-1] if plan.looks else None
    beaten = {(names[one], names[other]) for one, other in look.beaten} if look else set()
    means = values.mean().sort_values(ascending=not scale.higher_is_better, kind="stable")
    order = [str(name) for name in means.index]
    beaten = {pair for pair in beaten if set(pair) <= set(order)}
    unbeaten = [name for name in order if name not in {worse for _, worse in beaten}] or order
    if look and look.leader is not None and names[look.leader] in unbeaten:
        unbeaten.sort(key=lambda name: name != names[look.leader])
    order.sort(key=lambda name: unbeaten.index(name) if name in unbeaten else len(order))
    winner = order[0] if look and look.second is None and len(order) > 1 else None
    return Comparison(
        _described(order, values, chosen, results),
        _pairs(values[order], beaten, plan, scale),
        lost,
        seeds,
        plan,
        winner,
        unbeaten,
        min(unbeaten, key=lambda name: simplicity[name]),
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


def _values(runs: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Test metrics: a row a seed, a column a finalist."""
    seeds = range(int(runs["seed"].max()) + 1)
    table = runs.pivot(index="seed", columns="finalist", values=scale.test_column)
    return table.reindex(index=seeds, columns=list(dict.fromkeys(runs["finalist"])))


def _simplicity(chosen: Sequence[Finalist], results: Results) -> dict[str, tuple[int, bool, int]]:
    """By name: lower is simpler."""
    ledger = fairness(results.trials, results.study["search_space"])
    families, names = list(ledger["family"]), names_of(chosen)
    searched = dict(zip(families, ledger["dimensions"], strict=True))
    return {
        names[one.trial]: (
            int(searched[one.family]),
            not one.is_default,
            families.index(one.family),
        )
        for one in chosen
    }


def _described(
    order: Sequence[str], values: pd.DataFrame, chosen: Sequence[Finalist], results: Results
) -> pd.DataFrame:
    by_name = {names_of(chosen)[one.trial]: one for one in chosen}
    trials = results.trials["family"].value_counts()
    rows: list[dict[str, Any]] = []
    for name in order:
        own, one = values[name].dropna().to_numpy(), by_name[name]
        row = {"finalist": name, "family": one.family, "trial": one.trial}
        row |= {"trials": int(trials.get(one.family, 0)), "seeds": len(own)}
        rows.append(row | mean_interval(own)._asdict())
    return pd.DataFrame(rows)


def _pairs(
    values: pd.DataFrame, beaten: set[tuple[str, str]], plan: SeedPlan, scale: Scale
) -> pd.DataFrame:
    """The :attr:`Comparison.pairs`, of finalists in their order."""
    sign = 1 if scale.higher_is_better else -1
    rows: list[dict[str, Any]] = []
    for pair in combinations(map(str, values.columns), 2):
        better, worse = pair[::-1] if pair[::-1] in beaten else pair
        both = values[[better, worse]].dropna()
        seeds = len(both)
        if plan.looks_at:
            reached = [look for look in plan.looks_at if look <= both.index.max() + 1]
            seeds = reached[-1]
        one, other = (values[name].to_numpy()[:seeds] for name in (better, worse))
        apart = sign * paired_differences(one, other)
        interval = (
            repeated_interval(apart, plan.replicates)
            if plan.looks_at
            else mean_interval(apart[np.isfinite(apart)])
        )
        row = {"better": better, "worse": worse, "found": (better, worse) in beaten}
        row |= {"seeds": seeds, "difference": interval.mean, "low": interval.low}
        rows.append(row | {"high": interval.high, "mean": float(np.nanmean(apart))})
    columns = ["better", "worse", "found", "seeds", "difference", "low", "high", "mean"]
    return pd.DataFrame(rows, columns=columns)


def _ensemble(
    runs: pd.DataFrame, values: pd.DataFrame, plan: SeedPlan, scale: Scale
) -> Ensemble | None:
    """The :attr:`Comparison.ensemble`: better than each single model by the test of the looks.

    So none is named wrongly in more than 2.5 of 100 studies.
    """
    if not plan.looks:
        return None
    table = runs.pivot(index="seed", columns="finalist", values=scale.ensemble_column)
    table = table.reindex(index=values.index, columns=values.columns).dropna(axis="columns")
    sign = 1 if scale.higher_is_better else -1
    for name in table.mean().sort_values(ascending=not scale.higher_is_better, kind="stable").index:
        gains = np.array(
            [sign * paired_differences(table[name], values[one]) for one in values.columns]
        )
        complete = gains[~np.isnan(gains).any(axis=1)]  # but for those that have paused
        if found_above(complete, plan.replicates).any(axis=1).all():
            count = int(runs.set_index("finalist").loc[[name], "snapshots"].max())
            return Ensemble(str(name), count, repeated_interval(complete[0], plan.replicates))
    return None
