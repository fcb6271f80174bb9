"""The numbers behind the figures, and that each figure can be drawn of any study."""

import math
import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis import Results, figures
from analysis.report import write_report
from analysis.scale import Scale
from analysis.sections import SECTIONS, Findings
from search_spaces import FAMILIES, SearchSpace
from study.ledger import Proposal
from study.metric import ACCURACY, RMSE, Ranking
from study.results import ResultTables, write_study_json
from study.training import EpochRecord, History, Status

SPACE = SearchSpace(tuple(FAMILIES), (0.01, 0.1))
STUDY: dict[str, Any] = {
    "config": {"epochs": 2},
    "task": {"name": "mnist"},
    "versions": {"python": "3"},
    "hardware": {"gpus": []},
    "search_space": {
        "families": list(SPACE.families),
        "peak_lr": [0.01, 0.1],
        "extras": {},
        "parameters": {name: {} for name in SPACE.families},
    },
    "command": "python -m study.run",
    "began": "2026",
    "ended": None,
}
Outcome = tuple[str, Status, float]


def write_study(
    folder: Path,
    outcomes: list[Outcome],
    study: dict[str, Any] = STUDY,
    ranking: Ranking = ACCURACY,
) -> Results:
    """A study with one trial for each (family, status, metric)."""
    folder.mkdir(exist_ok=True)
    write_study_json(folder, study | {"metric": ranking.to_json()})
    tables = ResultTables(folder, SPACE, ranking)
    for number, (family, status, accuracy) in enumerate(outcomes):
        peak = 0.01 * (number + 1)
        epochs = [
            EpochRecord(1, 100, peak, 1.0, 1.0, accuracy / 2, 1.0),
            EpochRecord(2, 200, peak, 0.5, 0.5, accuracy, 1.0),
        ]
        last = 100 if status == "diverged" else 200
        curve = [(step, peak * (1 - step / 250), 0.9) for step in range(0, last, 20)]
        error = "E: no" if status == "failed" else ""
        history = History(status, epochs[: last // 100], curve, 2.0, "node", error)
        tables.add(Proposal(number, family, {"peak_lr": peak, "end_ratio": 0.1}, 0), history)
    tables.write()
    from analysis import load

    return load(folder)


MIXED: list[Outcome] = [
    ("cosine", "completed", 0.97),
    ("constant", "diverged", 0.1),
    ("one_cycle", "completed", 0.99),
    ("cosine", "completed", 0.98),
    ("step", "failed", 0.5),
    ("one_cycle", "completed", 0.96),
]


@pytest.fixture
def mixed(tmp_path: Path) -> Results:
    return write_study(tmp_path / "s", MIXED)


def test_families_are_ranked_by_their_best(mixed: Results) -> None:
    ranking = figures.family_ranking(mixed.trials)
    assert list(ranking["family"]) == ["one_cycle", "cosine", "constant", "step"]
    assert ranking["best_cost"].tolist()[:2] == pytest.approx([0.01, 0.02])
    assert ranking["trial"].tolist()[:2] == [2, 3]
    assert ranking["best_cost"].isna().tolist() == [False, False, True, True]


def test_curves_are_what_was_applied(mixed: Results) -> None:
    curves = figures.realised_curves(mixed.trials, mixed.schedules)
    assert len(curves) == len(mixed.schedules)
    cosine = curves[curves["trial"] == 3]
    assert cosine["lr"].tolist() == pytest.approx([0.04 * (1 - k / 250) for k in range(0, 200, 20)])
    assert cosine["cost"].unique() == pytest.approx([0.02])
    assert (cosine["fraction"].min(), cosine["fraction"].max()) == (0, 1)
    diverged = curves[curves["trial"] == 1]
    assert diverged["cost"].isna().all()
    assert diverged["fraction"].max() == pytest.approx(80 / 180)


def test_the_best_so_far_never_gets_worse(mixed: Results) -> None:
    progress = figures.best_so_far(mixed.trials)
    assert progress["trial"].tolist() == [0, 2, 3, 5]
    assert progress["best_cost"].tolist() == pytest.approx([0.03, 0.01, 0.01, 0.01])


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.01, 0.5, ["99%", "98%", "95%", "90%", "80%", "50%"]),
        (0.011, 0.033, ["98.8%", "98.4%", "98%", "97.6%", "97.2%", "96.8%"]),
        (0.01, 0.04, ["99%", "98.5%", "98%", "97%"]),
    ],
)
def test_axes_are_labelled_at_round_accuracies(low: float, high: float, labels: list[str]) -> None:
    scale = Scale()
    written = [scale._written(tick) for tick in scale._ticks(low, high, log=True)]
    assert sorted(written) == sorted(labels)


