"""Who wins, and when nobody does: comparisons of finalists, and what is said of them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from analysis import figures
from analysis.findings.finalists import Comparison
from analysis.findings.findings import Findings
from analysis.load import Results
from analysis.page.sections import SECTIONS
from analysis.page.verdict import verdict
from analysis.page.words import between, brief, joined
from analysis.scale import Scale
from analysis.statistics.intervals import mean_interval
from analysis.statistics.repeated_intervals import repeated_interval
from search_spaces import FAMILIES, SearchSpace
from study.results.best_trials import best_trial
from study.results.reader import read_finalists, read_forgiveness
from study.results.sequential import looks_of
from study.results.stored_space import store_space
from study.results.study_record import Finalist, Opening, StudyRecord
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.stages.replicates import SeedRuns
from study.tasks.metric import ACCURACY, RMSE
from study.tasks.ranking import Ranking
from study.training.history import EpochRecord, History
from tests.analysis.figures.test_figures import page_of, write_study
from tests.analysis.findings.test_cost_of_rates import measured
from tests.records import a_record, a_space

DEFAULT = " (default)"
Outcome = float | str
"""A test metric, or the status of a run that has none."""
Values = Mapping[str, Sequence[Outcome]]
"""An outcome a seed, by the finalists' names."""
WOBBLE = np.random.default_rng(0).normal(scale=1e-3, size=40).round(4)


def about(mean: float, seeds: int = 20) -> list[Outcome]:
    """Outcomes about a mean, whose noise is that of the seeds and the same for all finalists."""
    return [round(mean + float(one), 4) for one in WOBBLE[:seeds]]


def noisy(mean: float, seed: int) -> list[Outcome]:
    """Outcomes whose noise is the finalist's own."""
    return [float(one) for one in np.random.default_rng(seed).normal(mean, 1e-3, 20).round(5)]


def but(outcomes: Sequence[Outcome], *others: tuple[int, Outcome]) -> list[Outcome]:
    """The same but for some seeds."""
    return [dict(others).get(seed, one) for seed, one in enumerate(outcomes)]


def study_of(
    folder: Path,
    values: Values,
    plans: Sequence[int] = (20,),
    ranking: Ranking = ACCURACY,
    ensembles: Mapping[str, Sequence[float]] = {},
    **study: Any,
) -> Results:
    """A study of these finalists, trained until the plans have ended or no outcome is left.

    Its looks are those that a study makes of the table. Each family had two trials at least.

    Args:
        folder: where to write it.
        values: the test metrics.
        plans: seeds at most, one plan after the other.
        ranking: of the metric.
        ensembles: what two snapshots of a finalist come to together, under each seed.
        study: other fields of the record, and ``trials`` of each family.
    """
    families = {name: name.removesuffix(DEFAULT) for name in values}
    finalists = [
        Finalist(family, trial, name != family)
        for trial, (name, family) in enumerate(families.items())
    ]
    runs = [Proposal(one.trial, one.family, {"peak_lr": 0.1}, 0) for one in finalists]
    record = a_record()
    for most in plans:
        record.declare(most, looks_of(most))
    folder.mkdir(exist_ok=True)
    source = SeedRuns(runs, record.plans, 0, ranking)
    table, names = FinalistTable(folder, ranking, source.identities), list(values)
    while source.left:
        run = source.propose()
        trial, replicate = source.identities[run.number]
        own = values[names[trial]]
        if replicate >= len(own):
            break
        history = ended(own[replicate])
        if names[trial] in ensembles and history.test_metric is not None:
            history.ensembles = [history.test_metric, ensembles[names[trial]][replicate]]
        table.on_trial_end(run, history)
        source.finish(run.number, history)
    table.flush()
    for plan in record.plans:
        plan.looks.clear()
    written = read_finalists(folder, ranking)
    SeedRuns(runs, record.plans, 0, ranking).recall(written.to_pylist() if written else [])
    trials: Mapping[str, int] = study.pop("trials", {})
    tried = list(families.values())
    for family in dict.fromkeys(tried):
        tried += [family] * (trials.get(family, 2) - tried.count(family))
    fields = {"finalists": finalists, "plans": record.plans}
    fields["search_space"] = a_space(dict.fromkeys(tried), 0.001, 1.0)
    fields["test_split"] = [Opening(plans[-1], "2026", True)]
    better = 1 if ranking.direction == "maximize" else -1
    outcomes = [(family, "completed", 0.9 - better * k / 100) for k, family in enumerate(tried)]
    return write_study(folder, outcomes, fields | study, ranking)  # type: ignore[arg-type]


