"""The numbers behind the figures, and that each figure can be drawn of any study."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from analysis import Results, figures, load
from analysis.figures import cost_axis
from analysis.figures.style import house_style, short
from analysis.findings.findings import Findings
from analysis.findings.overview import overview
from analysis.findings.ranks import family_ranking, far_off, tiers
from analysis.findings.shapes import (
    ALIKE,
    curves_by_trial,
    highest_shown,
    log_rates,
    same_curves,
)
from analysis.page import made
from analysis.page.report_page import write_report
from analysis.page.sections import SECTIONS
from analysis.scale import Scale
from search_spaces import FAMILIES, SearchSpace
from study.export import ExportConfig, export
from study.results.writer import ResultTables
from study.search.proposal import Proposal
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History, Status
from tests.records import a_record, a_space, write_record

SPACE = SearchSpace(tuple(FAMILIES), (0.01, 0.1))
STUDY: dict[str, Any] = {"search_space": a_space(SPACE.families)}
Outcome = tuple[str, Status, float]


def write_study(
    folder: Path,
    outcomes: list[Outcome],
    study: dict[str, Any] = STUDY,
    ranking: Ranking = ACCURACY,
) -> Results:
    """A study with one trial for each (family, status, metric)."""
    folder.mkdir(exist_ok=True)
    write_record(folder, ranking=ranking, **study)
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
        tables.on_trial_end(
            Proposal(number, family, {"peak_lr": peak, "end_ratio": 0.1}, 0), history
        )
    tables.write()
    from analysis import load

    return load(folder)


def page_of(folder: Path) -> str:
    """The report that is written of a study."""
    return write_report(folder)[0].read_text()


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
    ranking = family_ranking(mixed.trials)
    assert list(ranking["family"]) == ["one_cycle", "cosine", "constant", "step"]
    assert ranking["best_cost"].tolist()[:2] == pytest.approx([0.01, 0.02])
    assert ranking["trial"].tolist()[:2] == [2, 3]
    assert ranking["best_cost"].isna().tolist() == [False, False, True, True]


def test_curves_are_what_was_applied(mixed: Results) -> None:
    curves = curves_by_trial(mixed.schedules)
    assert set(curves) == set(mixed.trials["trial"])
    fractions, rates = curves[3].T
    assert rates.tolist() == pytest.approx([0.04 * (1 - k / 250) for k in range(0, 200, 20)])
    assert (fractions.min(), fractions.max()) == (0, 1)
    assert curves[1][:, 0].max() == pytest.approx(80 / 180), "it diverged there"
    shuffled = mixed.schedules.sort_values(["step", "trial"], ascending=[True, False])
    again = curves_by_trial(shuffled)
    assert all((again[trial] == curves[trial]).all() for trial in curves)


def test_tiers_are_the_best_tenth_quarter_and_half() -> None:
    costs = pd.Series([*range(40), math.nan])
    counts = tiers(costs).value_counts().to_dict()
    assert counts == {0: 4, 1: 6, 2: 10, 3: 20, -1: 1}
    assert tiers(costs).is_monotonic_increasing is False, "what has no cost has no tier"
    assert tiers(costs[:40]).is_monotonic_increasing, "the best first"
    assert set(tiers(pd.Series([0.1] * 5))) == {0}, "equal costs are in one tier"
    assert tiers(pd.Series([0.5])).tolist() == [0]


def test_every_trial_stands_in_one_row_of_the_overview(mixed: Results) -> None:
    rows, placed = overview(mixed.trials)
    assert rows["name"].tolist() == ["one_cycle", "cosine", "constant", "step"]
    assert rows["trial"].tolist() == [2, 3, -1, -1], "the best, if any has completed"
    assert placed["trial"].tolist() == mixed.trials["trial"].tolist()
    assert placed["name"].tolist() == mixed.trials["family"].tolist()
    assert placed["cost"].isna().tolist() == (mixed.trials["status"] != "completed").tolist()


def test_a_curve_is_sampled_at_equal_fractions_and_ends_where_the_trial_did(
    mixed: Results,
) -> None:
    rates = log_rates(mixed.schedules)
    assert rates.shape == (len(mixed.trials), 64)
    fractions = np.linspace(0, 1, 64)
    # Of a straight line; the schedule's last point is step 180.
    expected = np.log10(0.04 * (1 - fractions * 180 / 250))
    np.testing.assert_allclose(rates.loc[3], expected, atol=0.01)
    ended = rates.loc[1].notna()
    assert fractions[ended].max() == pytest.approx(80 / 180, abs=1 / 63), "it diverged there"
    assert ended.is_monotonic_decreasing


def test_rates_far_below_the_highest_are_as_good_as_zero() -> None:
    steps = list(range(10))
    zero = pd.DataFrame({"trial": 0, "step": steps, "lr": [1.0] * 5 + [0.0] * 5})
    assert log_rates(zero).to_numpy().min() == -4


def made_of(curves: list[list[float]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials of families a, b, c... (in the order of their merit) with these rates, their logs."""
    trials = pd.DataFrame(
        {
            "trial": range(len(curves)),
            "family": list("abcdefgh"[: len(curves)]),
            "status": "completed",
            "val_accuracy": [0.9 - k / 100 for k in range(len(curves))],
        }
    )
    rows = [
        (trial, step, rate) for trial, curve in enumerate(curves) for step, rate in enumerate(curve)
    ]
    return trials, log_rates(pd.DataFrame(rows, columns=["trial", "step", "lr"]))


