"""Which parameters decide: found where they do, and not where chance does."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)
from scipy.stats import ks_2samp

from analysis.findings.findings import Findings
from analysis.findings.importance import LEAST_TRIALS, importances
from analysis.load import Results
from analysis.page.sections import SECTIONS
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
    assert first["distance"] > 0.7 > 0.45 > first["chance"]
    assert (table["distance"] <= 1).all()
    assert set(table["parameter"]) == {"shape", "idle", "peak_lr"}


def test_where_nothing_decides_chance_is_rarely_exceeded() -> None:
    tables = [importances(trials_of(seed, 30, matters=0), SPACE, Scale()) for seed in range(40)]
    table = pd.concat(tables)
    assert (table["distance"] > table["chance"]).mean() < 0.12, (
        "one in twenty of 120, and the chance of those"
    )


def test_the_distance_is_that_of_the_best_quarter_from_the_others() -> None:
    trials = trials_of(1)
    is_good = trials["val_accuracy"] >= trials["val_accuracy"].nlargest(15).min()
    found = importances(trials, SPACE, Scale()).set_index("parameter")["distance"]
    for name, column in {"shape": "params.shape", "peak_lr": "peak_lr"}.items():
        values = trials[column]
        assert found[name] == pytest.approx(ks_2samp(values[is_good], values[~is_good]).statistic)


def test_a_category_that_decides_is_found_whatever_its_place() -> None:
    ranges = CategoricalDistribution(("cos", "linear", True))
    space = SPACE | {"parameters": {"cosine": {"kind": json.loads(distribution_to_json(ranges))}}}
    kinds = ["cos", "linear", "true"] * 20  # the middle one is best; a table has text
    trials = trials_of(3, matters=0).assign(**{"params.kind": kinds})
    trials["val_accuracy"] += 0.1 * (trials["params.kind"] == "linear")
    found = importances(trials, space | {"families": ["cosine"]}, Scale()).iloc[0]
    # All 15 of the good are among the 20 of one kind, and so are 5 of the other 45.
    assert found["distance"] == pytest.approx(1 - 5 / 45)
    assert found["distance"] > found["chance"]


def test_a_diverged_trial_counts_as_the_worst() -> None:
    """But for the lowest rates everything diverges, and among the others nothing decides."""
    trials = trials_of(2, 200, matters=0)
    lost = trials["peak_lr"] > 0.025
    trials["status"] = np.where(lost, "diverged", "completed")
    trials["val_accuracy"] = trials["val_accuracy"].where(~lost, 0.0)
    first = importances(trials, SPACE, Scale()).iloc[0]
    assert first["parameter"] == "peak_lr"
    assert first["distance"] > first["chance"]


def test_few_trials_say_nothing() -> None:
    assert importances(trials_of(0, LEAST_TRIALS - 1), SPACE, Scale()).empty
    assert len(importances(trials_of(0, LEAST_TRIALS), SPACE, Scale())) == 3
    for status in ("stopped", "diverged"):
        assert importances(trials_of(0).assign(status=status), SPACE, Scale()).empty


def test_the_section_is_shown_where_something_exceeds_chance() -> None:
    (section,) = (one for one in SECTIONS if one.name == "importances")
    none = pd.DataFrame()
    study = {"search_space": SPACE}
    for matters in (0, 1):
        trials = trials_of(0, LEAST_TRIALS, matters)
        results = Results(trials, none, none, study, Scale(), none, none)
        assert section.shown(Findings(results)) == bool(matters)
        assert not section.shown(Findings(results._replace(trials=trials[1:])))


def test_the_fewest_trials_are_enough_to_find_what_decides() -> None:
    tables = [importances(trials_of(seed, LEAST_TRIALS), SPACE, Scale()) for seed in range(40)]
    table = pd.concat(tables)
    beyond = table["distance"] > table["chance"]
    assert beyond[table["parameter"] == "shape"].mean() > 0.9
    assert beyond[table["parameter"] != "shape"].mean() < 0.12


def test_ties_are_no_reason_for_a_sampler_that_narrows() -> None:
    """All results equal, while the proposals of the shape gather around a value, as TPE's do."""
    beyond = 0
    for seed in range(40):
        trials = trials_of(seed, 30, matters=0).assign(val_accuracy=0.9)
        width = np.linspace(1, 0.1, len(trials))
        trials["params.shape"] = 0.5 + (trials["params.shape"] - 0.5) * width
        table = importances(trials, SPACE, Scale())
        beyond += int((table["distance"] > table["chance"]).sum())
    assert beyond < 0.12 * 120
