"""Which layout of a study's trials ends with a good configuration: simulated on real runs.

``python -m benchmarks.allocation`` reads ``benchmarks/pool.csv``, of :mod:`benchmarks.pool`, and
prints a table: how far the configuration that a study of 40 trials ends with lies behind the best
of the pool, and how often the best family is among its finalists. A surrogate stands between the
runs of the pool, since a sampler wants values anywhere; the trials are Optuna's.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from benchmarks.pool import COLD, POOL, WARM, Range
from search_spaces import FAMILIES, SearchSpace, select
from search_spaces.family import Parameters
from study.search.sampler import ResumableTPE
from study.search.trial_plan import Plan
from study.system.command_line import exit_status

TRIALS, FINALISTS, STUDIES, CORES = 40, 4, 200, 2
NEIGHBOURS = 12
"""Runs of the pool whose residuals, and collapses, a simulated run draws from."""
CHANCE = 0.1
POOR = 0.05
"""Error above which runs are all alike to the surrogate."""
SEEDS = 10
"""Of the finalists."""


class Surrogate:
    """Validation accuracies of one family, between the runs of the pool.

    Args:
        family: its name.
        runs: of the pool, those of the family.
    """

    def __init__(self, family: str, runs: pd.DataFrame) -> None:
        self._ranges = FAMILIES[family].searched(WARM.peak_lr, WARM.extras)
        self.configurations = [json.loads(text) for text in runs["parameters"]]
        self._points = np.array([self._point(one) for one in self.configurations])
        self._collapsed = (runs["status"] != "completed").to_numpy()
        kept = ~self._collapsed
        errors = np.log10(1 - runs["val_accuracy"].to_numpy()[kept])
        errors = np.minimum(errors, np.log10(POOR))  # how poor a poor one is tells nothing
        dimensions = self._points.shape[1]
        smooth = RBF(np.ones(dimensions), [(0.2, 20.0)] * dimensions)
        kernel = ConstantKernel(1.0, (0.1, 20.0)) * smooth + WhiteKernel(0.3, (0.05, 2.0))
        self._process = GaussianProcessRegressor(
            kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parameters that decide nothing
            self._process.fit(self._points[kept], errors)
        self._lengths = np.clip(self._process.kernel_.k1.k2.length_scale, 0.1, 3)
        self._residuals = np.full(len(runs), np.nan)
        self._residuals[kept] = errors - self._process.predict(self._points[kept])

    def outcomes(self, parameters: Parameters) -> np.ndarray[Any, Any]:
        """Accuracies that a run may come to, each as likely: (NEIGHBOURS,)."""
        point = self._point(parameters)
        distances = np.linalg.norm((self._points - point) / self._lengths, axis=1)
        near = np.argsort(distances)[:NEIGHBOURS]
        middle = self._process.predict(point[None])[0]
        accuracies = 1 - 10 ** (middle + self._residuals[near])
        return np.where(self._collapsed[near], CHANCE, accuracies)

    def _point(self, parameters: Parameters) -> np.ndarray[Any, Any]:
        """The parameters between 0 and 1, or beyond."""
        place = []
        for name, range_ in self._ranges.items():
            value: Any = parameters.get(name, 0.0)
            if isinstance(range_, CategoricalDistribution):
                place.append(float(range_.choices.index(value)))
                continue
            low, high = range_.low, range_.high  # type: ignore[attr-defined]
            if range_.log:  # type: ignore[attr-defined]
                low, high, value = math.log(low), math.log(high), math.log(value)
            place.append((value - low) / (high - low))
        return np.array(place)


@cache
def surrogates() -> dict[str, Surrogate]:
    """Of every family of the pool."""
    pool = pd.read_csv(POOL)
    return {str(family): Surrogate(str(family), own) for family, own in pool.groupby("family")}


class Tried(NamedTuple):
    """A trial of a simulated study."""

    family: str
    parameters: Mapping[str, Any]
    value: float


@dataclass(frozen=True)
class Layout:
    """A plan as the sampler asks it, whose families are all given by the candidate."""

    space: SearchSpace
    startup: int

    def drawn_by(self, number: int) -> str:
        """random or tpe."""
        return "random" if number < self.startup else "tpe"


class Study:
    """A simulated study.

    Args:
        seed: of everything random.
        range_: peak rates and warm-ups that are searched.
        startup: trials before TPE.
    """

    def __init__(self, seed: int, range_: Range, startup: int) -> None:
        self.families = select("classic")
        self.space = SearchSpace(self.families, range_.peak_lr, range_.extras)
        self._random = np.random.default_rng(seed)
        sampler = ResumableTPE(seed, Layout(self.space, startup))  # type: ignore[arg-type]
        self._optuna = optuna.create_study(direction="maximize", sampler=sampler)
        self.tried: list[Tried] = []

    @property
    def left(self) -> int:
        """Trials."""
        return TRIALS - len(self.tried)

    def run(self, family: str | None = None, parameters: Mapping[str, Any] = {}) -> Tried:
        """One more trial, of what is not given as Optuna proposes it."""
        if family:
            fixed = {f"{family}.{name}": value for name, value in parameters.items()}
            self._optuna.enqueue_trial({"family": family, **fixed})
        trial = self._optuna.ask()
        family = trial.suggest_categorical("family", self.families)
        drawn = FAMILIES[family].suggest(trial, self.space.peak_lr, self.space.extras)
        value = float(self._random.choice(surrogates()[family].outcomes(drawn)))
        self._optuna.tell(trial, value)
        self.tried.append(Tried(family, drawn, value))
        return self.tried[-1]

    def defaults(self) -> None:
        """Each family's default."""
        for family in self.families:
            self.run(family, FAMILIES[family].default(self.space.peak_lr, self.space.extras))

    def best(self, families: Sequence[str] = ()) -> list[Tried]:
        """The best trial of each family, best first."""
        found: dict[str, Tried] = {}
        for one in sorted(self.tried, key=lambda one: -one.value):
            if not families or one.family in families:
                found.setdefault(one.family, one)
        return [*found.values()]

    def finalists(self, families: Sequence[str] = (), default: bool = True) -> list[Tried]:
        """The best of the best families, the control, and the default of the best of them."""
        best = self.best(families)
        control = [one for one in best if one.family == "constant"]
        first, *others = [one for one in best if one.family != "constant"]
        own = next(one for one in self.tried if one.family == first.family)
        extra = [own] if default and own is not first else []
        return [first, *control, *extra, *others][:FINALISTS]

    def end(self, finalists: Sequence[Tried]) -> Tried:
        """The one with the best mean over fresh seeds, unless it collapses under one."""
        drawn = [
            self._random.choice(surrogates()[one.family].outcomes(one.parameters), SEEDS)
            for one in finalists
        ]
        means = [own.mean() - (own.min() <= CHANCE) for own in drawn]
        return finalists[int(np.argmax(means))]


