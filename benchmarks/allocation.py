"""Which layout of a study's trials ends with a good configuration: simulated on real runs.

``python -m benchmarks.allocation`` reads ``benchmarks/pool.csv``, of :mod:`benchmarks.pool`, and
prints a table: how far the configuration that a study of at most 40 trials ends with lies behind
the best of the pool, and how often the best family is among its finalists. Between the runs of the
pool stands a surrogate, since a sampler asks for values anywhere; the trials are Optuna's, and the
plan and the choice of the finalists the study's own.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from benchmarks.pool import COLD, CORES, POOL, WARM, Range
from search_spaces import CONTROLS, FAMILIES, SearchSpace, select
from search_spaces.family import Parameters
from study.search.interfaces import FinishedTrial
from study.search.proposal import Proposal
from study.search.sampler import ResumableTPE
from study.search.trial_plan import Plan
from study.settings.choices import Allocation, DrawnBy, Sampler
from study.stages.replicates import choose
from study.system.command_line import exit_status
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History

TRIALS, FINALISTS, STUDIES = 40, 4, 200
CONTROL = CONTROLS[0]
SEEDS = 10
"""Under which the finalists of a simulated study are trained."""
NEIGHBOURS = 12
"""Runs of the pool, from whose residuals and collapses that of a simulated run is drawn."""
COLLAPSED = 0.1
POOR = 0.05
"""Error above which the surrogate takes all runs for alike."""
SEARCHED = Range((0.02, 0.3), WARM.extras)
Array = npt.NDArray[np.float64]


class Surrogate:
    """Validation accuracies of one family between the runs of the pool: a Gaussian process.

    Args:
        family: its name.
        runs: the rows of the pool that are its own.
    """

    def __init__(self, family: str, runs: pd.DataFrame) -> None:
        self._ranges = FAMILIES[family].searched(WARM.peak_lr, WARM.extras)
        self.configurations = [json.loads(text) for text in runs["parameters"]]
        self._points = np.array([self._point(one) for one in self.configurations])
        self._completed = (runs["status"] == "completed").to_numpy()
        errors = np.log10(1 - runs["val_accuracy"].to_numpy()).clip(max=math.log10(POOR))
        dimensions = self._points.shape[1]
        smooth = RBF(np.ones(dimensions), [(0.2, 20.0)] * dimensions)
        kernel = ConstantKernel(1.0, (0.1, 20.0)) * smooth + WhiteKernel(0.3, (0.05, 2.0))
        process = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that decide nothing
            process.fit(self._points[self._completed], errors[self._completed])
        self._process, self._lengths = process, process.kernel_.k1.k2.length_scale
        self._residuals = errors - process.predict(self._points)

    def outcomes(self, parameters: Parameters) -> Array:
        """Accuracies that a run may come to, each as likely: (NEIGHBOURS,)."""
        point = self._point(parameters)
        distances = np.linalg.norm((self._points - point) / self._lengths, axis=1)
        near = np.argsort(distances)[:NEIGHBOURS]
        accuracies = 1 - 10 ** (self._process.predict(point[None])[0] + self._residuals[near])
        return np.where(self._completed[near], accuracies, COLLAPSED)

    def _point(self, parameters: Parameters) -> Array:
        """The parameters as shares of their ranges."""
        place = []
        for name, range_ in self._ranges.items():
            value: Any = parameters.get(name, 0.0)
            if isinstance(range_, CategoricalDistribution):
                place.append(float(range_.choices.index(value)))
                continue
            ends: Any = range_
            low, high = ends.low, ends.high
            if ends.log:
                low, high, value = math.log(low), math.log(high), math.log(value)
            place.append((value - low) / (high - low))
        return np.array(place)


@cache
def surrogates() -> dict[str, Surrogate]:
    """Those of all families of the pool."""
    pool = pd.read_csv(POOL)
    return {str(family): Surrogate(str(family), own) for family, own in pool.groupby("family")}


def expected(family: str, parameters: Parameters) -> float:
    """The mean accuracy of runs that do not collapse."""
    outcomes = surrogates()[family].outcomes(parameters)
    return float(outcomes[outcomes > COLLAPSED].mean())


@cache
def best_of_pool() -> dict[str, float]:
    """The highest of :func:`expected` that the pool has of a family and that never collapses."""
    return {
        family: max(
            expected(family, one)
            for one in own.configurations
            if (own.outcomes(one) > COLLAPSED).all()
        )
        for family, own in surrogates().items()
    }


class Study:
    """A simulated study.

    Args:
        seed: of everything random.
        allocation: of its trials.
        sampler: of their parameters.
        searched: peak rates and warm-ups.
        kind: of its plan.
    """

    def __init__(
        self,
        seed: int,
        allocation: Allocation,
        sampler: Sampler = "tpe",
        searched: Range = SEARCHED,
        kind: type[Plan] = Plan,
    ) -> None:
        self.space = SearchSpace(select("classic"), searched.peak_lr, searched.extras)
        self.plan = kind(self.space, allocation, sampler)
        self.random = np.random.default_rng(seed)
        tpe = ResumableTPE(seed, self.plan)
        self._optuna = optuna.create_study(direction="maximize", sampler=tpe)
        self.finished: list[FinishedTrial] = []

    @property
    def left(self) -> int:
        """Trials."""
        return TRIALS - len(self.finished)

    def run(self, fixed: Mapping[str, Any] | None = None) -> None:
        """One more trial, of what is not fixed as Optuna proposes it."""
        if fixed:
            self._optuna.enqueue_trial(dict(fixed))
        trial = self._optuna.ask()
        family = trial.suggest_categorical("family", self.space.families)
        drawn = FAMILIES[family].suggest(trial, self.space.peak_lr, self.space.extras)
        value = float(self.random.choice(surrogates()[family].outcomes(drawn)))
        self._optuna.tell(trial, value)
        drawn_by = self.plan.drawn_by(trial.number)
        self.finished.append(ended(Proposal(trial.number, family, drawn, 0, drawn_by), value))

    def follow_the_plan(self, until: int) -> None:
        """As a study does, one trial after the other."""
        while len(self.finished) < until:
            self.run(self.plan.settled(len(self.finished)))

    def take_turns(self, families: Sequence[str], trials: int = TRIALS) -> None:
        """So many trials of some families: next is always one with the fewest so far."""
        for _ in range(min(trials, self.left)):
            tried = [one.family for one, _ in self.finished]
            self.run({"family": min(families, key=tried.count)})

    def leading(self, families: Sequence[str], count: int) -> list[str]:
        """The families with the best trials, among them the control."""
        best = dict.fromkeys(families, 0.0)
        for one, history in self.finished:
            if one.family in best:
                best[one.family] = max(best[one.family], value_of(history))
        others = sorted(set(best) - {CONTROL}, key=lambda family: -best[family])
        return [CONTROL, *others[: count - 1]]


def ended(proposal: Proposal, value: float) -> FinishedTrial:
    """A trial that completed with this accuracy."""
    return proposal, History("completed", [EpochRecord(1, 1, 0.1, 1.0, 1.0, value, 1.0)])


def value_of(history: History) -> float:
    """The accuracy that it completed with."""
    return history.epochs[-1].val_metric


class AsItWas(Plan):
    """The first trials were random draws."""

    def drawn_by(self, number: int) -> DrawnBy:
        """The way a trial's parameters were drawn."""
        return "random" if number < 16 else "tpe"


