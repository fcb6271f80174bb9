"""Which finalists are better than which, by how much, and how sure that is."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.ranks import far_off
from analysis.scale import Scale
from analysis.statistics.conventions import LEVEL
from analysis.statistics.intervals import Interval, mean_interval
from analysis.statistics.power import detectable_difference, replicates_needed
from analysis.statistics.significance import groups, holm, sign_flip


class Ensemble(NamedTuple):
    """One finalist's snapshots, which are better than every single model, its own included."""

    family: str
    snapshots: int
    """Passes through the model where a single one has one."""
    better: Interval
    """By how much than the best single model, in the metric's own units, paired by replicate."""


class Comparison(NamedTuple):
    """The finalists, compared by their replicates."""

    families: pd.DataFrame
    """A row a finalist whose replicates all completed, best first: ``family``, ``trial``, and the
    ``mean`` of its test metric with the ends of its 95% interval, ``low`` and ``high``."""
    pairs: pd.DataFrame
    """A row a pair of them: ``better``, ``worse``, the ``difference`` (how much better, in the
    metric's own units) with ``low`` and ``high``, ``p`` of the sign-flip test and ``p_holm``."""
    lost: dict[str, str]
    """Finalists left out, and why."""
    replicates: int
    """Those that every finalist completed."""
    needed: int
    """Replicates from which on a pair can be significant at all."""
    winner: str | None
    """The finalist that is better than every other, each at 5%.

    The claim is only as strong as the weakest of its comparisons (intersection-union test, Berger
    1982), so that it needs no correction for their number, as the pairs do."""
    groups: list[tuple[str, ...]]
    """Finalists that cannot be told apart, best first; the winner is alone."""
    detectable: float
    """The smallest difference between the two best that would have been found with 80% chance."""
    noise: float
    """Standard deviation of the validation metric over seeds."""
    ensemble: Ensemble | None
    """The best of those that are better than every single model, each at 5%, if there is one."""

    @property
    def in_reach(self) -> bool:
        """True if any outcome could have been significant."""
        return self.replicates >= self.needed


def compare_finalists(finalists: pd.DataFrame, scale: Scale) -> Comparison | None:
    """Compare finalists replicate by replicate; None with fewer than two replicates of any.

    A finalist that diverged under some seed is no candidate, whatever its other replicates say, nor
    is one that completed none. A replicate that failed, which says nothing of its schedule, is left
    out for all.
    """
    if finalists.empty:
        return None
    values, lost = _paired(finalists, scale)
    replicates, names = len(values), list(values.columns)
    if replicates < 2 or not names:
        return None
    intervals = [mean_interval(values[name].to_numpy()) for name in names]
    trials = finalists.groupby("family")["trial"].first()
    families = pd.DataFrame(intervals).assign(family=names, trial=[trials[name] for name in names])
    pairs, deviation = _pairs(values, scale)
    needed = replicates_needed(max(1, len(pairs)))
    winner = _winner(names, pairs) if replicates >= needed else None
    # By the interval as well, as for the winner.
    certain = (pairs["p_holm"] <= 1 - LEVEL) & (pairs["low"] > 0)
    different = pairs[certain & (replicates >= needed)]
    apart = {frozenset(pair) for pair in zip(different["better"], different["worse"], strict=True)}
    apart |= {frozenset((winner, other)) for other in names if winner and other != winner}
    return Comparison(
        families[["family", "trial", "mean", "low", "high"]],
        pairs,
        lost,
        replicates,
        needed,
        winner,
        groups(names, apart),
        detectable_difference(deviation, replicates, max(1, len(pairs))),
        seed_noise(finalists, scale),
        _ensemble(finalists, values, scale),
    )


def seed_noise(finalists: pd.DataFrame, scale: Scale) -> float:
    """Standard deviation of the validation metric over seeds, pooled over the finalists.

    Without seeds that came to far worse than the others of their family, which are no noise. In the
    metric's own units; NaN where no finalist has two completed replicates.
    """
    completed = finalists[finalists["status"] == "completed"]
    off = far_off(scale.cost(completed[scale.column]), completed["family"])
    variances = completed[~off].groupby("family")[scale.column].var()
    return float(np.sqrt(variances.mean()))


