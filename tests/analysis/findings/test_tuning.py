"""What is said of the search, against small studies that can be reckoned by hand."""

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.findings.allocation import fairness, unfair
from analysis.findings.early_stopping import wrongly_pruned
from analysis.findings.tuning import best_by_trials, leaders
from analysis.scale import Scale
from study.tasks.metric import RMSE

ACCURACY, ERROR = Scale(), Scale(RMSE)
NOTHING = math.nan
Outcome = tuple[str, str, float]


def made_up(*outcomes: Outcome, scale: Scale = ACCURACY, **columns: Any) -> pd.DataFrame:
    """Trials of (family, status, metric); other columns as they are given."""
    trials = pd.DataFrame(outcomes, columns=["family", "status", scale.column])
    usual: dict[str, Any] = {
        "peak_lr": 0.1,
        "sampler": "random",
        "epochs": 10,
        "steps": 100,
        "wall_seconds": 2.5,
    }
    return trials.assign(trial=range(len(trials)), **usual | columns)


def completed(*values: float, family: str = "step") -> list[Outcome]:
    return [(family, "completed", value) for value in values]


def costs(best: pd.DataFrame, kind: str, family: str = "step") -> list[float]:
    chosen = best[(best["kind"] == kind) & (best["family"] == family)]
    return [round(cost, 9) for cost in chosen["cost"]]


# The best by trials


def test_the_expected_best_of_random_draws() -> None:
    best = best_by_trials(made_up(*completed(0.8, 0.6, 0.9)), ACCURACY)
    assert list(best) == ["family", "k", "cost", "dependable", "kind"]
    assert costs(best, "expected") == pytest.approx([0.7 / 3, 0.4 / 3, 0.1])
    assert best["k"].tolist() == [1, 2, 3]
    assert best["dependable"].tolist() == pytest.approx([NOTHING, 0.4, 0.2], nan_ok=True)
    assert set(best["kind"]) == {"expected"}, "the sampler had no say in it"


def test_failed_trials_are_no_draws_and_diverged_ones_the_worst() -> None:
    lost = [("step", "diverged", NOTHING), ("step", "failed", NOTHING)]
    best = best_by_trials(made_up(*completed(0.8), *lost), ACCURACY)
    assert costs(best, "expected") == pytest.approx([0.6, 0.2])
    assert costs(best_by_trials(made_up(lost[0], lost[0]), ACCURACY), "expected") == [1, 1]


def test_without_a_worst_value_it_is_the_worst_of_the_study() -> None:
    diverged = ("step", "diverged", NOTHING)
    others = completed(7.0, 5.0, family="cosine")
    trials = made_up(*completed(2.0), diverged, *others, scale=ERROR)
    best = best_by_trials(trials, ERROR)
    assert costs(best, "expected") == pytest.approx([4.5, 2.0])
    assert costs(best, "expected", "cosine") == pytest.approx([6.0, 5.0])
    assert best_by_trials(made_up(diverged, diverged, scale=ERROR), ERROR).empty


def test_only_independent_draws_that_ran_to_their_end_are_expected() -> None:
    stopped = ("step", "stopped", 0.5)
    assert best_by_trials(made_up(*completed(0.8, 0.9), stopped), ACCURACY).empty
    assert best_by_trials(made_up(*completed(0.8)), ACCURACY).empty, "one draw is none"
    samplers = ["fixed", "random", "tpe", "random"]
    best = best_by_trials(made_up(*completed(0.5, 0.6, 0.99, 0.8), sampler=samplers), ACCURACY)
    assert costs(best, "expected") == pytest.approx([0.3, 0.2])


def test_the_best_so_far_counts_every_trial_that_ended() -> None:
    outcomes = [
        ("step", "diverged", 0.0),
        *completed(0.7),
        ("step", "failed", NOTHING),
        ("step", "stopped", 0.95),
        *completed(0.9, 0.8),
    ]
    trials = made_up(*outcomes, sampler=["random", *["tpe"] * 5])
    best = best_by_trials(trials.sample(frac=1, random_state=0), ACCURACY)
    assert set(best["kind"]) == {"best so far"}
    assert best["k"].tolist() == [2, 3, 4, 5]
    assert costs(best, "best so far") == [0.3, 0.3, 0.1, 0.1]
    assert best["dependable"].isna().all()