def test_the_main_picture_shows_every_trial_and_the_winner_strongest(mixed: Results) -> None:
    with figures.house_style():
        figure = figures.schedules_by_result(mixed.trials, mixed.schedules)
    panels = {re.split(":", axes.get_title())[0]: axes for axes in figure.axes if axes.get_title()}
    assert panels["one_cycle"].get_title() == "one_cycle: 99.00%, the best of all"
    assert panels["cosine"].get_title() == "cosine: best 98.00%"
    assert len(panels["one_cycle"].lines) == len(panels["cosine"].lines) == 2
    widths = {
        to_hex(line.get_color()): line.get_linewidth()
        for axes in panels.values()
        for line in axes.lines
    }
    assert len(widths) == 4, "four accuracies, four colours"
    winner = max(panels["one_cycle"].lines, key=lambda line: line.get_linewidth())
    assert winner.get_linewidth() == max(widths.values())
    applied = mixed.schedules.query("trial == 2")["lr"]
    np.testing.assert_allclose(np.asarray(winner.get_ydata(), float), applied)
    assert figure.axes[-1].get_ylabel() == "final accuracy", "one colour bar for all"
    plt.close(figure)


STUDIES: dict[str, list[Outcome]] = {
    "one trial": [("cosine", "completed", 0.97)],
    "a perfect trial": [("cosine", "completed", 1.0), ("step", "completed", 0.9)],
    "equal trials": [("cosine", "completed", 0.97)] * 3,
    "every family": [(name, "completed", 0.9 + k / 300) for k, name in enumerate(FAMILIES)],
    "mixed": MIXED,
}


@pytest.mark.parametrize("name", STUDIES)
def test_any_study_has_a_report(name: str, tmp_path: Path) -> None:
    found = Findings.of(write_study(tmp_path / "s", STUDIES[name]))
    index = write_report(tmp_path / "s")
    page = index.read_text()
    drawn = [section for section in SECTIONS if section.draw and section.shown(found)]
    assert len(drawn) == 6
    assert page.count("<img ") == len(drawn)
    assert "http" not in page.replace("http-equiv", ""), "it opens without a network"
    for section in drawn:
        for suffix in ("png", "svg"):
            assert (index.parent / "figures" / f"{section.name}.{suffix}").stat().st_size > 1_000
    best = max(accuracy for _, status, accuracy in STUDIES[name] if status == "completed")
    assert f"{100 * best:.2f}% validation accuracy in one run" in page
    assert not plt.get_fignums(), "every figure is closed"


R2 = Ranking("R²", "maximize")