def _ensemble(finalists: pd.DataFrame, values: pd.DataFrame, scale: Scale) -> Ensemble | None:
    """The :attr:`Comparison.ensemble`; ``values`` as :func:`_paired` gives them.

    Better than every single model as a winner is (see :attr:`Comparison.winner`), corrected for the
    number of ensembles.
    """
    table = finalists.pivot(index="replicate", columns="family", values=scale.ensemble_column)
    table = table.reindex(index=values.index, columns=values.columns).dropna(axis="columns")
    sign = 1 if scale.higher_is_better else -1
    gains = {name: sign * values.rsub(table[name], axis="index") for name in table}
    p_holm = holm(np.array([max(map(sign_flip, gain.to_numpy().T)) for gain in gains.values()]))
    order = table.mean().sort_values(ascending=not scale.higher_is_better, kind="stable").index
    for name in order:
        better = [mean_interval(column) for column in gains[name].to_numpy().T]
        p = p_holm[list(gains).index(name)]
        if p <= 1 - LEVEL and all(interval.low > 0 for interval in better):
            count = int(finalists.set_index("family").loc[[name], "snapshots"].max())
            return Ensemble(str(name), count, better[0])
    return None


def _paired(finalists: pd.DataFrame, scale: Scale) -> tuple[pd.DataFrame, dict[str, str]]:
    """A row a replicate, a column a finalist, best first; and those that are left out."""
    finalists, lost = _diverged_unless_finite(finalists, scale), {}
    for family, statuses in finalists.groupby("family")["status"]:
        if count := int((statuses == "diverged").sum()):
            lost[str(family)] = f"diverged under {count} of its seeds"
        elif not (statuses == "completed").any():
            lost[str(family)] = "completed under none of its seeds"
    kept = finalists[~finalists["family"].isin(list(lost))]
    values = kept.pivot(index="replicate", columns="family", values=scale.test_column).dropna()
    # A stable order: of two with the same mean, the one that did better in the search.
    values = values[[name for name in dict.fromkeys(kept["family"]) if name in values]]
    order = values.mean().sort_values(ascending=not scale.higher_is_better, kind="stable").index
    return values[order], lost


def _diverged_unless_finite(finalists: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """The finalists, of which none completed with a test metric that is no finite number.

    Training here ends no run so, but a table from elsewhere may hold one. It says of its schedule
    what a diverged run says: as a missing value it would cost all others their replicate.
    """
    odd = (finalists["status"] == "completed") & ~np.isfinite(finalists[scale.test_column])
    return finalists.assign(status=finalists["status"].mask(odd, "diverged"))


def _pairs(values: pd.DataFrame, scale: Scale) -> tuple[pd.DataFrame, float]:
    """A row a pair; and the standard deviation of the differences between the two best."""
    sign = 1 if scale.higher_is_better else -1
    differences = {
        (better, worse): sign * (values[better] - values[worse]).to_numpy()
        for better, worse in combinations(values.columns, 2)
    }
    deviation = float(next(iter(differences.values())).std(ddof=1)) if differences else 0.0
    rows = [(*pair, *mean_interval(own), sign_flip(own)) for pair, own in differences.items()]
    pairs = pd.DataFrame(rows, columns=["better", "worse", "difference", "low", "high", "p"])
    return pairs.assign(p_holm=holm(pairs["p"].to_numpy(dtype=float))), deviation


def _winner(names: list[str], pairs: pd.DataFrame) -> str | None:
    of_best = pairs[pairs["better"] == names[0]]
    # By the interval as well, so that no winner is named beside one that holds 0.
    beaten = (of_best["p"] <= 1 - LEVEL) & (of_best["low"] > 0)
    return names[0] if len(beaten) and beaten.all() else None