def as_it_was(seed: int) -> Study:
    """Two controls at the middle rate, 14 random trials in turn, then TPE over all families.

    No warm-up but one_cycle's own, and mostly rates that are too small.
    """
    study = Study(seed, "joint", searched=COLD, kind=AsItWas)
    families = [*CONTROLS, *(one for one in study.space.families if one not in CONTROLS)]
    middle = math.sqrt(math.prod(COLD.peak_lr))
    for number in range(16):
        family = families[number % len(families)]
        rate = {f"{family}.peak_lr": middle} if number < len(CONTROLS) else {}
        study.run({"family": family, **rate})
    while study.left:
        study.run()
    return study


def planned(
    allocation: Allocation, sampler: Sampler = "tpe", trials: int = TRIALS
) -> Callable[[int], Study]:
    """Studies that follow their plan."""

    def simulate(seed: int) -> Study:
        study = Study(seed, allocation, sampler)
        study.follow_the_plan(trials)
        return study

    return simulate


def levelled(seed: int) -> Study:
    """TPE over all families for 24 trials; then the best two and the control until level."""
    study = Study(seed, "joint")
    study.follow_the_plan(24)
    return ended_with(study, study.leading(study.space.families, 3))


def rounds(seed: int) -> Study:
    """Fewer families from round to round: nine, the better five for 15 trials, then three."""
    study = Study(seed, "balanced")
    study.follow_the_plan(len(study.space.families))
    better = study.leading(study.space.families, 5)
    study.take_turns(better, 15)
    return ended_with(study, study.leading(better, 3))


