"""The schedules as they were applied: curves to draw and to compare."""

from itertools import combinations

import numpy as np
import pandas as pd

from analysis.findings.ranks import ACCURACY, family_ranking
from analysis.scale import Scale
from analysis.statistics.conventions import Array

FRACTIONS = np.linspace(0, 1, 64)
RATE_DECADES = 4
"""Below the highest rate of a study; what falls further is as good as zero."""
ALIKE = 0.1
"""Decades between two curves below which they are nearly the same: a quarter of the rate."""


def curves_by_trial(schedules: pd.DataFrame) -> dict[int, Array]:
    """The rates that were applied: (points, 2) of the fraction of the horizon and the rate.

    The horizon, at fraction 1, is the longest run's number of steps.
    """
    ordered = schedules.sort_values("trial", kind="stable")
    trials, steps = ordered["trial"].to_numpy(), ordered["step"].to_numpy()
    points = np.column_stack([steps / max(1, steps.max(initial=0)), ordered["lr"]])
    return split_by_trial(trials, points) if len(points) else {}


def split_by_trial(trials: Array, points: Array) -> dict[int, Array]:
    """The points of each trial, in the order of the rows, where a trial's stand together."""
    begins = np.flatnonzero(np.diff(trials, prepend=-1))
    return dict(zip(trials[begins].tolist(), np.split(points, begins[1:]), strict=True))


def highest_shown(peaks: "pd.Series[float]") -> float:
    """The rate at which a linear axis of these peaks ends.

    Twice that of nine in ten, if not at the highest: a few far above would flatten all others.
    """
    return min(float(peaks.max()), 2 * float(peaks.quantile(0.9)))


def log_rates(schedules: pd.DataFrame) -> pd.DataFrame:
    """Logarithm (base 10) of the rate at 64 fractions of the horizon, a row a trial.

    No lower than ``RATE_DECADES`` below the highest rate of all, since a schedule that ends at zero
    has no logarithm there. NaN from where a trial ended early.
    """
    floor = schedules["lr"].max() / 10**RATE_DECADES
    rows = {}
    for trial, (fractions, rates) in (
        (trial, points.T) for trial, points in curves_by_trial(schedules).items()
    ):
        # A curve is thinned: its last point may lie before its end.
        late = fractions[-1] + 1 / len(FRACTIONS) < FRACTIONS
        logs = np.log10(np.maximum(rates, floor))
        rows[trial] = np.where(late, np.nan, np.interp(FRACTIONS, fractions, logs))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(range(len(FRACTIONS))))


def same_curves(rates: pd.DataFrame, trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """Families whose best trials trained with nearly the same rates.

    Columns ``family``, ``other``, ``decades``: the distance between their curves, root mean square
    over the run, where it is below ``ALIKE``; the nearest first.
    """
    best = family_ranking(trials, scale)
    best = best[best["trial"].isin(rates.index)]
    curves = rates.loc[best["trial"]].ffill(axis=1).to_numpy()
    pairs = [
        (*best["family"].iloc[[i, j]], float(np.sqrt(((curves[i] - curves[j]) ** 2).mean())))
        for i, j in combinations(range(len(best)), 2)
    ]
    table = pd.DataFrame(pairs, columns=["family", "other", "decades"])
    return table[table["decades"] < ALIKE].sort_values("decades", ignore_index=True)
