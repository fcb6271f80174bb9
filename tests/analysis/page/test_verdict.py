"""Who wins, and when nobody does: comparisons of finalists, and what is said of them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from analysis import figures
from analysis.findings.finalists import Comparison, compare_finalists
from analysis.findings.findings import Findings
from analysis.load import Results
from analysis.page.verdict import joined, verdict
from analysis.scale import Scale
from analysis.statistics.intervals import mean_interval
from analysis.statistics.significance import holm, sign_flip
from study.results.reader import read_finalists, read_forgiveness
from study.results.study_record import Opening
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History, Status
from tests.analysis.figures.test_figures import STUDY, page_of, write_study
from tests.analysis.findings.test_cost_of_rates import measured
from tests.records import a_space

FAMILIES = ("one_cycle", "cosine", "step", "constant")
REPLICATES = 10
STUDIES = 500
Values = Mapping[str, Sequence[float]]


def table_of(
    folder: Path,
    values: Values,
    ranking: Ranking = ACCURACY,
    lost: Mapping[int, Status] = {},
    ensembles: Mapping[str, Sequence[float]] = {},
) -> pd.DataFrame:
    """finalists.parquet with these test values; ``lost`` are the runs that did not complete.

    ``ensembles``: what two snapshots of a family come to together.
    """
    runs = [
        (trial, replicate, family, found[replicate])
        for replicate in range(max(map(len, values.values())))
        for trial, (family, found) in enumerate(values.items())
    ]
    table = FinalistTable(folder, ranking, {k: run[:2] for k, run in enumerate(runs)})
    for number, (_, replicate, family, value) in enumerate(runs):
        history = History(
            lost.get(number, "completed"),
            [EpochRecord(1, 9, 0.1, 1, 1, value, 1)],
            test_metric=value,
            test_loss=1.0,
            ensembles=[value, ensembles[family][replicate]] if family in ensembles else [],
        )
        table.on_trial_end(Proposal(number, family, {"peak_lr": 0.1}, 0), history)
    table.flush()
    written = read_finalists(folder, ranking)
    assert written is not None
    frame: pd.DataFrame = written.to_pandas()
    return frame


def frame_of(values: np.ndarray[Any, Any]) -> pd.DataFrame:
    """The same without files: (families, replicates) of test accuracies."""
    rows = [
        {"family": family, "trial": trial, "replicate": replicate, "status": "completed"}
        | {"test_accuracy": value, "val_accuracy": value, "ensemble_accuracy": math.nan}
        for trial, (family, own) in enumerate(zip(FAMILIES, values, strict=True))
        for replicate, value in enumerate(own)
    ]
    return pd.DataFrame(rows)


def compared(finalists: pd.DataFrame, ranking: Ranking = ACCURACY) -> Comparison:
    comparison = compare_finalists(finalists, Scale(ranking))
    assert comparison
    return comparison


def noise(seed: int, count: int = STUDIES) -> list[np.ndarray[Any, Any]]:
    """Studies of four families under ten seeds, some of the noise shared within a seed."""
    random = np.random.default_rng(seed)
    shape = (len(FAMILIES), REPLICATES)
    return [
        0.98 + 1e-3 * (random.normal(size=shape) + random.normal(size=REPLICATES))
        for _ in range(count)
    ]


@pytest.mark.slow
def test_where_nothing_differs_a_winner_is_named_in_few_studies() -> None:
    winners = [compared(frame_of(values)).winner for values in noise(1)]
    assert sum(map(bool, winners)) <= 0.05 * STUDIES


@pytest.mark.slow
def test_of_two_that_are_best_alike_neither_is_named_often() -> None:
    """The hardest case: the others are far behind, so that one comparison decides."""
    behind = np.array([[0.0], [0.0], [-0.01], [-0.01]])
    winners = [compared(frame_of(values + behind)).winner for values in noise(2)]
    assert 0 < sum(map(bool, winners)) <= 0.07 * STUDIES, "5%, and the chance of 500 studies"


@pytest.mark.slow
def test_a_planted_difference_of_five_standard_errors_is_found() -> None:
    error = 1e-3 * np.sqrt(2 / REPLICATES)  # of the difference between two families' means
    ahead = np.array([[5 * error], [0.0], [0.0], [0.0]])
    winners = [compared(frame_of(values + ahead)).winner for values in noise(3)]
    assert sum(winner == FAMILIES[0] for winner in winners) >= 0.8 * STUDIES
    assert {winner for winner in winners if winner} == {FAMILIES[0]}


def test_the_numbers_are_those_of_the_statistics() -> None:
    values = noise(4, 1)[0] + np.array([[1e-3], [4e-3], [0.0], [2e-3]])
    comparison = compared(frame_of(values))
    assert list(comparison.families["family"]) == ["cosine", "constant", "one_cycle", "step"]
    best = comparison.families.iloc[0]
    assert (best["mean"], best["low"], best["high"]) == mean_interval(values[1])
    assert best["trial"] == 1
    pairs = comparison.pairs
    assert list(zip(pairs["better"], pairs["worse"], strict=True))[:2] == [
        ("cosine", "constant"),
        ("cosine", "one_cycle"),
    ]
    differences = values[1] - values[3]
    row = pairs.iloc[0]
    assert (row["difference"], row["low"], row["high"]) == mean_interval(differences)
    assert row["p"] == sign_flip(differences)
    np.testing.assert_array_equal(pairs["p_holm"], holm(pairs["p"].to_numpy()))
    assert comparison.noise == pytest.approx(np.sqrt(values.var(axis=1, ddof=1).mean()))
    assert (comparison.replicates, comparison.needed, comparison.in_reach) == (10, 8, True)


def test_lower_may_be_better(tmp_path: Path) -> None:
    values = {"cosine": [0.5, 0.6, 0.55] * 3, "constant": [0.7, 0.75, 0.7] * 3}
    comparison = compared(table_of(tmp_path, values, RMSE), RMSE)
    assert comparison.winner == "cosine"
    assert comparison.pairs.iloc[0]["difference"] == pytest.approx(2.15 / 3 - 0.55)


def test_groups_agree_with_the_tests_and_the_winner_is_alone(tmp_path: Path) -> None:
    jitter = np.linspace(-1e-3, 1e-3, REPLICATES)
    values = {
        "one_cycle": list(0.99 + jitter),
        "cosine": list(0.984 - jitter),
        "step": list(0.97 + jitter),
        "constant": list(0.97 - jitter[::-1] / 2),
    }
    comparison = compared(table_of(tmp_path, values))
    pairs = comparison.pairs
    different = pairs[(pairs["p_holm"] <= 0.05) & (pairs["low"] > 0)]
    for better, worse in zip(different["better"], different["worse"], strict=True):
        assert not any({better, worse} <= set(group) for group in comparison.groups)
    assert sorted({name for group in comparison.groups for name in group}) == sorted(values)
    assert comparison.groups[-1] == ("step", "constant")
    assert comparison.winner == "one_cycle"
    assert comparison.groups[0] == ("one_cycle",)


def test_a_winner_that_the_corrected_pairs_would_not_name_is_alone_all_the_same() -> None:
    """Each of its comparisons holds at 5%, which is all that the claim needs."""
    ahead = np.array([[1.2e-3], [0.0], [0.0], [0.0]])
    weak = 0
    for values in noise(5, 60):
        comparison = compared(frame_of(values + ahead))
        of_best = comparison.pairs[comparison.pairs["better"] == FAMILIES[0]]
        if comparison.winner == FAMILIES[0]:
            assert (of_best[["low"]] > 0).all(axis=None)
            assert comparison.groups[0] == (FAMILIES[0],)
            weak += bool((of_best["p_holm"] > 0.05).any())
        else:
            best = comparison.families["family"].iloc[0]
            tied = {name for group in comparison.groups if best in group for name in group}
            assert len(tied) > 1, "who does not win cannot be told from somebody"
    assert weak > 3


def test_a_finalist_that_failed_under_every_seed_is_no_veto(tmp_path: Path) -> None:
    values = {"cosine": shifted(0.01), "step": shifted(0), "constant": shifted(0)}
    failed: dict[int, Status] = dict.fromkeys(range(2, 30, 3), "failed")
    comparison = compared(table_of(tmp_path, values, lost=failed))
    assert comparison.winner == "cosine"
    assert comparison.lost == {"constant": "completed under none of its seeds"}


def test_finalists_that_all_diverged_say_nothing(tmp_path: Path) -> None:
    results = results_with(tmp_path, {"cosine": shifted(0)})
    diverged = table_of(tmp_path, {"cosine": shifted(0)}, lost=dict.fromkeys(range(10), "diverged"))
    lines = said(results._replace(finalists=diverged), tmp_path)
    assert lines[1] == "The finalists on fresh seeds say nothing: 10 diverged."
    assert not any("study.confirm" in line for line in lines)


def test_what_diverged_is_out_and_what_failed_is_left_out_for_all(tmp_path: Path) -> None:
    values = {family: [0.9 + k / 100] * 3 for k, family in enumerate(FAMILIES)}
    finalists = table_of(tmp_path, values, lost={3: "diverged", 4: "failed"})
    comparison = compared(finalists)
    assert comparison.lost == {"constant": "diverged under 1 of its seeds"}
    assert list(comparison.families["family"]) == ["step", "cosine", "one_cycle"]
    assert comparison.replicates == 2, "replicate 1 failed for one_cycle"


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_run_that_completed_with_no_finite_test_metric_has_diverged(
    metric: float, tmp_path: Path
) -> None:
    values = {"cosine": shifted(0.01), "step": shifted(0.02), "constant": shifted(0)}
    results = results_with(tmp_path, values)
    finalists = results.finalists
    odd = (finalists["family"] == "step") & (finalists["replicate"] == 3)
    told = compared(finalists.assign(status=finalists["status"].mask(odd, "diverged")))
    finalists = finalists.assign(test_accuracy=finalists["test_accuracy"].mask(odd, metric))
    found = compared(finalists)
    assert found.lost == told.lost == {"step": "diverged under 1 of its seeds"}
    assert found.replicates == 10, "no other loses a replicate by it"
    pd.testing.assert_frame_equal(found.families, told.families)
    pd.testing.assert_frame_equal(found.pairs, told.pairs)
    lines = said(results._replace(finalists=finalists), tmp_path)
    assert "Beware: step diverged under 1 of its seeds and is out." in lines
    plt.close(figures.finalists(finalists, found.families, results.scale))


def test_with_too_few_replicates_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert compare_finalists(pd.DataFrame(), Scale()) is None
    assert compare_finalists(table_of(tmp_path, {"cosine": [0.9], "step": [0.8]}), Scale()) is None


# In words


def said(results: Results, folder: Path) -> list[str]:
    return verdict(Findings(results), folder)


def results_with(
    folder: Path, values: Values, ranking: Ranking = ACCURACY, **study: Any
) -> Results:
    """A finished study whose families had two trials each, and these finalists, the better ones."""
    outcomes = [
        (family, "completed", float(np.mean(found)) - worse)
        for worse in (0.0, 0.05 if ranking.direction == "maximize" else -0.05)
        for family, found in values.items()
    ]
    opening = Opening(10, "2026", True)
    description: dict[str, Any] = {"ended": "2026", "test_split": [opening]}
    description["search_space"] = a_space(values, 0.001, 1.0)
    results = write_study(folder, outcomes, description | study, ranking)  # type: ignore[arg-type]
    return results._replace(finalists=table_of(folder, values, ranking))


STEADY = [0.001 * (k % 5) for k in range(REPLICATES)]


def shifted(by: float) -> list[float]:
    return [round(0.98 + by + wobble, 4) for wobble in STEADY]


def test_a_winner_is_named_with_margin_error_and_code(tmp_path: Path) -> None:
    values = {"constant": shifted(-0.01), "one_cycle": shifted(0.005), "cosine": shifted(0.001)}
    lines = said(results_with(tmp_path, values), Path("results/a b"))
    assert lines == [
        "one_cycle wins: its test accuracy is 0.40 points better (95% interval 0.40 to 0.40) than "
        "that of cosine, the next, and it beats every other finalist too.",
        "Test error of one_cycle: 1.30% (95% interval 1.19% to 1.41%), mean of 10 seeds on this "
        "test split; 1.50 points better (95% interval 1.50 to 1.50) than the constant rate.",
        "Code: python -m study.export 'results/a b' --trial 1",
    ]


WITH_CYCLES = {"constant": shifted(-0.01), "cosine": shifted(0.004), "snapshot": shifted(0)}


def with_ensembles(folder: Path, ensembles: Values, values: Values = WITH_CYCLES) -> Results:
    return results_with(folder, values)._replace(
        finalists=table_of(folder, values, ensembles=ensembles)
    )


def test_an_ensemble_that_beats_every_single_model_is_named_with_its_cost(tmp_path: Path) -> None:
    results = with_ensembles(tmp_path, {"snapshot": shifted(0.009)})
    ensemble = compared(results.finalists).ensemble
    assert ensemble
    assert (ensemble.family, ensemble.snapshots) == ("snapshot", 2)
    gains = np.subtract(shifted(0.009), shifted(0.004))
    assert ensemble.better == pytest.approx(mean_interval(gains), abs=1e-9)
    who, how_good, *_ = said(results, tmp_path)
    assert who.startswith("cosine wins"), "an ensemble is no candidate"
    assert how_good.endswith(
        " But the 2 snapshots of snapshot together beat every single model: 0.50 points better "
        "(95% interval 0.50 to 0.50) than cosine, the best of them, at 2 times the cost of "
        "inference."
    )


@pytest.mark.parametrize(
    ("ensembles", "replicates"),
    [
        ({"snapshot": shifted(0.003)}, 10),  # better than its own last weights, and no more
        ({"snapshot": shifted(0.004)}, 10),  # as good as the best
        ({"snapshot": shifted(0.009)}, 5),  # of which none can be significant
        ({}, 10),
    ],
)
def test_no_other_ensemble_is_named(ensembles: Values, replicates: int, tmp_path: Path) -> None:
    values = {family: own[:replicates] for family, own in WITH_CYCLES.items()}
    results = with_ensembles(tmp_path, ensembles, values)
    assert compared(results.finalists).ensemble is None
    assert "snapshots of" not in " ".join(said(results, tmp_path))


def test_ensembles_are_corrected_for_their_number(tmp_path: Path) -> None:
    """Six seeds: p = 0.031 for one ensemble, 0.063 for one of two."""
    values = {"cosine": shifted(0)[:6], "snapshot": shifted(0)[:6], "sine": shifted(0)[:6]}
    better = {"snapshot": shifted(0.002)[:6]}
    assert compared(table_of(tmp_path, values, ensembles=better)).ensemble
    better["sine"] = shifted(0.001)[:6]
    assert compared(table_of(tmp_path, values, ensembles=better)).ensemble is None


def test_an_ensemble_is_better_by_the_test_as_well(tmp_path: Path) -> None:
    """Under one of six seeds it is no better than the best: p = 0.063, though no interval has 0."""
    values = {"cosine": shifted(0)[:6], "snapshot": shifted(-0.05)[:6]}
    gains = [0.01] * 5 + [-0.0001]
    together = np.add(values["cosine"], gains).tolist()
    assert mean_interval(np.array(gains)).low > 0
    assert compared(table_of(tmp_path, values, ensembles={"snapshot": together})).ensemble is None


def test_of_an_ensemble_lower_may_be_better(tmp_path: Path) -> None:
    values = {"cosine": shifted(0), "snapshot": shifted(0.004)}
    lower = table_of(tmp_path, values, RMSE, ensembles={"snapshot": shifted(-0.01)})
    ensemble = compared(lower, RMSE).ensemble
    assert ensemble
    assert ensemble.better.mean == pytest.approx(0.01)
    higher = table_of(tmp_path, values, RMSE, ensembles={"snapshot": shifted(0.01)})
    assert compared(higher, RMSE).ensemble is None


def test_where_seeds_cannot_tell_it_says_so(tmp_path: Path) -> None:
    values = {"constant": shifted(-0.03), "one_cycle": shifted(0), "cosine": shifted(0)[::-1]}
    lines = said(results_with(tmp_path, values), tmp_path)
    assert lines[0].startswith(
        "No single winner: 10 seeds cannot tell one_cycle from cosine, but it beats constant. "
        "A difference of about 0."
    )


def test_out_of_reach_is_said_instead_of_a_winner(tmp_path: Path) -> None:
    values = {family: shifted(0.001 * k)[:6] for k, family in enumerate(FAMILIES)}
    results = results_with(tmp_path, values)
    lines = said(results, tmp_path)
    assert lines[0] == (
        "No winner can be named: constant has the best mean, but with 6 seeds of 4 families "
        "significance is out of reach. It takes 8: "
        f"python -m study.confirm {tmp_path} --replicates 2"
    )
    page = page_of(tmp_path)
    assert "Significance is out of reach" in page
    assert '<th scope="col" class="number">p</th>' not in page, "no p-values are printed"


def test_doubts_are_named(tmp_path: Path) -> None:
    openings = [{"opened": "2026", "replicates": 6}, {"opened": "2027", "replicates": 10}]
    values = {"one_cycle": shifted(0.005), "cosine": shifted(0.001)}
    results = results_with(tmp_path, values, test_split=openings)
    trials = pd.concat([results.trials, *[results.trials[:1]] * 3], ignore_index=True)
    (line,) = (x for x in said(results._replace(trials=trials), tmp_path) if "Beware" in x)
    assert line == (
        "Beware: the test split was looked at 2 times, for which no p-value allows; families had 2 "
        "to 5 trials; no constant rate stands beside the finalists as a control."
    )


def test_a_collapsed_seed_is_named_and_no_noise(tmp_path: Path) -> None:
    """Even of two finalists; and the smallest difference is that of the two best."""
    collapsed = [*shifted(0)[:9], 0.13]
    values = {"one_cycle": shifted(0.002), "cosine": shifted(0), "constant": collapsed}
    results = results_with(tmp_path, values)
    (line,) = (line for line in said(results, tmp_path) if "Beware" in line)
    assert line == "Beware: constant came to 13.00% under one of its seeds."
    comparison = compared(results.finalists)
    assert comparison.detectable == 0, "those of the two best differ by the same at every seed"
    values = {"cosine": shifted(0), "constant": collapsed}
    assert compared(table_of(tmp_path, values)).noise < 0.002


def test_a_weak_control_is_no_reason_to_beware_and_is_drawn(tmp_path: Path) -> None:
    values = {"cosine": shifted(0), "one_cycle": shifted(0.001), "constant": shifted(-0.04)}
    results = results_with(tmp_path, values)
    assert not any("Beware" in line for line in said(results, tmp_path))
    comparison = compared(results.finalists)
    figure = figures.finalists(results.finalists, comparison.families, results.scale)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    worst, best = sorted(axes.get_xlim(), reverse=True)
    costs = results.scale.cost(comparison.families["mean"])
    assert worst > costs.max() > costs.min() > best
    plt.close(figure)


def test_few_trials_and_an_edge_of_the_search_are_doubts(tmp_path: Path) -> None:
    values = {"cosine": shifted(0.01), "constant": shifted(0)}
    results = results_with(tmp_path, values)
    results.study["search_space"] = asdict(a_space(values, 0.01, 0.1))
    few = results._replace(trials=results.trials[:3])
    (line,) = (line for line in said(few, tmp_path) if "Beware" in line)
    assert line == (
        "Beware: 1 of 2 families had no more than one trial; the best peak rate, 0.01, lies at the "
        "edge of those searched (0.01 to 0.1; --peak-lr LOW,HIGH widens them)."
    )


def test_the_edge_is_that_of_the_familys_own_rates(tmp_path: Path) -> None:
    """schedule_free's are ten times those that are typed."""
    results = results_with(tmp_path, {"schedule_free": shifted(0.01), "constant": shifted(0)})
    space = results.study["search_space"]
    space |= asdict(a_space(space["families"], 0.01, 0.1)) | {"peak_lr": [0.001, 0.01]}
    (line,) = (line for line in said(results, tmp_path) if "Beware" in line)
    assert line.endswith(
        "the best peak rate, 0.01, lies at the edge of those searched (0.01 to 0.1; --peak-lr "
        "LOW,HIGH, now 0.001,0.01, widens them)."
    )
    space |= asdict(a_space(space["families"], 0.001, 0.1))
    assert not any("at the edge" in line for line in said(results, tmp_path))


