"""What a badly chosen peak rate costs, against tables that can be reckoned by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import figures
from analysis.figures.style import house_style
from analysis.findings.forgiveness import forgiveness
from analysis.scale import Scale
from analysis.statistics.intervals import mean_interval
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking

Outcome = float | str
"""A metric, or the status of a run that has none."""


def measured(
    rates: Mapping[float, Sequence[Outcome]],
    family: str = "cosine",
    trial: int = 1,
    ranking: Ranking = ACCURACY,
) -> pd.DataFrame:
    """A configuration with a peak rate of 0.1 of its own: by factors of it, an outcome a seed."""
    rows: list[dict[str, Any]] = [
        {"family": family, "trial": trial, "factor": factor, "peak_lr": factor * 0.1}
        | {"seed": 70 + seed, "replicate": seed}
        | {"status": outcome if isinstance(outcome, str) else "completed"}
        | {f"val_{ranking.column}": np.nan if isinstance(outcome, str) else outcome}
        for factor, outcomes in rates.items()
        for seed, outcome in enumerate(outcomes)
    ]
    return pd.DataFrame(rows)


OWN = [0.96, 0.98, 0.97]


def test_a_rate_costs_what_it_is_worse_within_a_seed() -> None:
    table = forgiveness(
        measured({2: [0.95, 0.97, 0.93], 1: OWN, 0.5: [0.97, 0.98, 0.975]}), Scale()
    )
    assert table["factor"].tolist() == [0.5, 1, 2]
    assert table["peak_lr"].tolist() == [0.05, 0.1, 0.2]
    assert table["mean"].tolist() == pytest.approx([0.975, 0.97, 0.95])
    assert table.loc[0, "worse"] == pytest.approx(-0.005), "better than its own"
    assert table["worse"].isna().tolist() == [False, True, False]
    assert table.loc[2, "worse"] == pytest.approx(0.02)
    own = mean_interval(np.array(OWN))
    assert table[["mean", "low", "high"]].iloc[1].tolist() == pytest.approx(list(own))
    assert table["seeds"].tolist() == [3, 3, 3]
    assert table["diverged"].tolist() == [0, 0, 0]


def test_only_seeds_that_completed_at_both_rates_are_compared() -> None:
    """The first seed, the luckiest of the own rate, has no partner at twice it."""
    table = forgiveness(measured({1: [0.99, 0.95, 0.95], 2: ["diverged", 0.94, 0.92]}), Scale())
    (twice,) = table[table["factor"] == 2].to_dict("records")
    assert twice["worse"] == pytest.approx(0.02)
    assert twice["mean"] == pytest.approx(0.93)
    assert (twice["diverged"], twice["seeds"]) == (1, 3)
    own = forgiveness(measured({1: ["diverged", 0.95], 2: [0.5, 0.95]}), Scale())
    assert own["diverged"].tolist() == [1, 0]
    assert own["worse"].tolist()[1] == pytest.approx(0)


def test_what_nobody_knows_is_no_number() -> None:
    table = forgiveness(measured({1: [0.9, "failed"], 4: ["diverged"] * 2}), Scale())
    one, none = table.to_dict("records")
    assert (one["mean"], one["seeds"], one["diverged"]) == (0.9, 1, 0), "a failure says nothing"
    assert np.isnan(one["low"])
    assert np.isnan([none[name] for name in ("mean", "low", "high", "worse")]).all()
    assert (none["seeds"], none["diverged"]) == (2, 2)
    assert forgiveness(measured({1: ["failed"] * 3}), Scale()).empty
    assert np.isnan(forgiveness(measured({2: [0.9]}), Scale())["worse"]).all()


def test_of_a_metric_that_is_to_be_low_more_is_worse() -> None:
    runs = measured({1: [2.0, 3.0], 2: [2.5, 4.0]}, ranking=RMSE)
    assert forgiveness(runs, Scale(RMSE))["worse"].tolist()[1] == pytest.approx(0.75)


def test_the_control_is_last() -> None:
    both = [measured({1: OWN, 2: OWN}, "constant", 0), measured({1: OWN}, "step", 7)]
    assert forgiveness(pd.concat(both), Scale())["family"].tolist() == ["step", *["constant"] * 2]


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_every_seed_is_a_dot_every_mean_on_a_line_and_what_diverged_a_cross(
    ranking: Ranking,
) -> None:
    scale = Scale(ranking)
    best = measured({0.5: OWN, 1: [0.9, 0.8, 0.85], 4: ["diverged"] * 3}, ranking=ranking)
    control = measured({1: [0.7, 0.8, 0.75], 2: [0.8, 0.7, 0.75]}, "constant", 0, ranking)
    runs = pd.concat([best, control], ignore_index=True)
    with plt.rc_context(house_style()):
        figure = figures.forgiveness(runs, forgiveness(runs, scale), scale)
        figure.draw_without_rendering()
    (axes,) = figure.axes
    dots, line, crosses, _, of_control, none = axes.lines
    np.testing.assert_allclose(np.asarray(dots.get_xdata(), float), best["factor"])
    means = scale.cost(pd.Series([0.97, 0.85]))
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float)[:2], means)
    assert [np.asarray(one.get_xdata()).tolist() for one in (crosses, none)] == [[4, 4, 4], []]
    assert [line.get_label(), of_control.get_label()] == ["cosine", "constant"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1/2", "1", "2", "4"]
    assert axes.get_ylabel() == f"validation {scale.name}"
    plt.close(figure)