def test_a_family_can_have_both_curves() -> None:
    samplers = ["random", "random", "tpe", *["random", "random", "fixed"]]
    others = completed(0.1, 0.2, 0.3, family="cosine")
    trials = made_up(*completed(0.7, 0.9, 0.8), *others, sampler=samplers)
    best = best_by_trials(trials, ACCURACY)
    assert costs(best, "expected") == pytest.approx([0.2, 0.1])
    assert costs(best, "best so far") == [0.3, 0.1, 0.1]
    assert costs(best, "best so far", "cosine") == []


def test_an_older_study_has_the_best_so_far_alone() -> None:
    trials = made_up(*completed(0.7, 0.9)).drop(columns="sampler")
    best = best_by_trials(trials, ACCURACY)
    assert set(best["kind"]) == {"best so far"}
    assert "sampler" not in trials, "what is given is left as it was"


@given(st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.9]), min_size=2, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_curve_falls_from_the_mean_to_the_best(values: list[float]) -> None:
    curve = best_by_trials(made_up(*completed(*values)), ACCURACY)
    assert (curve["cost"].diff().dropna() <= 1e-12).all()
    assert (curve["dependable"].diff().dropna() <= 0).all()
    assert curve["cost"].iloc[0] == pytest.approx(1 - sum(values) / len(values))
    assert curve["cost"].iloc[-1] == pytest.approx(1 - max(values))


# Who leads


def best_of(**families: list[float]) -> pd.DataFrame:
    rows = [(name, k, cost) for name, of_it in families.items() for k, cost in enumerate(of_it, 1)]
    return pd.DataFrame(rows, columns=["family", "k", "cost"]).dropna()


def test_the_lead_changes_where_another_is_better() -> None:
    best = best_of(a=[0.3, 0.2, 0.2, 0.2], b=[0.4, 0.2, 0.1, 0.1], c=[0.9, 0.8, 0.7, 0.05])
    assert leaders(best) == [(1, "a"), (3, "b"), (4, "c")], "at 2 the tie is the leader's"


def test_one_family_leads_nobody() -> None:
    assert leaders(best_of(a=[0.3, 0.2])) == []
    assert leaders(best_of(a=[0.3, 0.2], b=[NOTHING, 0.1, 0.05])) == [(2, "b")]
    assert leaders(best_of(a=[NOTHING, 0.1], b=[0.3, 0.3], c=[0.2, 0.2])) == [(1, "c"), (2, "a")]
    assert leaders(best_by_trials(made_up(("a", "failed", NOTHING)), ACCURACY)) == []


def test_the_lead_is_not_lost_by_having_fewer_trials() -> None:
    assert leaders(best_of(a=[0.1], b=[0.3, 0.3, 0.05], c=[0.4, 0.2, 0.2])) == [
        (1, "a"),
        (3, "b"),
    ]


# Fairness


def float_range(low: float, high: float) -> dict[str, Any]:
    return {"name": "FloatDistribution", "attributes": {"low": low, "high": high, "log": False}}


def choices(*values: str) -> dict[str, Any]:
    return {"name": "CategoricalDistribution", "attributes": {"choices": list(values)}}


FOR_ALL: dict[str, Any] = {
    "peak_lr": float_range(0.01, 0.1),
    "momentum": float_range(0.9, 0.9),
    "optimizer": choices("adamw"),
}
SPACE: dict[str, Any] = {
    "families": ["step", "constant", "free"],
    "parameters": {
        "step": {
            **FOR_ALL,
            "factor": float_range(0.1, 0.9),
            "kind": choices("a", "b"),
            "warmup_fraction": float_range(0.01, 0.2),
        },
        "constant": FOR_ALL,
        "free": {**FOR_ALL, "warmup_fraction": float_range(0.01, 0.2), "fixed": float_range(1, 1)},
    },
}
PARAMETERS: dict[str, Any] = {
    "params.factor": [0.1, 0.2, NOTHING],
    "params.kind": ["a", "b", None],
    "params.warmup_fraction": [0.1, 0.1, NOTHING],
    "params.momentum": 0.9,
    "params.optimizer": "adamw",
}


def test_the_ledger_adds_up_what_each_family_was_given() -> None:
    outcomes = [*completed(0.9), ("step", "diverged", 0.0), ("constant", "stopped", 0.5)]
    trials = made_up(*outcomes, epochs=[10, 3, 5], steps=[100, 30, 50], **PARAMETERS)
    optuna_trials = fairness(trials, SPACE)
    names = ["family", "trials", "epochs", "steps", "seconds"]
    names += ["completed", "diverged", "failed", "stopped", "dimensions"]
    assert list(optuna_trials) == names
    assert optuna_trials.values.tolist() == [
        ["step", 2, 13, 130, 5.0, 1, 1, 0, 0, 4],
        ["constant", 1, 5, 50, 2.5, 0, 0, 0, 1, 1],
        ["free", 0, 0, 0, 0.0, 0, 0, 0, 0, 0],
    ]