def test_without_finalists_the_best_trial_is_no_more_than_that(tmp_path: Path) -> None:
    results = write_study(tmp_path, [("cosine", "completed", 0.9)], STUDY | {"ended": "2026"})
    lines = said(results, tmp_path)
    assert lines[0].endswith(
        "cosine, 90.00% validation accuracy in one run; the next best may be as good."
    )
    assert lines[1].endswith(f"python -m study.confirm {tmp_path}")


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE, Ranking("R²", "maximize")])
@pytest.mark.parametrize("families", [1, 2, 4])
@pytest.mark.parametrize("replicates", [2, 6, 10])
def test_any_verdict_has_at_most_five_lines(
    ranking: Ranking, families: int, replicates: int, tmp_path: Path
) -> None:
    values = {
        family: [*shifted(0.002 * k)[: replicates - 1], 0.9]
        for k, family in enumerate(FAMILIES[:families])
    }
    results = results_with(tmp_path, values, ranking)
    rates = {factor: [0.9, 0.8, 0.7] for factor in (0.5, 1, 2)}
    each = [measured(rates, name, k, ranking) for k, name in enumerate(values)]
    lines = said(results._replace(forgiveness=pd.concat(each)), tmp_path)
    assert any(line.startswith("Forgiveness: ") for line in lines)
    assert 3 <= len(lines) <= 5
    assert all("nan" not in line for line in lines)
    assert ranking is ACCURACY or "accuracy" not in " ".join(lines)


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_the_page_shows_the_finalists(ranking: Ranking, tmp_path: Path) -> None:
    values = {family: shifted(0.002 * k) for k, family in enumerate(FAMILIES)}
    results_with(tmp_path, values, ranking)
    page = page_of(tmp_path)
    text = re.sub(r"data:image[^\"]*", "", page)
    assert "The test split was opened once: 2026 for 10 seeds." in text
    assert '<th scope="col" class="number">p, corrected</th>' in text
    assert text.count('<th scope="col" class="number">95% interval, this test split</th>') == 2
    assert "holds for other seeds on this test split and not for other test samples" in text
    assert "Groups within which nothing can be told apart" in text
    assert "nan" not in text
    assert ("accuracy" in text) == (ranking is ACCURACY)
    drawn = [tmp_path / "report" / "figures" / f"{name}.svg" for name in ("finalists", "tuning")]
    before = [path.read_bytes() for path in drawn]
    page_of(tmp_path)
    assert [path.read_bytes() for path in drawn] == before, "the same study, the same files"
    assert not (tmp_path / "report" / "figures" / "forgiveness.svg").exists(), "nobody measured it"