def ended(outcome: Outcome) -> History:
    epochs = [EpochRecord(1, 9, 0.1, 1, 1, 0.5, 1)]
    if isinstance(outcome, str):
        return History(outcome, epochs)  # type: ignore[arg-type]
    return History("completed", epochs, test_metric=outcome, test_loss=1.0)


def said(results: Results, where: str = "s") -> list[str]:
    return verdict(Findings(results), where).lines


def line_of(results: Results, begin: str) -> str:
    """The line of the verdict that begins so, or none."""
    return next((line for line in said(results) if line.startswith(begin)), "")


def compared(results: Results) -> Comparison:
    comparison = Findings(results).comparison
    assert comparison
    return comparison


ENDS = ("difference", "low", "high")


def apart_in(comparison: Comparison, one: str, other: str) -> dict[Any, Any]:
    """The row of a pair."""
    pairs = comparison.pairs.to_dict("records")
    return next(pair for pair in pairs if {pair["better"], pair["worse"]} == {one, other})


# The claim

THREE: Values = {"one_cycle": about(0.985), "cosine": about(0.981), "constant": about(0.97)}


def test_a_winner_is_named_with_its_configuration_its_margin_and_its_code(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE, trials={"one_cycle": 3})
    more: dict[str, Any] = {"params.cycles": 3.0, "params.anneal": "cos"}
    results = results._replace(trials=results.trials.assign(**more))
    mean, low, high = mean_interval(np.array(about(0.985, 7), float))
    ends = f"{low:.2%} to {high:.2%}"
    assert said(results, "results/a b") == [
        "one_cycle wins: after 7 seeds it was found better than every other finalist. It is ahead "
        "of cosine, the next, by 0.40 points in test accuracy (95% interval 0.40 to 0.40 points).",
        "Its configuration: peak rate 0.01, end_ratio 0.1, cycles 3, anneal cos (trial 0, the best "
        "of 3 trials).",
        f"Test accuracy of one_cycle: {mean:.2%}, the mean of 7 seeds on this test split (95% "
        f"interval {ends}); 1.50 points better than the constant rate (95% interval 1.50 to 1.50 "
        "points). None of them diverged: with 95% confidence, fewer than 35% of seeds do.",
        "Beware: this holds for mnist, 2 epochs in batches of 128 with sgd, momentum 0.9 and "
        "weight decay 0.0005.",
        "Code: python -m study.export 'results/a b' --trial 0",
    ]


def test_the_numbers_are_those_of_the_statistics(tmp_path: Path) -> None:
    """Of noise that needs more than one look; of each finalist and each pair."""
    values = {"cosine": noisy(0.98, 1), "step": noisy(0.9807, 2), "constant": noisy(0.9793, 3)}
    comparison = compared(study_of(tmp_path, values))
    assert comparison.seeds > 7
    for one in comparison.finalists.to_dict("records"):
        own = np.array(values[one["finalist"]][: one["seeds"]], float)
        assert (one["mean"], one["low"], one["high"]) == mean_interval(own)
    for pair in comparison.pairs.to_dict("records"):
        better, worse = (
            np.array(values[pair[name]][: pair["seeds"]], float) for name in ("better", "worse")
        )
        found = [pair[one] for one in ENDS]
        assert found == pytest.approx(repeated_interval(better - worse, 20), abs=1e-9)
        assert pair["mean"] == pytest.approx((better - worse).mean())
        assert not pair["found"] or pair["low"] > 0
        assert pair["difference"] >= 0
    assert len(comparison.pairs) == 3


def test_lower_may_be_better(tmp_path: Path) -> None:
    results = study_of(tmp_path, {"constant": about(0.7), "cosine": about(0.5)}, ranking=RMSE)
    assert said(results)[0] == (
        "cosine wins: after 7 seeds it was found better than constant, by 0.2000 in test RMSE "
        "(95% interval 0.2000 to 0.2000)."
    )
    assert "than the constant rate" not in line_of(results, "Test RMSE of cosine: 0.5"), "twice"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"cosine": about(0.99), "free": about(0.98), "constant": about(0.97)},
            "The best named shape, cosine, lies 1.00 points ahead of the free one in test accuracy "
            "(95% interval 1.00 to 1.00 points).",
        ),
        (
            {"free": about(0.99), "refined": about(0.985), "cosine": about(0.98)},
            "The best named shape, cosine, lies 1.00 points behind the free one in test accuracy "
            "(95% interval 1.00 to 1.00 points).",
        ),
        ({"free": about(0.99), "free (default)": about(0.98)}, ""),
        ({"cosine": about(0.99), "constant": about(0.98)}, ""),
    ],
)
def test_the_best_named_shape_is_held_against_the_free_one(
    values: Values, line: str, tmp_path: Path
) -> None:
    assert line_of(study_of(tmp_path, values), "The best named shape") == line


