"""Which trials are finalists, under which seeds they are trained, and when that is enough."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from search_spaces import CONTROLS, SearchSpace, select
from study.results.sequential import Array, looks_of
from study.results.study_record import Look, SeedPlan
from study.search.interfaces import FinishedTrial, NothingYetError
from study.search.proposal import Proposal, seeds_of
from study.search.trial_plan import Plan
from study.settings.choices import Allocation, DrawnBy
from study.stages.replicates import SeedRuns, choose, replicate_seed
from study.tasks.metric import ACCURACY, RMSE
from study.training.history import History, Status
from tests.study.studies import PAUSED, completed

CLASSIC = SearchSpace(select("classic"), (0.02, 0.3))


def trial(
    number: int,
    family: str,
    value: float,
    status: Status = "completed",
    drawn_by: DrawnBy = "tpe",
) -> FinishedTrial:
    history = replace(completed(0.0, value), status=status)
    return Proposal(number, family, {"peak_lr": 0.1}, number, drawn_by), history


FINISHED = [
    trial(0, "constant", 0.7),
    trial(1, "cosine", 0.9),
    trial(2, "step", 0.8),
    trial(3, "cosine", 0.95),
    trial(4, "rex", 0.8),
    trial(5, "linear", 0.99, "diverged"),
    trial(6, "constant", 0.75),
]


def numbers(finalists: Iterable[Proposal]) -> list[int]:
    return [finalist.number for finalist in finalists]


def test_the_best_of_the_best_families_and_the_control() -> None:
    assert numbers(choose(FINISHED, ACCURACY, 4)) == [3, 2, 4, 6]
    assert numbers(choose(FINISHED, ACCURACY, 3)) == [3, 2, 6]
    assert numbers(choose(FINISHED, ACCURACY, 9)) == [3, 2, 4, 6]
    assert numbers(choose(FINISHED, RMSE, 3)) == [0, 2, 4], "lower may be better"
    better_control = [*FINISHED, trial(7, "constant", 1.0)]
    assert numbers(choose(better_control, ACCURACY, 3)) == [7, 3, 2]


def test_a_control_that_was_not_searched_is_no_finalist() -> None:
    others = [pair for pair in FINISHED if pair[0].family != "constant"]
    assert numbers(choose(others, ACCURACY, 2)) == [3, 2]
    assert choose([FINISHED[5]], ACCURACY, 4) == []


UNTUNED = [
    trial(0, "constant", 0.70, drawn_by="fixed"),
    trial(1, "cosine", 0.90, drawn_by="fixed"),
    trial(2, "step", 0.80, drawn_by="fixed"),
    trial(3, "rex", 0.85, drawn_by="fixed"),
]


@pytest.mark.parametrize(
    ("count", "chosen"), [(2, [4, 5]), (3, [4, 1, 5]), (4, [4, 1, 3, 5]), (5, [4, 1, 3, 2, 5])]
)
def test_the_default_of_what_was_tuned_is_a_finalist_too(count: int, chosen: list[int]) -> None:
    """After the best and the control, before the other families' best."""
    tuned = [trial(4, "cosine", 0.95), trial(5, "constant", 0.75), trial(6, "step", 0.7)]
    assert numbers(choose([*UNTUNED, *tuned], ACCURACY, count)) == chosen


def test_it_is_that_of_the_best_family_of_which_tuning_found_a_better_one() -> None:
    """Another's default is its best trial, and stands for it; one that failed stands for none."""
    assert numbers(choose(UNTUNED, ACCURACY, 5)) == [1, 3, 2, 0]
    tuned = [trial(4, "rex", 0.88), trial(5, "step", 0.81)]
    assert numbers(choose([*UNTUNED, *tuned], ACCURACY, 4)) == [1, 4, 3, 0]
    lost = [*UNTUNED[:3], trial(3, "rex", 0.85, "failed", "fixed"), *tuned]
    assert numbers(choose(lost, ACCURACY, 4)) == [1, 4, 5, 0]