RATES: dict[float, Sequence[float | str]] = {
    0.5: [0.979, 0.969, 0.974],
    1: [0.98, 0.97, 0.975],
    2: [0.96, "diverged", 0.96],
}


@pytest.mark.parametrize(
    ("rates", "line"),
    [
        (
            RATES,
            "diverges under 1 of 3 seeds at twice its peak rate and loses 0.10 points at half its",
        ),
        (
            {0.5: [0.9, 0.96, 0.95], 1: ["diverged", 0.97, 0.96], 2: [0.9, 0.98, 0.96]},
            "diverges under 1 of 3 seeds at its own peak rate, gains 0.50 points at twice its peak "
            "rate and loses 1.00 points at half its",
        ),
        ({0.5: [0.9], 1: ["diverged"]}, "diverges under 1 of 1 seeds at its own"),
    ],
)
def test_what_a_badly_chosen_rate_costs_the_best_is_said(
    rates: Mapping[float, Sequence[float | str]], line: str, tmp_path: Path
) -> None:
    values = {"cosine": shifted(0.01), "constant": shifted(0)}
    results = results_with(tmp_path, values)
    both = [measured(rates, "cosine", 0), measured(RATES, "constant", 1)]
    (found,) = (
        one
        for one in said(results._replace(forgiveness=pd.concat(both)), tmp_path)
        if one.startswith("Forgiveness")
    )
    assert found.startswith(f"Forgiveness: cosine {line} peak rate (validation accuracy, means of")