def test_a_share_of_another_name_is_told_in_percent(tmp_path: Path) -> None:
    ranking = Ranking("IoU", "maximize", percent=True)
    accuracies = {"constant": about(0.7), "cosine": about(0.9)}
    results = study_of(tmp_path, accuracies, ranking=ranking)
    assert line_of(results, "Test IoU of cosine: 9")


ALIKE: Values = {
    "step": noisy(0.98, 2),
    "cosine": noisy(0.98, 1),
    "linear": noisy(0.98, 5),
    "constant": about(0.95),
}


def test_where_no_winner_is_found_the_simplest_is_recommended(tmp_path: Path) -> None:
    results = study_of(tmp_path, ALIKE)
    comparison = compared(results)
    first, second, third = comparison.tied
    difference, low, high = (100 * apart_in(comparison, first, "step")[one] for one in ENDS)
    assert low < 0 < high
    assert said(results)[:2] == [
        f"No single winner: 10 seeds cannot tell {first} from {second} or {third}; found worse: "
        f"constant. In the mean {first} is ahead of step by {difference:.2f} points "
        f"in test accuracy (95% interval \N{MINUS SIGN}{-low:.2f} to {high:.2f} points).",
        "Take step, the simplest of them: peak rate 0.01, end_ratio 0.1 (trial 0, the best of 2 "
        "trials).",
    ]
    assert first != "step", "which is no reason to take another"
    assert line_of(results, "Test accuracy of step")


SPACE = store_space(SearchSpace(tuple(FAMILIES), (0.001, 1.0)))


@pytest.mark.parametrize(
    ("names", "simplest"),
    [
        # It takes no tuning.
        (("cosine", "cosine (default)"), "cosine (default), the simplest of them"),
        (("one_cycle (default)", "cosine"), "cosine, which has the fewest parameters to tune"),
        (("cosine", "exponential"), "exponential, the simplest of them"),  # as many, and older
    ],
)
def test_simple_is_what_needs_little_tuning(
    names: tuple[str, str], simplest: str, tmp_path: Path
) -> None:
    """Whichever is better by the little that nobody can tell."""
    for better in (0, 1):
        values = {name: noisy(0.98, k ^ better) for k, name in enumerate(names)}
        results = study_of(tmp_path / str(better), values, search_space=SPACE)
        assert compared(results).winner is None
        assert compared(results).recommended == simplest.split(",")[0]
        assert line_of(results, f"Take {simplest}: ")


def test_the_beaten_come_last_however_little_they_are_behind(tmp_path: Path) -> None:
    values = {"linear": about(0.9798), "cosine": about(0.98), "step": noisy(0.9795, 2)}
    comparison = compared(study_of(tmp_path, values))
    assert comparison.tied == ["cosine", "step"]
    assert list(comparison.finalists["finalist"]) == ["cosine", "step", "linear"]


def test_of_a_pair_the_better_is_so_by_its_own_difference(tmp_path: Path) -> None:
    """The best mean, which hangs on one seed, leads all the same."""
    results = study_of(tmp_path, {"cosine": but(about(0.979), (3, 0.999)), "step": about(0.98)})
    comparison = compared(results)
    (pair,) = comparison.pairs.to_dict("records")
    assert (pair["better"], pair["difference"]) == ("step", pytest.approx(0.001))
    assert pair["low"] < 0 < pair["high"]
    assert pair["mean"] < 0
    assert comparison.tied == ["cosine", "step"]


def test_it_is_undecided_while_the_plan_goes_on(tmp_path: Path) -> None:
    values = {name: outcomes[:9] for name, outcomes in ALIKE.items()}
    who, configuration, *_ = said(study_of(tmp_path, values), "a b")
    assert who.startswith("Undecided yet: 7 seeds cannot tell ")
    assert who.endswith(
        "To go on to the next look, after 10 seeds: python -m study.run --resume 'a b'"
    )
    assert configuration.startswith("Until then take step")


def test_before_the_first_look_the_finalists_say_nothing(tmp_path: Path) -> None:
    """Nor do the seeds of a plan that has been decided."""
    for plans, seeds in (((20,), 6), ((10, 20), 12)):
        values = {name: outcomes[:seeds] for name, outcomes in THREE.items()}
        values["one_cycle"] = about(0.985, 7)  # which wins the first plan
        lines = said(study_of(tmp_path / str(seeds), values, plans))
        assert lines[0].startswith("Best of 6 trials: one_cycle, 90.00% validation accuracy in one")
        assert lines[1:2] == [
            "The finalists are first looked at after 7 seeds; to go on: python -m study.run "
            "--resume s"
        ]


