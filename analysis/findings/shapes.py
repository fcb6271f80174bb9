"""The schedules as they were applied: curves to draw, to compare and to map."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from analysis.findings.ranks import ACCURACY, family_ranking, with_cost
from analysis.scale import Scale

FRACTIONS = np.linspace(0, 1, 64)
RATE_DECADES = 4
"""Below the highest rate of a study; what falls further is as good as zero."""
ALIKE = 0.1
"""Decades between two curves below which they are nearly the same: a quarter of the rate."""


class CurveMap(NamedTuple):
    """Curves in the plane: what lies far apart differs."""

    points: pd.DataFrame
    """A row a trial that completed: ``trial``, ``family``, ``cost``, and its place ``x``, ``y``."""
    explained: tuple[float, float]
    """Shares of the curves' variance that the two axes explain."""


def realised_curves(
    trials: pd.DataFrame, schedules: pd.DataFrame, scale: Scale = ACCURACY
) -> pd.DataFrame:
    """The rates that were applied, with what the trial came to.

    Columns ``trial``, ``family``, ``fraction`` (of the horizon, 0 to 1), ``lr``, ``cost`` (NaN for
    trials that did not complete). The horizon is the longest run's number of steps.
    """
    costs = with_cost(trials, scale).set_index("trial")["cost"]
    curves = schedules.merge(trials[["trial", "family"]], on="trial")
    curves["fraction"] = _fractions(curves["step"])
    curves["cost"] = curves["trial"].map(costs)
    return curves[["trial", "family", "fraction", "lr", "cost"]]


def log_rates(schedules: pd.DataFrame) -> pd.DataFrame:
    """Logarithm (base 10) of the rate at 64 fractions of the horizon, a row a trial.

    No lower than ``RATE_DECADES`` below the highest rate of all, since a schedule that ends at zero
    has no logarithm there. NaN from where a trial ended early.
    """
    floor = schedules["lr"].max() / 10**RATE_DECADES
    every = _fractions(schedules["step"])
    rows = {}
    for trial, own in schedules.groupby("trial"):
        fractions = every[own.index].to_numpy()
        rates = np.log10(own["lr"].clip(lower=floor).to_numpy())
        # A curve is thinned: its last point may lie before its end.
        late = fractions[-1] + 1 / len(FRACTIONS) < FRACTIONS
        rows[trial] = np.where(late, np.nan, np.interp(FRACTIONS, fractions, rates))
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(range(len(FRACTIONS))))


def curve_map(rates: pd.DataFrame, trials: pd.DataFrame, scale: Scale = ACCURACY) -> CurveMap:
    """The two principal components of the curves of the trials that completed.

    Of ``rates`` as :func:`log_rates` makes them, level and shape alike. No two are further apart
    than their curves; they may be nearer, by what the two axes do not explain. The larger values of
    each axis belong to the higher rates. One trial alone lies at 0, 0.
    """
    completed = with_cost(trials, scale)[["trial", "family", "cost"]]
    drawn = rates[rates.index.isin(completed["trial"])].ffill(axis=1)
    curves = drawn.to_numpy()
    places, shares = np.zeros((len(curves), 2)), np.zeros(2)
    if len(curves) and curves.var(axis=0).any():
        fitted = PCA(min(2, len(curves))).fit(curves)
        signs = np.where(fitted.components_.sum(axis=1) < 0, -1, 1)
        count = fitted.n_components_
        places[:, :count] = fitted.transform(curves) * signs
        shares[:count] = fitted.explained_variance_ratio_
    placed = pd.DataFrame(
        {
            "trial": drawn.index,
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    return CurveMap(completed.merge(placed, on="trial"), (float(shares[0]), float(shares[1])))


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


def _fractions(steps: "pd.Series[int]") -> "pd.Series[float]":
    """Shares of the horizon, the longest run's number of steps."""
    return steps / max(1, steps.max())