def ended_with(study: Study, families: Sequence[str]) -> Study:
    """A study whose last trials, and finalists, are of these families."""
    study.take_turns(families)
    study.finished = [pair for pair in study.finished if pair[0].family in families]
    return study


def second_seeds(seed: int) -> Study:
    """Balanced for 32 trials, and a second run of the eight leading ones, judged by both."""
    study = Study(seed, "balanced")
    study.follow_the_plan(TRIALS - 8)
    for one, history in sorted(study.finished, key=lambda pair: -value_of(pair[1]))[:8]:
        again = float(study.random.choice(surrogates()[one.family].outcomes(one.parameters)))
        study.finished.remove((one, history))
        study.finished.append(ended(one, (value_of(history) + again) / 2))
    return study


LAYOUTS: dict[str, Callable[[int], Study]] = {
    "joint, as it was": as_it_was,
    "the defaults alone": planned("balanced", trials=9),
    "joint": planned("joint"),
    "joint, then level": levelled,
    "rounds": rounds,
    "balanced": planned("balanced"),
    "balanced, 27 trials": planned("balanced", trials=27),
    "balanced, 18 trials": planned("balanced", trials=18),
    "balanced, random draws": planned("balanced", "random"),
    "balanced, second seeds": second_seeds,
}


def row(task: tuple[str, int]) -> dict[str, Any]:
    """The end of one simulated study."""
    name, seed = task
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = LAYOUTS[name](seed)
    finalists = choose(study.finished, ACCURACY, FINALISTS)
    best = best_of_pool()
    drawn = [
        study.random.choice(surrogates()[one.family].outcomes(one.parameters), SEEDS)
        for one in finalists
    ]
    means = [own.mean() - (own <= COLLAPSED).any() for own in drawn]
    winner = finalists[int(np.argmax(means))]
    families = [one.family for one in finalists]
    trials = [sum(one.family == family for one, _ in study.finished) for family in families]
    collapses = surrogates()[winner.family].outcomes(winner.parameters) <= COLLAPSED
    return {
        "layout": name,
        "behind": 100 * (max(best.values()) - expected(winner.family, winner.parameters)),
        "collapses": 100 * collapses.mean(),
        "best family": 100 * (max(best, key=lambda family: best[family]) in families),
        "unequal": max(trials) - min(trials),
        "default": 100 * (winner.drawn_by == "fixed"),
    }


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    tasks = [(name, seed) for name in LAYOUTS for seed in range(STUDIES)]
    with ProcessPoolExecutor(CORES, get_context("spawn")) as workers:
        rows = pd.DataFrame(workers.map(row, tasks, chunksize=20))
    grouped = rows.groupby("layout", sort=False)
    table = grouped.mean().assign(
        error=grouped["behind"].sem(), worst=grouped["behind"].quantile(0.9)
    )
    columns = ["behind", "error", "worst", "collapses", "best family", "unequal", "default"]
    print(table[columns].round(3).to_string())
    print(f"{len(pd.read_csv(POOL))} runs; behind: points of accuracy, mean and its standard error")
    print(pd.Series(best_of_pool()).sort_values())
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