def test_fewer_than_seven_seeds_decide_nothing(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE, plans=(6,))
    assert said(results)[:2] == [
        "No winner: one_cycle has the best mean, but 6 seeds can tell nothing apart. It takes 7 or "
        "more: python -m study.confirm s",
        "Its configuration: peak rate 0.01, end_ratio 0.1 (trial 0, the best of 2 trials).",
    ]
    assert not compared(results).pairs["found"].any()
    lost = {**THREE, "one_cycle": [0.99, math.nan, 0.99]}
    results = study_of(tmp_path / "lost", lost, plans=(3,))
    assert said(results)[0].startswith("No winner: cosine has the best mean, but 3 seeds")


def test_the_only_one_that_none_beats_need_not_win(tmp_path: Path) -> None:
    """Cosine has beaten step, and step linear, which has been as good as cosine since."""
    step = np.array(about(0.98), float)
    cosine = (step + 0.002).round(4)
    cosine[0] = step[0] - 0.003
    linear = np.where(np.arange(20) < 7, step - 0.001, cosine + 0.004 * (-1) ** np.arange(20))
    values = {"cosine": cosine.tolist(), "step": step.tolist(), "linear": linear.tolist()}
    results = study_of(tmp_path, values)
    who, take, *_ = said(results)
    assert "seeds cannot tell cosine from linear; found worse: step. In the mean " in who
    assert take.startswith("Take cosine, than which none was found better: ")


# Seeds


def test_what_diverged_is_out_and_what_failed_counts_for_nothing(tmp_path: Path) -> None:
    values: Values = {
        "step": but(about(0.99), (3, "diverged")),
        "one_cycle": but(about(0.985), (2, "failed")),
        "linear": ["failed"] * 20,
        "constant": about(0.97),
    }
    results = study_of(tmp_path, values)
    comparison = compared(results)
    assert comparison.lost == {
        "step": "diverged under 1 of its 4 seeds",
        "linear": "completed under none of its seeds",
    }
    assert comparison.winner == "one_cycle"
    seeds = comparison.finalists.set_index("finalist")["seeds"]
    assert dict(seeds) == {"one_cycle": 9, "constant": 10}
    assert "fewer than 29% of seeds do" in line_of(results, "Test accuracy"), "by the nine"
    assert line_of(results, "Beware").startswith(
        "Beware: linear completed under none of its seeds and is out; step diverged under 1 of its "
        "4 seeds and is out; 11 runs failed, which says nothing; this holds"
    )


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_run_that_completed_with_no_finite_metric_has_diverged(
    metric: float, tmp_path: Path
) -> None:
    found, told = (
        study_of(tmp_path / name, {**THREE, "one_cycle": but(about(0.985), (3, outcome))})
        for name, outcome in (("found", metric), ("told", "diverged"))
    )
    assert said(found) == said(told)
    assert compared(found).lost == {"one_cycle": "diverged under 1 of its 4 seeds"}
    pd.testing.assert_frame_equal(compared(found).pairs, compared(told).pairs)
    comparison = compared(found)
    plt.close(figures.finalists(comparison.runs, comparison.finalists, found.scale))


def test_finalists_that_share_no_seed_are_not_compared(tmp_path: Path) -> None:
    values: Values = {
        "cosine": but(about(0.98), *((seed, "failed") for seed in range(4))),
        "constant": but(about(0.97), *((seed, "failed") for seed in range(4, 7))),
    }
    results = study_of(tmp_path, values, (7,))
    assert said(results)[0] == "No single winner: 7 seeds cannot tell cosine from constant."
    assert "nan" not in " ".join(said(results))
    assert compared(results).pairs.empty


def test_finalists_that_all_diverged_say_nothing(tmp_path: Path) -> None:
    values: Values = {"cosine": ["diverged"], "step": ["diverged"]}
    lines = said(study_of(tmp_path, values))
    assert lines[1] == "The finalists on fresh seeds say nothing: 2 diverged."
    assert not any("study.confirm" in line for line in lines)
    again = {name: [*THREE[name][:7], "diverged"] for name in THREE}
    assert "nothing: 3 diverged." in said(study_of(tmp_path / "again", again, (7, 2)))[1]


