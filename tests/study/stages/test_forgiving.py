"""Which runs measure what a badly chosen peak rate costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.results.study_record import StudyRecord
from study.results.writer import FinalistTable
from study.search.proposal import Proposal, seeds_of
from study.stages.forgiving import measured_configurations, runs_of
from study.stages.replicates import replicate_seed
from study.system.errors import InputError
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History, Status
from tests.analysis.figures.test_figures import Outcome, write_study

SEARCHED: list[Outcome] = [
    ("constant", "completed", 0.7),
    ("cosine", "completed", 0.95),
    ("constant", "completed", 0.8),
    ("step", "completed", 0.9),
    ("rex", "diverged", 0.99),
]


def configurations(folder: Path) -> list[Proposal]:
    return measured_configurations(folder, StudyRecord.load(folder))


def confirmed(folder: Path, **of_trial: list[float | Status]) -> None:
    """The table of finalists, ``t1`` trial 1: test accuracies, or what became of a replicate."""
    runs = [
        (int(name.removeprefix("t")), replicate, outcome)
        for name, outcomes in of_trial.items()
        for replicate, outcome in enumerate(outcomes)
    ]
    table = FinalistTable(folder, ACCURACY, {k: run[:2] for k, run in enumerate(runs)})
    for number, (trial, _, outcome) in enumerate(runs):
        history = History("completed", [EpochRecord(1, 9, 0.1, 1, 1, 0.5, 1)])
        if isinstance(outcome, str):
            history.status = outcome
        else:
            history.test_metric = outcome
        table.on_trial_end(Proposal(number, SEARCHED[trial][0], {"peak_lr": 0.1}, 0), history)
    table.flush()


def test_the_best_finalist_and_the_control_are_measured(tmp_path: Path) -> None:
    """Whatever the search made of them; one that diverged under some seed is no winner."""
    write_study(tmp_path, SEARCHED)
    confirmed(tmp_path, t1=[0.9, 0.9], t3=[0.95, 0.9], t0=[0.5, 0.6])
    best, control = configurations(tmp_path)
    assert (best.number, best.family, best.parameters) == (
        3,
        "step",
        {"peak_lr": 0.04, "end_ratio": 0.1},
    )
    assert (control.number, control.family) == (0, "constant")
    confirmed(tmp_path, t1=[0.9, 0.9], t3=[0.99, "diverged"], t0=[0.5, 0.6])
    assert [one.number for one in configurations(tmp_path)] == [1, 0]


def test_without_finalists_they_are_the_best_of_the_search(tmp_path: Path) -> None:
    write_study(tmp_path, SEARCHED)
    assert [one.number for one in configurations(tmp_path)] == [1, 2]


def test_a_control_that_leads_or_was_not_searched_is_not_measured_beside(tmp_path: Path) -> None:
    write_study(tmp_path, SEARCHED)
    confirmed(tmp_path, t1=[0.5, 0.5], t2=[0.9, 0.9])
    assert [one.number for one in configurations(tmp_path)] == [2]
    write_study(tmp_path / "other", SEARCHED[3:])
    assert [one.family for one in configurations(tmp_path / "other")] == ["step"]


def test_where_nothing_completed_there_is_nothing_to_measure(tmp_path: Path) -> None:
    write_study(tmp_path, SEARCHED[4:])
    with pytest.raises(InputError, match="has no completed trial to measure; begin another study"):
        configurations(tmp_path)


BEST = Proposal(9, "cosine", {"peak_lr": 0.3, "end_ratio": 0.01}, seed=1)
CONTROL = Proposal(4, "constant", {"peak_lr": 0.1}, seed=2)


def test_nothing_but_the_peak_rate_and_the_seed_is_another() -> None:
    runs = runs_of([BEST, CONTROL], 7)
    assert len(runs) == 30
    seeds = [replicate_seed(7, k, "forgiveness") for k in range(3)]
    for (trial, factor, replicate), run in runs.items():
        own = {9: BEST, 4: CONTROL}[trial]
        parameters = {**own.parameters, "peak_lr": factor * float(own.parameters["peak_lr"])}
        assert run == replace(own, number=run.number, parameters=parameters, seed=seeds[replicate])
    assert {run.factor for run in runs} == {0.25, 0.5, 1, 2, 4}
    assert [run.replicate for run in runs] == [0] * 10 + [1] * 10 + [2] * 10


def test_the_seeds_are_those_of_no_trial_and_no_replicate() -> None:
    seeds = {replicate_seed(7, k, "forgiveness") for k in range(3)}
    assert len(seeds) == 3
    assert seeds.isdisjoint({replicate_seed(7, k) for k in range(200)})
    assert seeds.isdisjoint({seeds_of(7, number)[0] for number in range(10_000)})


def test_a_run_has_its_number_whatever_else_is_measured() -> None:
    alone, both = runs_of([CONTROL], 7), runs_of([BEST, CONTROL], 7)
    assert alone.items() <= both.items()
    assert len({run.number for run in both.values()}) == 30