def test_the_same_curve_under_two_names_is_found() -> None:
    run = np.linspace(0, 1, 100)
    flat, falling = [0.1] * 100, list(0.1 * 10**-run)
    near, too_far = ([0.1 * 10 ** (by * ALIKE)] * 100 for by in (-0.9, 1.1))
    spike = [0.1] * 95 + [0.1 * 10 ** (3 * ALIKE)] * 5
    trials, rates = made_of([flat, falling, near, flat, too_far, spike])
    pairs = same_curves(rates, trials)
    assert set(zip(pairs["family"], pairs["other"], strict=True)) == {
        ("a", "c"),
        ("a", "d"),
        ("a", "f"),
        ("c", "d"),
        ("d", "f"),
    }
    assert pairs["decades"].is_monotonic_increasing
    distances = pairs.set_index(["family", "other"])["decades"]
    assert distances["a", "d"] == 0
    assert distances["a", "c"] == pytest.approx(0.9 * ALIKE)
    # The root of the mean square, of which five of a hundred points make up.
    assert distances["a", "f"] == pytest.approx(3 * ALIKE * np.sqrt(0.05), rel=0.2)


@pytest.mark.parametrize(
    ("families", "off"),
    [
        ({"a": [0.010, 0.011, 0.012, 0.85], "b": [0.012] * 4}, [0.85]),
        ({"a": [0.01] * 9 + [0.9], "b": [0.01] * 10}, [0.9]),  # ties, as small splits give
        ({"a": [0.010, 0.011, 0.012], "weak": [0.05, 0.052, 0.054]}, []),  # in all, and no wonder
        ({"a": [0.1, 0.3, 0.2, 0.8]}, []),  # amid such noise
        ({"a": [0.39, 0.42, 0.38, 0.4, 0.9], "b": [0.1, 0.9, 0.2, 0.8]}, [0.9]),  # amid its own
        ({"a": [0.010, 0.011, 0.009, 0.012, 0.029]}, [0.029]),
        ({"a": [0.01] * 9 + [0.011]}, []),
        ({"a": [-0.9, -0.91, -0.92, 0.95]}, [0.95]),  # of a metric without a bound
    ],
)
def test_far_off_is_a_seed_and_not_a_family(
    families: dict[str, list[float]], off: list[float]
) -> None:
    rows = [(family, cost) for family, costs in families.items() for cost in costs]
    table = pd.DataFrame(rows, columns=["family", "cost"])
    assert table.loc[far_off(table["cost"], table["family"]), "cost"].tolist() == off


@pytest.mark.parametrize("error", [0.0, 10.0], ids=["nought", "ten times the noise"])
def test_noise_is_hardly_ever_far_off(error: float) -> None:
    random, shape = np.random.default_rng(0), (3_000, 10)
    families = pd.Series(np.repeat(np.arange(3_000), 10).astype(str))
    shares = [
        far_off(pd.Series((error + noise).ravel()), families).mean()
        for noise in (random.normal(size=shape), random.standard_t(3, size=shape))
    ]
    assert shares == pytest.approx([0, 0.0008] if error else [0.0007, 0.0045], abs=5e-4), shares


def test_labels_of_an_axis_keep_apart() -> None:
    scale = Scale()
    assert cost_axis._apart(scale, [0.010, 0.0101, 0.02, 0.0201, 0.04], 0.01, 0.04, 0.1) == [
        0.010,
        0.02,
        0.04,
    ]


def test_long_names_fit_their_panel() -> None:
    assert short("cosine_warm_restarts") == "cosine_warm_restarts"
    assert short("my_module.deep:OneClass") == "OneClass"
    assert short("x" * 50) == "x" * 23 + "…"


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
    written = [
        cost_axis.written(scale, tick) for tick in cost_axis._ticks(scale, low, high, log=True)
    ]
    assert sorted(written) == sorted(labels)