def test_a_beaten_finalist_pauses_and_pairs_are_compared_at_the_look_of_both(
    tmp_path: Path,
) -> None:
    results = study_of(tmp_path, ALIKE)
    comparison = compared(results)
    seeds = dict(zip(comparison.finalists["finalist"], comparison.finalists["seeds"], strict=True))
    assert seeds == {"step": 10, "cosine": 10, "linear": 10, "constant": 7}
    for names in combinations(seeds, 2):
        assert apart_in(comparison, *names)["seeds"] == (7 if "constant" in names else 10)


def test_a_second_plan_rests_on_its_own_seeds_alone(tmp_path: Path) -> None:
    """In the first, cosine was ahead of all."""
    first = {"one_cycle": about(0.97), "cosine": about(0.99), "constant": about(0.96)}
    values = {name: [*first[name][:7], *outcomes[7:]] for name, outcomes in THREE.items()}
    results = study_of(tmp_path, values, (7, 10))
    comparison = compared(results)
    assert comparison.winner == "one_cycle"
    assert sorted(set(comparison.runs["replicate"])) == [*range(7, 14)]
    assert line_of(results, "Beware").startswith(
        "Beware: this is plan 2, which rests on its own seeds alone, and each plan may name a "
        "winner wrongly in 5 of 100 studies; "
    )


@pytest.mark.parametrize(("seeds", "bound"), [(2, 78), (6, 40), (7, 35), (10, 26)])
def test_how_often_it_may_diverge_is_bounded(seeds: int, bound: int, tmp_path: Path) -> None:
    """A rate at the bound leaves so many seeds whole in one study of twenty."""
    results = study_of(tmp_path, {"cosine": about(0.98), "step": about(0.98)}, (seeds,))
    assert f"fewer than {bound}% of seeds do." in line_of(results, "Test accuracy")
    assert (1 - bound / 100) ** seeds <= 0.05 < (1.01 - bound / 100) ** seeds


def test_a_seed_far_off_is_named(tmp_path: Path) -> None:
    values = {"one_cycle": about(0.99), "constant": but(about(0.98), (5, 0.13))}
    results = study_of(tmp_path, values)
    assert "Beware: constant came to 13.00% under one of its seeds; " in line_of(results, "Beware")


# Ensembles

CYCLES: Values = {"cosine": about(0.984), "snapshot": about(0.98), "constant": about(0.97)}


def together(mean: float) -> dict[str, Sequence[float]]:
    """The outcomes of two snapshots of the finalist of that name."""
    return {"snapshot": (mean + WOBBLE).round(4).tolist()}


def test_an_ensemble_that_beats_every_single_model_is_named_with_its_cost(tmp_path: Path) -> None:
    results = study_of(tmp_path, CYCLES, ensembles=together(0.989))
    ensemble = compared(results).ensemble
    assert ensemble
    assert (ensemble.finalist, ensemble.snapshots) == ("snapshot", 2)
    assert ensemble.better == pytest.approx((0.005, 0.005, 0.005))
    assert said(results)[0].startswith("cosine wins"), "an ensemble is no candidate"
    assert line_of(results, "Test accuracy of cosine").endswith(
        " But the 2 snapshots of snapshot together were found better than every single model, than "
        "cosine by 0.50 points (95% interval 0.50 to 0.50 points), at 2 times the cost of "
        "inference."
    )


def test_the_ensemble_of_one_that_has_paused_is_named_too(tmp_path: Path) -> None:
    values = {name: ALIKE[name] for name in ("step", "cosine")} | {"snapshot": about(0.97)}
    comparison = compared(study_of(tmp_path, values, ensembles=together(0.999)))
    *others, paused = comparison.finalists["seeds"]
    assert min(others) > paused == 7
    assert comparison.ensemble
    assert comparison.ensemble.finalist == "snapshot"
    best = values[comparison.tied[0]]
    gains = np.subtract(together(0.999)["snapshot"][:7], best[:7])
    assert comparison.ensemble.better == pytest.approx(repeated_interval(gains, 20))


@pytest.mark.parametrize(
    ("mean", "seeds"),
    [(0.983, 20), (0.984, 20), (0.999, 6)],
    ids=["better than its own model", "as good as the best", "too few seeds"],
)
def test_no_other_ensemble_is_named(mean: float, seeds: int, tmp_path: Path) -> None:
    results = study_of(tmp_path, CYCLES, (seeds,), ensembles=together(mean))
    assert compared(results).ensemble is None
    assert "snapshots of" not in " ".join(said(results))


def test_of_an_ensemble_lower_may_be_better(tmp_path: Path) -> None:
    for mean, gain in ((0.96, 0.01), (0.99, None)):
        folder, snapshots = tmp_path / str(mean), together(mean)
        results = study_of(folder, CYCLES, ranking=RMSE, ensembles=snapshots)
        ensemble = compared(results).ensemble
        assert (ensemble and pytest.approx(ensemble.better.mean)) == gain