def test_it_is_said_of_the_best_alone_and_only_where_it_was_measured(tmp_path: Path) -> None:
    results = results_with(tmp_path, {"cosine": shifted(0.01), "constant": shifted(0)})
    for runs in (
        measured(RATES, "constant", 1),
        measured({0.5: [0.9], 4: [0.9]}, trial=0),
        measured({1: ["failed"], 2: ["failed"]}, trial=0),
    ):
        lines = said(results._replace(forgiveness=runs), tmp_path)
        assert not any("Forgiveness" in line for line in lines)
    unconfirmed = results._replace(finalists=pd.DataFrame(), forgiveness=measured(RATES, trial=0))
    assert any(line.startswith("Forgiveness: cosine") for line in said(unconfirmed, tmp_path))


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_the_page_shows_what_was_measured(ranking: Ranking, tmp_path: Path) -> None:
    results_with(tmp_path, {"cosine": shifted(0.01), "constant": shifted(0)}, ranking)
    rates = RATES | {4: ["diverged"] * 3}
    both = [measured(rates, "cosine", 0, ranking), measured(rates, "constant", 1, ranking)]
    columns = read_forgiveness(tmp_path, ranking).to_pandas()
    pd.concat([columns, *both]).to_parquet(tmp_path / "forgiveness.parquet")
    text = re.sub(r"data:image[^\"]*", "", page_of(tmp_path))
    assert "What a badly chosen peak rate costs" in text
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", text.partition("worse than at its own")[2])
    rows = [cells[start : start + 8] for start in range(0, 80, 8)][:8]
    assert [row[0] for row in rows] == ["cosine"] * 4 + ["constant"] * 4
    assert [row[2:4] for row in rows[:4]] == [
        ["1/2", "0.05"],
        ["1", "0.1"],
        ["2", "0.2"],
        ["4", "0.4"],
    ]
    worse = "0.10 points" if ranking is ACCURACY else "-0.001"
    assert [row[6] for row in rows[:2]] == [worse, ""]
    assert rows[3][4:] == ["", "", "", "3 of 3"]
    assert "nan" not in text
    assert (tmp_path / "report" / "figures" / "forgiveness.svg").stat().st_size > 1_000


def test_names_are_joined_as_people_write_them() -> None:
    assert [joined(list("abc")[:k]) for k in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