def joint_as_it_is(seed: int) -> tuple[Study, list[Tried]]:
    """TPE chooses families; no warm-ups; wide peak rates; two controls at their middle."""
    study = Study(seed, COLD, 16)
    for family in ("constant", "linear_to_zero"):
        study.run(family, {"peak_lr": math.sqrt(0.003 * 0.3)})
    others = [one for one in study.families if one not in ("constant", "linear_to_zero")]
    turns = ["constant", "linear_to_zero", *others]
    while study.left:
        number = len(study.tried)
        study.run(turns[number % len(turns)] if number < 16 else None)
    return study, study.finalists(default=False)


def scores(study: Study, how: str) -> dict[str, list[tuple[float, Tried]]]:
    """By family: configurations with what they are judged by, best first."""
    found: dict[str, list[tuple[float, Tried]]] = {}
    for family in study.families:
        own = [one for one in study.tried if one.family == family]
        groups: dict[str, list[Tried]] = {}
        for one in own:
            groups.setdefault(json.dumps(one.parameters, sort_keys=True), []).append(one)
        judged = []
        surrogate = surrogates()[family]
        points = [surrogate._point(one.parameters) for one in own]
        for group in groups.values():
            value = float(np.mean([one.value for one in group]))
            if how == "neighbour" and len(own) > 1:
                at = surrogate._point(group[0].parameters)
                order = np.argsort([np.linalg.norm(at - p) for p in points])
                value = float(np.mean([own[k].value for k in order[:2]]))
            judged.append((value, group[0]))
        judged.sort(key=lambda pair: -pair[0])
        if judged:
            found[family] = judged
    return found