# Doubts


def test_two_finalists_of_a_family_are_told_apart_everywhere(tmp_path: Path) -> None:
    values = {
        "one_cycle": about(0.985),
        "one_cycle (default)": about(0.98),
        "cosine (default)": about(0.982),
        "constant": about(0.97),
    }
    results = study_of(tmp_path, values, ended="2026")
    who, configuration, how_good, *_ = said(results)
    assert "ahead of cosine, the next" in who, "of whose family there is one"
    assert configuration.endswith("(trial 0, the best of 2 trials).")
    assert "; 0.50 points better than its own default (95%" in how_good
    comparison = compared(results)
    figure = figures.finalists(comparison.runs, comparison.finalists, results.scale)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["one_cycle", "cosine", "one_cycle\n(default)", "constant"]
    plt.close(figure)
    (section,) = (one for one in SECTIONS if one.name == "finalists")
    described, pairs = section.tables(Findings(results))
    names = ["one_cycle", "cosine", "one_cycle (default)", "constant"]
    assert list(described["finalist"]) == names
    assert list(zip(pairs["better"], pairs["worse"], strict=True)) == [*combinations(names, 2)]
    swapped = {"one_cycle": about(0.98), "one_cycle (default)": about(0.985)}
    results = study_of(tmp_path / "swapped", swapped)
    rates = measured({1: [0.9], 2: [0.8]}, "one_cycle", 1)
    lines = said(results._replace(forgiveness=rates))
    assert lines[0].startswith("one_cycle (default) wins: after 7 seeds it was found better than ")
    assert lines[1].endswith("(trial 1, the default, one of 2 trials).")
    assert lines[2].startswith("Test accuracy of one_cycle (default): ")
    assert lines[3].startswith("Forgiveness: one_cycle (default) loses 10.00 points")


def with_curves(results: Results, trial: int, **columns: Any) -> Results:
    """The same, but for what a trial's optimizer really used."""
    own = results.schedules["trial"] == trial
    return results._replace(
        schedules=pd.concat([results.schedules[~own], results.schedules[own].assign(**columns)])
    )


def test_what_may_make_it_invalid_stands_before_the_claim(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE)
    assert said(results)[0].startswith("one_cycle wins")
    rising = {"lr": np.linspace(0.001, 0.01, 10)}
    uneven = study_of(tmp_path / "uneven", THREE, trials={"one_cycle": 4})
    narrow = a_space(THREE, 0.01, 0.1)
    doubted = {
        "the finalists were tuned unequally (one_cycle with 4 trials, constant with 2)": uneven,
        "only one_cycle warmed up (--warmup search lets all)": with_curves(results, 0, **rising),
        "only cosine moved the momentum too, so not the rates alone are compared": with_curves(
            results, 1, momentum=np.linspace(0.85, 0.95, 10)
        ),
        "the best peak rate, 0.01, lies at the edge of those searched (0.01 to 0.1; --peak-lr "
        "LOW,HIGH widens them)": study_of(tmp_path / "narrow", THREE, search_space=narrow),
    }
    for doubt, one in doubted.items():
        first, claim, take, *_ = said(one)
        assert first == f"First of all: {doubt}."
        assert claim.startswith("one_cycle wins")
        assert verdict(Findings(one), "s").answer == f"{first} {claim} {take}"
    both = with_curves(uneven, 0, **rising)
    assert said(both)[0].count("; ") == 1, "in one line"


def test_what_all_did_or_could_have_done_is_no_doubt(tmp_path: Path) -> None:
    rising = {"lr": np.linspace(0.001, 0.01, 10), "momentum": np.linspace(0.85, 0.95, 10)}
    results = study_of(tmp_path, THREE, trials={"one_cycle": 3})
    for trial in range(3):
        results = with_curves(results, trial, **rising)
    assert not line_of(results, "First"), "nor is one trial more"
    extras = {"warmup_fraction": FloatDistribution(0.0, 0.3)}
    space = store_space(SearchSpace(tuple(THREE), (0.001, 1.0), extras))
    results = study_of(tmp_path / "searched", THREE, search_space=space)
    assert not line_of(with_curves(results, 0, lr=rising["lr"]), "First"), "all could"
    lost = results.schedules[results.schedules["trial"] != 1]
    assert said(results._replace(schedules=lost))[0] == said(results)[0], "its curve is lost"