def test_the_panels_show_every_trial_and_the_best_shape_strongest(mixed: Results) -> None:
    with plt.rc_context(house_style()):
        figure = figures.schedules_by_result(mixed.trials, mixed.schedules)
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == ["one_cycle", "cosine", "constant", "step"], "and no other words"
    names = ("one_cycle", "cosine", "constant")
    lines: dict[str, Any] = {name: list(panels[name].collections) for name in names}
    counts = {name: [len(one.get_paths()) for one in both] for name, both in lines.items()}
    assert counts == {"one_cycle": [0, 2], "cosine": [0, 2], "constant": [1, 0]}, "lost, completed"
    colours = [to_hex(one) for name in names for one in lines[name][1].get_colors()]
    assert len(set(colours)) == 3, "four accuracies: the best tenth, quarter, half and the last"
    weak, strong = lines["one_cycle"][1].get_linewidths()
    assert strong > weak, "the best lies on top"
    applied = mixed.schedules.query("trial == 2")["lr"]
    drawn = lines["one_cycle"][1].get_paths()[-1].vertices
    np.testing.assert_allclose(drawn[:, 1], applied)
    assert panels["one_cycle"].get_yscale() == "linear"
    plt.close(figure)
    by_log = figures.schedules_by_result(mixed.trials, mixed.schedules, log=True)
    assert by_log.axes[0].get_yscale() == "log"
    plt.close(by_log)


def test_the_main_picture_shows_every_trial_twice(mixed: Results) -> None:
    with plt.rc_context(house_style()):
        figure = figures.overview(mixed.trials, mixed.schedules)
    shapes, rates, results = figure.axes
    names = [label.get_text() for label in shapes.get_yticklabels()]
    assert names == ["one_cycle", "cosine", "constant", "step"]
    assert len(shapes.lines) == 2, "of those that completed"
    assert np.ptp(np.asarray(shapes.lines[0].get_ydata(), float)) < 1, "in its row"
    counts = [
        sum(len(np.asarray(one.get_offsets())) for one in axes.collections)
        for axes in (rates, results)
    ]
    assert counts == [6, 4], "trials; those that completed"
    assert results.get_xaxis().get_inverted(), "better is to the right"
    plt.close(figure)


def test_a_trial_far_worse_than_most_does_not_flatten_the_others() -> None:
    scale, costs = Scale(), pd.Series([0.010, 0.011, 0.012, 0.013, 0.9])
    assert cost_axis.worst_shown(scale, costs) == pytest.approx(0.1)
    assert cost_axis.worst_shown(scale, costs[:4]) == pytest.approx(0.013)
    assert highest_shown(pd.Series([0.1] * 9 + [5.0])) == pytest.approx(2 * 0.59)
    assert highest_shown(pd.Series([0.03, 0.1, 0.3])) == pytest.approx(0.3)


STUDIES: dict[str, list[Outcome]] = {
    "one trial": [("cosine", "completed", 0.97)],
    "a perfect trial": [("cosine", "completed", 1.0), ("step", "completed", 0.9)],
    "equal trials": [("cosine", "completed", 0.97)] * 3,
    "every family": [(name, "completed", 0.9 + k / 400) for k, name in enumerate(FAMILIES)],
    "mixed": MIXED,
}


@pytest.mark.parametrize("name", STUDIES)
def test_any_study_has_a_report(name: str, tmp_path: Path) -> None:
    found = Findings(write_study(tmp_path / "s", STUDIES[name]))
    index, _ = write_report(tmp_path / "s")
    page = index.read_text()
    drawn = [one.name for one in SECTIONS if one.draw and one.shown(found)]
    assert len(drawn) == 3
    assert page.count('class="sheet"') == len(drawn)
    for trial, (_, status, _) in enumerate(STUDIES[name]):
        count = page.count(f'data-t="{trial}"')
        assert count == 2 + (status == "completed"), "its rate, its curve, its result"
    for stem in ("overview", "schedules", *drawn):
        for suffix in ("png", "svg"):
            assert (index.parent / "figures" / f"{stem}.{suffix}").stat().st_size > 1_000
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
    page = page_of(tmp_path / "s")
    assert "accuracy" not in page.lower()
    best = max(values) if ranking is R2 else min(values)
    assert f"{Scale(ranking).written(best)} validation {ranking.name} in one run" in page
    family = family_ranking(study.trials, study.scale).iloc[0]
    assert study.scale.value(float(family["best_cost"])) == best
    for path in (tmp_path / "s" / "report" / "figures").glob("*.svg"):
        words = " ".join(re.findall(r">([^<>]+)</text>", path.read_text()))
        assert "accuracy" not in words
        if path.stem in ("schedules", "peak_rates"):
            assert f"final {ranking.name}" in words, "and the text is text"