def family_scores(found: dict[str, list[tuple[float, Tried]]], how: str) -> dict[str, float]:
    if how == "two":
        return {f: float(np.mean([v for v, _ in own[:2]])) for f, own in found.items()}
    if how == "median":
        return {f: float(np.median([v for v, _ in own])) for f, own in found.items()}
    return {f: own[0][0] for f, own in found.items()}


def chosen(study: Study, how: str, extra: str, alive: Sequence[str] = ()) -> list[Tried]:
    found = {f: own for f, own in scores(study, how).items() if not alive or f in alive}
    by_family = family_scores(found, how)
    order = sorted(by_family, key=lambda f: -by_family[f])
    others = [f for f in order if f != "constant"]
    first = others[0]
    default_of = {one.family: one for one in study.tried[:9]}
    picked = [found[first][0][1]]
    if "constant" in found:
        picked.append(found["constant"][0][1])
    wanted: list[Tried] = []
    if extra == "own default":
        wanted = [default_of[first]]
    if extra == "best default":
        wanted = [max((one for one in study.tried[:9]), key=lambda one: one.value)]
    if extra == "both":
        wanted = [default_of[first], max(study.tried[:9], key=lambda one: one.value)]
    picked += [
        one
        for one in wanted
        if all(one.parameters != other.parameters or one.family != other.family for other in picked)
    ]
    picked += [found[f][0][1] for f in others[1:]]
    return picked[:FINALISTS]


def survivors(study: Study, alive: Sequence[str], count: int, how: str) -> list[str]:
    by_family = {f: v for f, v in family_scores(scores(study, how), how).items() if f in alive}
    kept = sorted(by_family, key=lambda f: -by_family[f])[:count]
    return kept if "constant" in kept else [*kept[: count - 1], "constant"]


def again(study: Study, count: int) -> None:
    """A second seed for the leading configurations."""
    best = sorted(study.tried, key=lambda one: -one.value)[:count]
    for one in best:
        study.run(one.family, one.parameters)


def a_study(
    seed: int,
    kind: str,
    startup: int = 18,
    range_: Range = WARM,
    how: str = "one",
    extra: str = "own default",
    reserve: int = 0,
    first: int = 24,
    sizes: Sequence[tuple[int, int]] = ((5, 3), (3, 6)),
) -> tuple[Study, list[Tried]]:
    study = Study(seed, range_, startup)
    study.defaults()
    alive: Sequence[str] = ()
    if kind == "joint":
        while study.left > reserve:
            study.run()
    elif kind == "balanced":
        while study.left > reserve:
            study.run(study.families[len(study.tried) % len(study.families)])
    elif kind == "halving":
        alive = study.families
        for count, more in sizes:
            alive = survivors(study, alive, count, how)
            for _ in range(more):
                for family in alive:
                    if study.left > reserve:
                        study.run(family)
    elif kind == "levelled":
        while len(study.tried) < first:
            study.run()
        alive = survivors(study, study.families, 3, how)
        while study.left > reserve:
            counts = {one: sum(t.family == one for t in study.tried) for one in alive}
            study.run(min(alive, key=lambda one: counts[one]))
    if reserve:
        again(study, reserve)
    return study, chosen(study, how, extra, alive)