def searched(plan: Plan, seed: int, trials: int) -> list[FinishedTrial]:
    """A study of which chance makes what it will."""
    random = np.random.default_rng(seed)
    finished: list[FinishedTrial] = []
    better = random.normal(size=len(plan.space.families))
    for number in range(trials):
        family = str(plan.settled(number).get("family") or random.choice(plan.space.families))
        value = float(random.normal() + better[plan.space.families.index(family)])
        status: Status = "diverged" if random.random() < 0.1 else "completed"
        finished.append(trial(number, family, value, status, plan.drawn_by(number)))
    return finished


@pytest.mark.parametrize("allocation", get_args(Allocation))
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_finalists_of_any_study_are_the_best_of_their_families(
    allocation: Allocation, count: int
) -> None:
    """And so had equally many trials, within one, where the trials take turns."""
    for seed in range(40):
        finished = searched(Plan(CLASSIC, allocation), seed, (7, 11, 20, 40)[seed % 4])
        candidates = [
            one
            for one, history in sorted(finished, key=lambda pair: -pair[1].epochs[-1].val_metric)
            if history.status == "completed"
        ]
        chosen = choose(finished, ACCURACY, count)
        assert chosen == [one for one in candidates if one in chosen], "the best first, none twice"
        assert chosen[0] == candidates[0]
        assert len(chosen) <= count
        families = Counter(one.family for one in chosen)
        assert len(chosen) - len(families) <= 1, "of the default, if two are of a family"
        assert CONTROLS[0] in families or CONTROLS[0] not in {one.family for one in candidates}
        trials = Counter(one.family for one, _ in finished)
        if allocation != "joint":
            assert max(trials[one] for one in families) - min(trials[one] for one in families) <= 1


FINALISTS = [FINISHED[number][0] for number in (0, 3, 2)]
TRIALS = [one.number for one in FINALISTS]


def opened(plans: Sequence[SeedPlan], seed: int = 7) -> SeedRuns:
    return SeedRuns(FINALISTS, plans, seed, ACCURACY)


def planned(replicates: int, first: int = 0) -> SeedPlan:
    return SeedPlan(first, replicates, list(looks_of(replicates)))


def outcome(values: Array, number: int) -> History:
    replicate, position = divmod(number, len(FINALISTS))
    return completed(values[position, replicate])


def wanted(source: SeedRuns) -> list[Proposal]:
    """All runs that are proposed before one of them has ended."""
    runs: list[Proposal] = []
    with contextlib.suppress(NothingYetError):
        while len(runs) <= source.total:
            runs.append(source.propose())
    return runs


def train(source: SeedRuns, values: Array, most: int = 99) -> list[int]:
    """The numbers of the runs that are trained, one after the other; so many at most."""
    trained: list[int] = []
    with contextlib.suppress(NothingYetError):
        while len(trained) < most:
            trained.append(source.propose().number)
            source.finish(trained[-1], outcome(values, trained[-1]))
    return trained


@pytest.mark.parametrize("seeds", [1, 2, 6])
def test_below_seven_seeds_all_are_trained_and_nothing_is_told_apart(seeds: int) -> None:
    """Paired: all finalists under one seed before the next, which no trial has had."""
    plan = planned(seeds)
    source = opened([plan])
    runs = wanted(source)
    assert [one.number for one in runs] == list(range(3 * seeds))
    assert [one.family for one in runs] == ["constant", "cosine", "step"] * seeds
    assert [one.seed for one in runs] == [replicate_seed(7, j) for j in range(seeds) for _ in "abc"]
    assert source.identities == {
        3 * replicate + position: (number, replicate)
        for replicate in range(seeds)
        for position, number in enumerate(TRIALS)
    }
    far = np.array([[0.9], [0.5], [0.1]]).repeat(seeds, axis=1)
    for one in runs:
        source.finish(one.number, outcome(far, one.number))
    assert plan.looks == []
    assert source.left == 0


def test_seeds_of_replicates_are_fresh() -> None:
    seeds = {replicate_seed(7, j) for j in range(200)}
    assert len(seeds) == 200
    assert seeds.isdisjoint({seeds_of(7, number)[0] for number in range(10_000)})


def test_nothing_is_trained_any_more_after_a_decision() -> None:
    plan = planned(20)
    source = opened([plan])
    far = np.array([[0.9], [0.5], [0.1]]).repeat(20, axis=1)
    assert train(source, far) == list(range(3 * 7))
    (look,) = plan.looks
    assert (look.seeds, look.leader, look.second, look.ends) == (7, TRIALS[0], None, True)
    assert wanted(source) == []
    assert source.left == 0
    assert source.finished_count == source.total == 60