def test_a_parameter_is_counted_once_and_only_where_it_is_searched() -> None:
    trials = made_up(("free", "completed", 0.9)).assign(**{"params.warmup_fraction": 0.1})
    by_family = fairness(trials, SPACE).set_index("family")
    assert by_family.loc["free", "dimensions"] == 2


def ledger_of(**families: tuple[int, int, int, int]) -> pd.DataFrame:
    """Of (trials, epochs, failed, dimensions)."""
    rows = [(name, *of_it) for name, of_it in families.items()]
    return pd.DataFrame(rows, columns=["family", "trials", "epochs", "failed", "dimensions"])


def test_equal_treatment_needs_no_words() -> None:
    assert unfair(ledger_of(step=(3, 30, 0, 2), cosine=(4, 40, 0, 2))) == []
    assert unfair(ledger_of(step=(4, 40, 0, 2), cosine=(4, 32, 0, 2))) == [], "just a quarter"
    assert unfair(ledger_of(step=(3, 30, 0, 2))) == []
    assert unfair(ledger_of(step=(1, 10, 0, 2), cosine=(0, 0, 0, 0))) == []


def test_unequal_trials_are_named() -> None:
    optuna_trials = ledger_of(step=(5, 10, 0, 2), one_cycle=(11, 110, 0, 2), constant=(2, 20, 0, 2))
    assert unfair(optuna_trials) == [
        "Families had 2 to 11 trials (one_cycle most, constant least); --allocation balanced gives "
        "each the same."
    ]


def test_unequal_training_is_named() -> None:
    assert unfair(ledger_of(step=(4, 40, 0, 2), cosine=(4, 10, 0, 2))) == [
        "Families had nearly the same number of trials, but of 2.5 to 10 epochs on average "
        "(step longest, cosine shortest)."
    ]
    assert len(unfair(ledger_of(step=(4, 40, 0, 2), cosine=(4, 0, 0, 2)))) == 1


def test_unequal_dimensions_and_failures_are_named() -> None:
    optuna_trials = ledger_of(step=(4, 40, 1, 5), constant=(4, 40, 0, 1), cosine=(4, 40, 2, 3))
    assert unfair(optuna_trials) == [
        "Families have 1 to 5 searched parameters: with equal trials, those with more are searched "
        "less densely.",
        "3 trials failed (step, cosine), which says nothing of the schedules.",
    ]
    assert unfair(ledger_of(step=(4, 40, 1, 5)))[0].startswith("1 trial failed (step)")


# Early stopping


def test_what_early_stopping_cost_and_saved() -> None:
    outcomes = [
        *completed(0.9, 0.8, 0.5),  # never pruned: the median is 0.8
        ("step", "stopped", 0.99),
        ("step", "stopped", 0.1),
        *completed(0.8, 0.79),  # spared: one no worse than the median
        ("step", "diverged", 0.0),  # spared
        *completed(0.6, family="cosine"),
    ]
    epochs, pruned = [10, 10, 10, 2, 4, 10, 10, 6, 12], [2, 4, 2, 2, 5]
    trials = made_up(*outcomes, epochs=epochs)
    trials["pruned"] = pd.Series([None] * 3 + pruned + [None], dtype="Int64")
    assert wrongly_pruned(trials, ACCURACY).to_dict("records") == [
        {"family": "step", "pruned": 5, "spared": 3, "wrong": 1, "epochs_saved": 18}
    ]


def test_of_a_metric_that_is_to_be_low_the_lower_is_wronged() -> None:
    trials = made_up(*completed(3.0, 2.0, 4.0), scale=ERROR, pruned=[NOTHING, 1, 1])
    assert wrongly_pruned(trials, ERROR)["wrong"].tolist() == [1]


def test_nobody_is_wronged_where_there_is_nothing_to_compare_with() -> None:
    trials = made_up(*completed(0.9), ("step", "diverged", 0.0), pruned=[1, NOTHING])
    assert wrongly_pruned(trials, ACCURACY)["wrong"].tolist() == [0]


def test_without_early_stopping_nobody_is_pruned() -> None:
    columns = ["family", "pruned", "spared", "wrong", "epochs_saved"]
    for trials in (made_up(*completed(0.9)), made_up(*completed(0.9), pruned=NOTHING)):
        empty = wrongly_pruned(trials, ACCURACY)
        assert empty.empty
        assert list(empty) == columns
