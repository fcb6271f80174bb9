"""Which parameters decide: found where they do, and not where chance does."""

import json
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.importance import PedAnovaImportanceEvaluator

from analysis.findings.importance import LEAST_TRIALS, TOP, importances
from analysis.scale import Scale

UNIT = json.loads(distribution_to_json(FloatDistribution(0.0, 1.0)))
RATES = json.loads(distribution_to_json(FloatDistribution(0.01, 1.0, log=True)))
SPACE: dict[str, Any] = {
    "families": ["cosine", "step"],
    "peak_lr": [0.01, 1.0],
    "extras": {},
    "parameters": {"cosine": {"shape": UNIT, "idle": UNIT, "peak_lr": RATES}, "step": {}},
}


def trials_of(seed: int, count: int = 60, matters: float = 1.0) -> pd.DataFrame:
    """Trials of cosine, in which the shape decides as far as it ``matters``; all else is noise."""
    random = np.random.default_rng(seed)
    shape, idle, noise = random.uniform(size=(3, count))
    return pd.DataFrame(
        {
            "trial": range(count),
            "family": "cosine",
            "status": "completed",
            "peak_lr": 10 ** random.uniform(-2, 0, count),
            "params.shape": shape,
            "params.idle": idle,
            "val_accuracy": 0.9 - 0.1 * abs(shape - 0.3) * matters - 0.01 * noise,
        }
    )


def test_the_parameter_that_decides_comes_first_and_beyond_chance() -> None:
    table = importances(trials_of(0), SPACE, Scale())
    assert list(table["family"].unique()) == ["cosine"], "step has no trials"
    assert table["parameter"].iloc[0] == "shape"
    first = table.iloc[0]
    assert first["share"] > 0.8 > first["chance"]
    assert table["share"].sum() == pytest.approx(1)
    assert set(table["parameter"]) == {"shape", "idle", "peak_lr"}


def test_where_nothing_decides_chance_is_rarely_exceeded() -> None:
    tables = [importances(trials_of(seed, 30, matters=0), SPACE, Scale()) for seed in range(40)]
    table = pd.concat(tables)
    assert (table["share"] > table["chance"]).mean() < 0.12, (
        "one in twenty of 120, and the chance of those"
    )


def test_the_shares_are_those_of_optuna() -> None:
    trials = trials_of(1)
    study = optuna.create_study(direction="maximize")
    ranges = {"shape": FloatDistribution(0, 1), "idle": FloatDistribution(0, 1)}
    ranges["peak_lr"] = FloatDistribution(0.01, 1.0, log=True)
    for row in trials.to_dict("records"):
        values = {"shape": row["params.shape"], "idle": row["params.idle"]}
        study.add_trial(
            optuna.create_trial(
                params=values | {"peak_lr": row["peak_lr"]},
                distributions=dict(ranges),
                value=row["val_accuracy"],
            )
        )
    oracle = optuna.importance.get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP)
    )
    found = importances(trials, SPACE, Scale()).set_index("parameter")["share"]
    assert found.to_dict() == pytest.approx(dict(oracle))


def test_a_diverged_trial_counts_as_the_worst() -> None:
    """But for the lowest rates everything diverges, and among the others nothing decides."""
    trials = trials_of(2, 200, matters=0)
    lost = trials["peak_lr"] > 0.025
    trials["status"] = np.where(lost, "diverged", "completed")
    trials["val_accuracy"] = trials["val_accuracy"].where(~lost, 0.0)
    first = importances(trials, SPACE, Scale()).iloc[0]
    assert first["parameter"] == "peak_lr"
    assert first["share"] > first["chance"]


def test_few_trials_say_nothing() -> None:
    assert importances(trials_of(0, LEAST_TRIALS - 1), SPACE, Scale()).empty
    assert len(importances(trials_of(0, LEAST_TRIALS), SPACE, Scale())) == 3
    for status in ("stopped", "diverged"):
        assert importances(trials_of(0).assign(status=status), SPACE, Scale()).empty


def test_ties_are_no_reason_for_a_sampler_that_narrows() -> None:
    """All results equal, while the proposals of the shape gather around a value, as TPE's do."""
    beyond = 0
    for seed in range(40):
        trials = trials_of(seed, 30, matters=0).assign(val_accuracy=0.9)
        width = np.linspace(1, 0.1, len(trials))
        trials["params.shape"] = 0.5 + (trials["params.shape"] - 0.5) * width
        table = importances(trials, SPACE, Scale())
        beyond += int((table["share"] > table["chance"]).sum())
    assert beyond < 0.12 * 120