@pytest.mark.parametrize("ranking", [RMSE, R2], ids=["RMSE", "R2"])
@pytest.mark.parametrize("values", [(0.7, 0.65, 0.9), (-3.0, 0.5, 1e3), (2.0, 2.0, 2.0)])
def test_another_metric_is_called_by_its_name_in_its_direction(
    ranking: Ranking, values: tuple[float, ...], tmp_path: Path
) -> None:
    outcomes: list[Outcome] = [("cosine", "completed", value) for value in values]
    study = write_study(tmp_path / "s", [*outcomes, ("step", "diverged", 0.0)], ranking=ranking)
    page = write_report(tmp_path / "s").read_text()
    assert "accuracy" not in page.lower()
    best = max(values) if ranking is R2 else min(values)
    assert f"{best:.4g} validation {ranking.name} in one run" in page
    family = figures.family_ranking(study.trials, study.scale).iloc[0]
    assert study.scale.value(float(family["best_cost"])) == best
    for path in (tmp_path / "s" / "report" / "figures").glob("*.svg"):
        words = " ".join(re.findall(r">([^<>]+)</text>", path.read_text()))
        assert "accuracy" not in words
        if path.stem in ("schedules", "families", "peak_rates"):
            assert f"final {ranking.name}" in words, "and the text is text"


@pytest.mark.parametrize(("ranking", "up"), [(ACCURACY, True), (R2, True), (RMSE, False)])
def test_better_is_where_readers_expect_it(ranking: Ranking, up: bool, mixed: Results) -> None:
    """High where the metric is to be high; small numbers at the bottom as ever."""
    scale = Scale(ranking)
    trials = mixed.trials.rename(columns={"val_accuracy": scale.column})
    figure = figures.best_by_trial(trials, scale)
    (axes,) = figure.axes
    assert axes.yaxis.get_inverted() == up
    good, bad = scale.cost(pd.Series([0.99, 0.5] if up else [0.5, 0.99]))
    heights = axes.transData.transform([(0, good), (0, bad)])[:, 1]
    assert (heights[0] > heights[1]) == up
    plt.close(figure)


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE, R2])
def test_a_cost_is_lower_for_what_is_better(ranking: Ranking) -> None:
    scale, values = Scale(ranking), pd.Series([0.2, 0.5, 0.9])
    costs = scale.cost(values)
    better = values.sort_values(ascending=ranking.direction == "minimize")
    assert list(costs.sort_values().index) == list(better.index)
    assert [scale.value(cost) for cost in costs] == pytest.approx(list(values))
    shades = scale.norm(costs)(costs.to_numpy())
    assert shades[costs.argmin()] == 0, "the best is darkest"


def test_the_range_test_is_drawn(tmp_path: Path) -> None:
    run = {"lr": [1e-6, 1e-3, 1.0], "train_loss": [2.3, 1.0, 90.0]}
    write_study(tmp_path / "s", MIXED, STUDY | {"range_test": [run, run, run]})
    index = write_report(tmp_path / "s")
    assert "Which peak rates were searched" in index.read_text()
    assert (index.parent / "figures" / "range_test.png").stat().st_size > 1_000


def test_a_study_without_a_completed_trial_says_so(tmp_path: Path) -> None:
    write_study(tmp_path / "s", [("cosine", "diverged", 0.1), ("step", "failed", 0.1)])
    page = write_report(tmp_path / "s").read_text()
    assert "No trial has completed yet" in page
    assert "<img" not in page
    assert "1 diverged" in page
    assert "E: no" in page


def test_what_a_user_named_is_escaped(tmp_path: Path) -> None:
    markup = "<script>alert(1)</script>"
    study = STUDY | {"command": markup, "task": {"name": markup}}
    write_study(tmp_path / "<b>s", MIXED, study)
    page = write_report(tmp_path / "<b>s").read_text()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_the_report_is_a_command(mixed: Results, tmp_path: Path) -> None:
    from tests.conftest import run_command

    done = run_command("analysis.report", tmp_path / "s")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"report: {tmp_path / 's' / 'report' / 'index.html'}"
    assert lines[-2].startswith("Code: python -m study.export")
    assert 2 <= len(lines) - 1 <= 5
    assert not math.isnan(mixed.trials["peak_lr"].sum())


def test_tables_arrive_as_frames(mixed: Results) -> None:
    assert isinstance(mixed.trials, pd.DataFrame)
    assert len(mixed.trials) == len(MIXED)
    assert len(mixed.epochs) == 2 * len(MIXED) - 1
    assert mixed.study["task"]["name"] == "mnist"
