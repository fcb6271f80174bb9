"""Which parameters decide, within each family.

Over all families together importances mislead: a parameter that decides everything in its own
family has no value in the others, and counts for nothing.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution

from analysis.scale import Scale
from analysis.statistics.conventions import SEED
from analysis.statistics.distances import distances
from study.results.parameters import PREFIX, proposed
from study.results.stored_ranges import stored_ranges

LEAST_TRIALS = 30
"""Fewest trials of a family. A parameter that decides alone, drawn at random, exceeds chance in 97%
of so many trials, and in 61% of 16; one that TPE narrows, in 55% and in 15%, and in 99% of 60."""
TOP = 0.25
"""Share of a family's trials that count as its good ones."""
SHUFFLES = 999
CHANCE = 0.95
"""Share of the shufflings that a parameter has to exceed."""


def importances(
    trials: pd.DataFrame, search_space: Mapping[str, Any], scale: Scale
) -> pd.DataFrame:
    """Distances between the values of a family's best quarter of trials and those of its others.

    Columns ``family``, ``parameter``, ``distance`` (0: spread alike, to 1: apart; see
    :func:`~analysis.statistics.distances.distances`), ``chance`` (what 95% of 999 shufflings of the
    results stay below) and ``trials``; the furthest first. Trials that diverged count as the worst;
    families of fewer than ``LEAST_TRIALS`` completed or diverged trials are left out.
    """
    rows = []
    for family in search_space["families"]:
        own = trials[
            (trials["family"] == family) & trials["status"].isin(("completed", "diverged"))
        ]
        completed = own["status"] == "completed"
        if len(own) < LEAST_TRIALS or not completed.any():
            continue
        costs = scale.cost(own[scale.column]).where(completed, math.inf)
        is_good = _best_and_shuffled(costs.to_numpy())
        found = {
            name: distances(values, is_good, ordered)
            for name, (values, ordered) in _searched(family, own, search_space).items()
        }
        for name, (distance, *by_chance) in sorted(found.items(), key=lambda one: -one[1][0]):
            chance = float(np.quantile(by_chance, CHANCE))
            rows.append((family, name, float(distance), chance, len(own)))
    return pd.DataFrame(rows, columns=["family", "parameter", "distance", "chance", "trials"])


def _best_and_shuffled(costs: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """(1 + shufflings, trials): which are the best quarter, and then by chance.

    Ties at random: in the order of the trials, a sampler that narrows would look like a reason.
    """
    random = np.random.default_rng(SEED)
    order = np.lexsort((random.random(len(costs)), costs))
    is_good = np.zeros(len(costs), bool)
    is_good[order[: max(1, round(TOP * len(costs)))]] = True
    shuffled = random.permuted(np.tile(is_good, (SHUFFLES, 1)), axis=1)
    return np.vstack([is_good, shuffled])


def _searched(
    family: str, own: pd.DataFrame, search_space: Mapping[str, Any]
) -> "dict[str, tuple[np.ndarray[Any, Any], bool]]":
    """The values of each parameter that was searched, as numbers, and whether they have an order.

    The table has a value for each trial of what a family has, and none for what it has not.
    """
    columns = {}
    for name, range_ in stored_ranges(search_space["parameters"], family).items():
        column = name if name == "peak_lr" else f"{PREFIX}{name}"
        if not range_.single() and column in own and own[column].notna().all():
            columns[name] = _numbers(own[column], range_)
    return columns


def _numbers(
    column: "pd.Series[Any]", range_: BaseDistribution
) -> "tuple[np.ndarray[Any, Any], bool]":
    values = [proposed(cell, range_) for cell in column]
    if isinstance(range_, CategoricalDistribution):
        return pd.factorize(column)[0], False
    return np.array(values, float), True
