"""Which parameters decide, within each family: the only module here that knows Optuna.

Over all families together importances mislead: a parameter that decides everything in its own
family has no value in the others, and counts for nothing.
"""

import math
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial

from analysis.scale import Scale
from analysis.statistics.conventions import SEED
from study.results.parameters import PREFIX, proposed
from study.results.stored_ranges import stored_ranges

LEAST_TRIALS = 10
TOP = 0.25
"""Share of a family's trials that count as its good ones."""
SHUFFLES = 19
"""Of which the importance has to exceed all: by chance, it does so in one case of twenty."""


def importances(
    trials: pd.DataFrame, search_space: Mapping[str, Any], scale: Scale
) -> pd.DataFrame:
    """How much each searched parameter decides whether a trial is among its family's best quarter.

    Columns ``family``, ``parameter``, ``share`` (of all in the family, 0 to 1), ``chance`` (the
    largest of 19 times that the results were shuffled, as the same share) and ``trials``; the most
    important first. By PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), which compares how the
    values of the best quarter are spread with how all are. Trials that diverged count as the
    worst; families of fewer than ``LEAST_TRIALS`` completed or diverged trials are left out.
    """
    rows = []
    for family in search_space["families"]:
        own = trials[
            (trials["family"] == family) & trials["status"].isin(("completed", "diverged"))
        ]
        ranges = _searched(family, own, search_space)
        completed = own["status"] == "completed"
        if len(own) < LEAST_TRIALS or not ranges or not completed.any():
            continue
        costs = scale.cost(own[scale.column]).where(completed, math.inf)
        random = np.random.default_rng(SEED)
        # By rank, of which alone the method makes use: a diverged trial has no cost. Ties at
        # random: in the order of the trials, a sampler that narrows would look like a reason.
        ranks = costs.sample(frac=1, random_state=random).rank(method="first")[own.index].to_numpy()
        shuffled = [random.permutation(ranks) for _ in range(SHUFFLES)]
        found, *by_chance = _importances(own, [ranks, *shuffled], ranges)
        total = sum(found.values()) or 1.0
        for name, value in sorted(found.items(), key=lambda pair: -pair[1]):
            chance = max(one[name] for one in by_chance)
            rows.append((family, name, value / total, chance / total, len(own)))
    return pd.DataFrame(rows, columns=["family", "parameter", "share", "chance", "trials"])


def _searched(
    family: str, own: pd.DataFrame, search_space: Mapping[str, Any]
) -> dict[str, BaseDistribution]:
    """The ranges of the parameters that a family's trials have and that have more than one value.

    The table has a value for each trial of what a family has, and none for what it has not.
    """
    return {
        name: range_
        for name, range_ in stored_ranges(search_space["parameters"], family).items()
        if not range_.single() and _column(name) in own and own[_column(name)].notna().all()
    }


def _column(parameter: str) -> str:
    return parameter if parameter == "peak_lr" else f"{PREFIX}{parameter}"


def _importances(
    own: pd.DataFrame,
    outcomes: "list[np.ndarray[Any, Any]]",
    ranges: Mapping[str, BaseDistribution],
) -> list[dict[str, float]]:
    """For each way the trials may have come out.

    Not normalised, since shares of nothing would look like much. One study for all of them, since
    Optuna copies every trial that it is given.
    """
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study that is made
    study = optuna.create_study(directions=["minimize"] * len(outcomes))
    optuna.logging.set_verbosity(verbosity)
    rows = own[[_column(name) for name in ranges]].to_dict("records")
    study.add_trials(
        [
            optuna.create_trial(
                params={
                    name: proposed(row[_column(name)], range_) for name, range_ in ranges.items()
                },
                distributions=dict(ranges),
                values=values,
            )
            for row, *values in zip(rows, *outcomes, strict=True)
        ]
    )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TOP)
    with warnings.catch_warnings():
        # It warns that low targets are what it takes for good; so do we.
        warnings.simplefilter("ignore", UserWarning)
        return [
            evaluator.evaluate(study, target=partial(_outcome, number=k))
            for k in range(len(outcomes))
        ]


def _outcome(trial: FrozenTrial, number: int) -> float:
    return float(trial.values[number])