def test_however_many_workers_ask_no_run_is_proposed_before_the_look_that_may_end_it() -> None:
    source = opened([planned(20)])
    assert len(wanted(source)) == 3 * 7
    for number in range(20):
        source.finish(number, outcome(PAUSED, number))
    assert wanted(source) == []
    source.finish(20, outcome(PAUSED, 20))
    numbers = [one.number for one in wanted(source)]
    assert len(numbers) == 2 * 3
    assert {number % 3 for number in numbers} == {0, 1}, "the beaten one pauses"


def test_a_beaten_finalist_is_trained_later_where_the_winner_has_not_beaten_it() -> None:
    plan = planned(20)
    trained = train(opened([plan]), PAUSED)
    assert [look.seeds for look in plan.looks] == [7, 10, 13]
    assert sorted(trained) == list(range(39))
    late = [3 * replicate + 2 for replicate in range(7, 13)]
    assert trained[-6:] == late, "after all others, under the seeds that they have had"
    first, second, last = plan.looks
    assert first.beaten == second.beaten == [(TRIALS[1], TRIALS[2])]
    assert (last.leader, last.second, last.ends) == (TRIALS[0], None, True)


@pytest.mark.parametrize("at_once", [1, 4])
def test_killed_at_any_moment_it_comes_to_the_same_looks(at_once: int) -> None:
    """Whether the newest look was written down or not, with so many runs on their way."""
    whole = planned(20)
    train(opened([whole]), PAUSED)
    for killed in range(39):
        plan = planned(20)
        source = opened([plan])
        trained = train(source, PAUSED, killed)
        on_their_way = numbers(wanted(source)[:at_once])
        for looks in (plan.looks, plan.looks[:-1]):
            again = replace(plan, looks=list(looks))
            resumed = opened([again])
            resumed.begun([*trained, *on_their_way])
            for one in resumed.unfinished():
                resumed.finish(one.number, outcome(PAUSED, one.number))
            train(resumed, PAUSED)
            assert again.looks == whole.looks, f"killed after {killed} runs"
            assert resumed.left == 0
        rows = [
            {"trial": trial, "replicate": replicate, "status": "completed"}
            | {"test_accuracy": PAUSED[position, replicate]}
            for replicate, position in (divmod(number, 3) for number in trained)
            for trial in [TRIALS[position]]
        ]
        from_table = opened([recalled := planned(20)])
        from_table.recall(rows)
        assert recalled.looks == plan.looks, "the table says the same"
        assert from_table.left == source.left


def test_a_further_plan_has_seeds_of_its_own_and_leaves_the_looks_before_alone() -> None:
    first, second = planned(8), planned(8, first=8)
    alike = np.tile(np.linspace(0.4, 0.6, 16), (3, 1))
    before = train(opened([first]), alike)
    assert before == list(range(3 * 8))
    looks = list(first.looks)
    source = opened([first, second])
    source.begun(before)
    for one in source.unfinished():
        source.finish(one.number, outcome(alike, one.number))
    further = [one.number for one in wanted(source)]
    assert further == list(range(24, 24 + 3 * 7)), "none under an earlier seed"
    better = alike + np.array([[0.0], [0.0], [0.1]]) * (np.arange(16) >= 8)
    for number in further:
        source.finish(number, outcome(better, number))
    assert first.looks == looks
    (look,) = second.looks
    assert (look.seeds, look.leader, look.second) == (7, TRIALS[2], None), "of its own seeds alone"
    assert source.total == 3 * 16
    assert source.left == 0


def test_a_run_that_fails_says_nothing_and_one_without_a_finite_metric_has_collapsed() -> None:
    plan = planned(7)
    source = opened([plan])
    odd: dict[int, History] = {
        1: History("failed", error="ValueError: no"),
        3: replace(completed(0.9), status="diverged"),
        5: completed(math.nan),
    }
    for number in range(21):
        source.finish(number, odd.get(number, completed(0.5)))
    (look,) = plan.looks
    assert look == Look(7, TRIALS[1], None, 0.0, [], [TRIALS[0], TRIALS[2]], True)