def test_the_edge_is_that_of_the_familys_own_rates(tmp_path: Path) -> None:
    """schedule_free's are ten times those that are typed."""
    values = {"schedule_free": about(0.98), "constant": about(0.97)}
    space = replace(a_space(values, 0.01, 0.1), peak_lr=(0.001, 0.01))
    assert line_of(study_of(tmp_path, values, search_space=space), "First").endswith(
        "lies at the edge of those searched (0.01 to 0.1; --peak-lr LOW,HIGH, now 0.001,0.01, "
        "widens them)."
    )


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        ({}, "sgd, momentum 0.9 and weight decay 0.0005"),
        ({"optimizer": "adamw"}, "adamw, momentum 0.9 and weight decay 0.01"),
        (
            {"momentum": "search", "weight_decay": "0.1"},
            "sgd, momentum as it was searched and weight decay 0.1",
        ),
    ],
)
def test_all_else_is_said_after_the_claim(
    config: Mapping[str, str], setting: str, tmp_path: Path
) -> None:
    values = {"one_cycle": about(0.985), "cosine": about(0.98)}
    results = study_of(tmp_path, values, config={**a_record().config, **config})
    assert line_of(results, "Beware") == (
        f"Beware: no constant rate stands beside the finalists as a control; this holds for mnist, "
        f"2 epochs in batches of 128 with {setting}."
    )
    own = {**results.study["recipe"], "optimizer": "make_optimizer"}
    said_of_own = results._replace(study={**results.study, "recipe": own})
    assert "with the task's own optimizer, called with momentum " in line_of(said_of_own, "Beware")
    results = results._replace(trials=results.trials[:3])  # one of cosine's
    assert "Beware: cosine had no more than one trial; " in line_of(results, "Beware")