NARROW = Range((0.02, 0.3), {"warmup_fraction": FloatDistribution(0.0, 0.3)})
UPPER = Range((0.03, 0.3), {"warmup_fraction": FloatDistribution(0.05, 0.3)})
CANDIDATES: dict[str, Callable[[int], tuple[Study, list[Tried]]]] = {
    "joint as it is": joint_as_it_is,
    "defaults alone": partial(a_study, kind="none"),
}
RANGES = {
    "0.02-0.3": NARROW,
    "0.01-0.4": WARM,
    "0.03-0.3": UPPER,
    "0.02-0.25": Range((0.02, 0.25), NARROW.extras),
}
CANDIDATES["joint 9"] = partial(a_study, kind="joint", how="one", range_=NARROW, startup=9)
CANDIDATES["levelled 9 24"] = partial(a_study, kind="levelled", how="one", range_=NARROW, startup=9)
CANDIDATES["levelled 9 30"] = partial(a_study, kind="levelled", how="one", range_=NARROW, startup=9, first=30)
CANDIDATES["halving one 7x2 4x4"] = partial(a_study, kind="halving", how="one", range_=NARROW, startup=9, sizes=((5,2),(3,7)))
CANDIDATES["halving one reserve"] = partial(a_study, kind="halving", how="one", range_=NARROW, startup=9, reserve=4)
CANDIDATES["halving one none"] = partial(a_study, kind="halving", how="one", range_=NARROW, startup=9, extra="none")


def mean(one: Tried) -> float:
    own = surrogates()[one.family].outcomes(one.parameters)
    return float(own[own > CHANCE].mean())


def collapses(one: Tried) -> float:
    return float((surrogates()[one.family].outcomes(one.parameters) <= CHANCE).mean())


@cache
def pool_best() -> dict[str, float]:
    """Highest expected accuracy of the pool's configurations, by family."""
    return {
        family: max(
            float(found.mean())
            for one in own.configurations
            if (found := own.outcomes(one)).min() > CHANCE
        )
        for family, own in surrogates().items()
    }


def outcome(task: tuple[str, int]) -> dict[str, Any]:
    name, seed = task
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, finalists = CANDIDATES[name](seed)
    end = study.end(finalists)
    best = pool_best()
    counts = [sum(t.family == one.family for t in study.tried) for one in finalists]
    return {
        "candidate": name,
        "behind": max(best.values()) - mean(end),
        "collapses": collapses(end),
        "best family": max(best, key=best.__getitem__) in {one.family for one in finalists},
        "top 3": len(
            set(sorted(best, key=best.__getitem__)[-3:]) & {one.family for one in finalists}
        ),
        "unequal": max(counts) - min(counts),
        "default": any(end is one for one in study.tried[:9]),
        "family": end.family,
    }


def main(arguments: Sequence[str]) -> int:
    names = arguments or list(CANDIDATES)
    tasks = [(name, seed) for name in names for seed in range(STUDIES)]
    with ProcessPoolExecutor(CORES, get_context("spawn")) as workers:
        rows = pd.DataFrame(workers.map(outcome, tasks, chunksize=20))
    best = pool_best()
    print(pd.Series(best).sort_values())
    table = rows.groupby("candidate", sort=False).agg(
        behind=("behind", "mean"),
        worst=("behind", lambda own: own.quantile(0.9)),
        collapses=("collapses", "mean"),
        best=("best family", "mean"),
        top3=("top 3", "mean"),
        unequal=("unequal", "mean"),
        default=("default", "mean"),
    )
    print((table * [100, 100, 100, 100, 1, 1, 100]).round(3).to_string())
    print(
        rows.groupby("candidate", sort=False)["family"]
        .value_counts()
        .unstack(fill_value=0)
        .to_string()
    )
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