@pytest.mark.parametrize("name", ["cost $a_$", "US$ per 10$", "{x}", "50%"])
def test_a_name_may_have_any_letters(name: str, tmp_path: Path) -> None:
    family = f"own:{name}"
    study = STUDY | {"search_space": a_space([family])}
    outcomes: list[Outcome] = [("cosine", "completed", 0.7), ("cosine", "completed", 0.8)]
    write_study(tmp_path / "s", outcomes, study, Ranking(name, "minimize"))
    table = tmp_path / "s" / "trials.parquet"
    pd.read_parquet(table).assign(family=family).to_parquet(table)
    page = page_of(tmp_path / "s")
    assert f"validation {name} in one run" in page
    drawn = (tmp_path / "s" / "report" / "figures" / "peak_rates.svg").read_text()
    assert f"final {name} (cross" in drawn
    assert f">{name}</text>" in drawn


@pytest.mark.parametrize(("ranking", "up"), [(ACCURACY, True), (R2, True), (RMSE, False)])
def test_better_is_where_readers_expect_it(ranking: Ranking, up: bool, mixed: Results) -> None:
    """High where the metric is to be high; small numbers at the bottom as ever."""
    scale = Scale(ranking)
    trials = mixed.trials.rename(columns={"val_accuracy": scale.column})
    figure = figures.result_by_peak_lr(trials, scale)
    axes = figure.axes[0]
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
    assert tiers(costs).iloc[int(costs.argmin())] == 0, "the best is darkest"


def test_the_range_test_is_drawn(tmp_path: Path) -> None:
    run = {"lr": [1e-6, 1e-3, 1.0], "train_loss": [2.3, 1.0, 90.0]}
    write_study(tmp_path / "s", MIXED, STUDY | {"range_test": [run, run, run]})
    index, _ = write_report(tmp_path / "s")
    assert "Which peak rates were searched" in index.read_text()
    assert (index.parent / "figures" / "range_test.png").stat().st_size > 1_000


def test_a_study_without_a_completed_trial_says_so(tmp_path: Path) -> None:
    write_study(tmp_path / "s", [("cosine", "diverged", 0.1), ("step", "failed", 0.1)])
    page = page_of(tmp_path / "s")
    assert "No trial has completed yet" in page
    assert 'class="overview"' not in page
    assert "1 diverged" in page
    assert "E: no" in page


def test_options_that_the_task_decides_are_shown_as_it_has_decided(tmp_path: Path) -> None:
    config = a_record().config | {"peak_lr": "task"}
    recipe = replace(a_record().recipe, optimizer="make_optimizer")
    write_study(tmp_path / "s", MIXED, STUDY | {"config": config, "recipe": recipe})
    shown = dict(made.made(Findings(load(tmp_path / "s")), "s"))["config"]
    assert ("peak_lr", "task: 0.01 to 0.1") in shown
    assert ("optimizer", "the task's own") in shown


def test_what_a_user_named_is_escaped(tmp_path: Path) -> None:
    markup = "<script>alert(1)</script>"
    study = STUDY | {"command": markup, "task": replace(a_record().task, name=markup)}
    write_study(tmp_path / "<b>s", MIXED, study)
    page = page_of(tmp_path / "<b>s")
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page


def test_the_report_is_a_command(tmp_path: Path) -> None:
    from tests.conftest import run_command

    write_study(tmp_path / "s", [("cosine", "completed", 0.9), ("step", "completed", 0.8)])
    done = run_command("analysis.report", tmp_path / "s")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"report: {tmp_path / 's' / 'report' / 'index.html'}"
    (command,) = (line for line in lines if line.startswith("Code: python -m study.export"))
    assert lines[lines.index(command) + 2].startswith("rate, peak 0.01: ")
    code = export(ExportConfig(str(tmp_path / "s"))).code.splitlines()
    assert [line[4:] for line in lines if line.startswith("    ")] == [one for one in code if one]


def test_tables_arrive_as_frames(mixed: Results) -> None:
    assert isinstance(mixed.trials, pd.DataFrame)
    assert len(mixed.trials) == len(MIXED)
    assert len(mixed.epochs) == 2 * len(MIXED) - 1
    assert mixed.study["task"]["name"] == "mnist"