def test_without_finalists_the_best_trial_is_no_more_than_that(tmp_path: Path) -> None:
    study = {"search_space": a_space(["cosine"]), "ended": "2026"}
    lines = said(write_study(tmp_path, [("cosine", "completed", 0.9)], study), "a b")
    assert lines == [
        "Best of 1 trial: cosine, 90.00% validation accuracy in one run; the next best may be as "
        "good.",
        "To know, train the best again on fresh seeds: python -m study.confirm 'a b'",
        "Code: python -m study.export 'a b' --trial 0",
    ]


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE, Ranking("R²", "maximize")])
@pytest.mark.parametrize(
    ("finalists", "plans"),
    [(5, (1,)), (2, (6,)), (1, (10,)), (5, (12,)), (2, (34,)), (5, (7, 3)), (5, (10, 10))],
)
def test_any_verdict_is_short_and_its_code_is_that_which_is_exported(
    finalists: int, plans: Sequence[int], ranking: Ranking, tmp_path: Path
) -> None:
    """Whatever diverges or fails, wherever it is interrupted."""
    names = ["cosine", "step", "one_cycle", "one_cycle (default)", "constant"][:finalists]
    random = np.random.default_rng([finalists, *plans])
    for seeds in (sum(plans), sum(plans) // 2):
        values = {
            name: [
                str(random.choice(["failed", "diverged"], p=[0.8, 0.2]))
                if random.random() < 0.05
                else float(random.normal(0.9, 0.01))
                for _ in range(seeds)
            ]
            for name in names
        }
        folder = tmp_path / str(seeds)
        results = study_of(folder, values, plans, ranking)
        rates = {factor: [0.9, 0.8, 0.7] for factor in (0.5, 1, 2)}
        each = [measured(rates, name, trial, ranking) for trial, name in enumerate(names)]
        lines = said(results._replace(forgiveness=pd.concat(each)))
        assert len(lines) <= 7
        assert not any(re.search(r"\bnan\b|\binf\b|-0\.00 ", line) for line in lines)
        assert ranking is ACCURACY or "accuracy" not in " ".join(lines)
        exported = best_trial(folder, StudyRecord.load(folder))
        assert exported
        assert lines[-1] == f"Code: python -m study.export s --trial {exported['trial']}"


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
    results = study_of(tmp_path, THREE)
    both = pd.concat([measured(rates, "one_cycle", 0), measured(RATES, "constant", 2)])
    found = line_of(results._replace(forgiveness=both), "Forgiveness")
    assert found.startswith(
        f"Forgiveness: one_cycle {line} peak rate (validation accuracy, means of"
    )


def test_it_is_said_of_the_best_alone_and_only_where_it_was_measured(tmp_path: Path) -> None:
    results = study_of(tmp_path, THREE)
    for runs in (
        measured(RATES, "constant", 2),
        measured({0.5: [0.9], 4: [0.9]}, trial=0),
        measured({1: ["failed"], 2: ["failed"]}, trial=0),
    ):
        assert not line_of(results._replace(forgiveness=runs), "Forgiveness")
    unconfirmed = results._replace(finalists=pd.DataFrame(), forgiveness=measured(RATES, trial=0))
    assert line_of(unconfirmed, "Forgiveness: one_cycle")


# The page


def test_the_page_shows_intervals_that_reach_below_zero(tmp_path: Path) -> None:
    """As t intervals of two seeds far apart do, on an axis that would else be logarithmic."""
    study_of(tmp_path, {"cosine": [0.1, 0.9], "constant": [0.5, 0.6]}, (2,), RMSE)
    assert 'class="span"' in page_of(tmp_path)


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_the_page_shows_the_finalists(ranking: Ranking, tmp_path: Path) -> None:
    study_of(tmp_path, ALIKE, ranking=ranking)
    text = page_of(tmp_path)
    assert "The test split was opened once: 2026." in text
    assert ": at most 20 seeds each, looks after 7, 10, 13, 16 and 20. Looked at: after 7" in text
    assert text.count('<th scope="col" class="number">95% interval, this test split</th>') == 2
    assert '<th scope="col">difference found</th>' in text
    assert not re.search(r"\bnan\b", text)
    assert ("accuracy" in text) == (ranking is ACCURACY)
    drawn = [tmp_path / "report" / "figures" / f"{name}.svg" for name in ("finalists", "tuning")]
    before = [path.read_bytes() for path in drawn]
    page_of(tmp_path)
    assert [path.read_bytes() for path in drawn] == before, "the same study, the same files"
    assert not (tmp_path / "report" / "figures" / "forgiveness.svg").exists(), "nobody measured it"


def test_a_weak_control_is_drawn_and_a_seed_far_off_is_written(tmp_path: Path) -> None:
    values = {"cosine": but(about(0.98), (3, 0.13)), "constant": about(0.93)}
    results = study_of(tmp_path, values)
    comparison = compared(results)
    figure = figures.finalists(comparison.runs, comparison.finalists, results.scale)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert "and 13.00%" in [text.get_text() for text in axes.texts]
    worst, best = axes.get_xlim()
    costs = [results.scale.cost(pd.Series(about(mean, 7), dtype=float)) for mean in (0.93, 0.98)]
    assert 0.5 > worst > costs[0].max() > costs[1].min() > best
    plt.close(figure)


def test_of_too_few_seeds_the_page_shows_means_and_what_is_not_known_is_left_out(
    tmp_path: Path,
) -> None:
    study_of(tmp_path, {"cosine": ["failed", 0.98], "constant": about(0.97)}, (2,))
    text = page_of(tmp_path)
    assert "Fewer than 7 seeds tell nothing apart: differences are means" in text
    assert not re.search(r"\bnan\b", text)


@pytest.mark.parametrize("ranking", [ACCURACY, RMSE])
def test_the_page_shows_what_was_measured(ranking: Ranking, tmp_path: Path) -> None:
    study_of(tmp_path, {"cosine": about(0.98), "constant": about(0.98)}, (2,), ranking)
    rates = RATES | {4: ["diverged"] * 3}
    both = [measured(rates, "cosine", 0, ranking), measured(rates, "constant", 1, ranking)]
    columns = read_forgiveness(tmp_path, ranking).to_pandas()
    pd.concat([columns, *both]).to_parquet(tmp_path / "forgiveness.parquet")
    text = page_of(tmp_path)
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
    worse = "0.10 points" if ranking is ACCURACY else "\N{MINUS SIGN}0.0010"
    assert [row[6] for row in rows[:2]] == [worse, ""]
    assert rows[3][4:] == ["", "", "", "3 of 3"]
    assert not re.search(r"\bnan\b", text)
    assert (tmp_path / "report" / "figures" / "forgiveness.svg").stat().st_size > 1_000


def test_names_and_numbers_are_written_as_people_write_them() -> None:
    assert [joined(list("abc")[:k]) for k in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
    numbers = (10_000, 0.000012345, 0.1, 3.0, 1_234_567)
    assert list(map(brief, numbers)) == ["10000", "1.23e-05", "0.1", "3", "1.23e+06"]
    assert Scale(ACCURACY).difference(-1e-9) == "0.00 points"
    assert Scale(RMSE).difference(-0.0) == "0"
    assert between(0.5, 1, "{:.2f} points".format) == "0.50 to 1.00 points"
    assert between(-math.inf, math.inf, str) == "without bounds yet"
    assert between(math.nan, math.nan, str) == ""
