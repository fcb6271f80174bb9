"""Stopping when finalists can be told apart: how often that is wrong, and how soon it is right."""

from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from study.results.sequential import Race, found_above, looks_of, p_value

MOST = 20
FEW = 12
"""Of simulations: flips of 2**12."""
STUDIES = 400
Array = np.ndarray[Any, Any]
Draw = Callable[..., Array]


def normal(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return random.normal(size=size)


def heavy(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return random.standard_t(3, size)


def skewed(random: np.random.Generator, size: tuple[int, ...]) -> Array:
    return -random.lognormal(size=size)


SEEDS = (normal, heavy, skewed)


class Simulated(Race):
    """A race whose tests were all made beforehand, together with those of the other studies."""

    tests: Array
    """(finalists, finalists, looks)."""

    def is_better(self, one: int, other: int, seeds: int) -> bool:
        return bool(self.tests[one, other, looks_of(MOST).index(seeds)])

    def p(self, one: int, other: int, seeds: int) -> float:
        return p_value(self._differences(one, other, seeds), FEW)


def ranked_far(differences: Array) -> Array:
    """Which pairs may be told apart at all; a look asks for more than this."""
    sizes = stats.rankdata(abs(differences), axis=2) * np.sign(differences)
    sums, squares = sizes.cumsum(axis=2), (sizes**2).cumsum(axis=2)
    return np.asarray((sums / np.sqrt(squares) > 1)[:, :, 6:].any(axis=2))


class Outcome(NamedTuple):
    """Shares of the studies, and runs."""

    winners: Array
    """Of each finalist."""
    runs: float
    """On average."""


def simulated(draw: Draw, effects: tuple[float, ...], seed: int = 0) -> Outcome:
    """Studies whose finalists are better by so many deviations of a paired difference."""
    random = np.random.default_rng(seed)
    noise = draw(random, (STUDIES, len(effects), MOST))
    # Of any distribution: the deviation of the difference of two, by many draws.
    unit = np.std(np.diff(draw(np.random.default_rng(99), (2, 100_000)), axis=0))
    values = noise + unit * np.array(effects)[:, None]
    pairs = list(permutations(range(len(effects)), 2))
    differences = np.stack([values[:, one] - values[:, other] for one, other in pairs], axis=1)
    tests = np.zeros((STUDIES, len(effects), len(effects), len(looks_of(MOST))), bool)
    maybe = ranked_far(differences)
    found = np.logical_or.accumulate(found_above(differences[maybe], MOST, FEW), axis=1)
    places = np.argwhere(maybe)
    for (study, pair), looks in zip(places, found, strict=True):
        tests[study][pairs[pair]] = looks
    winners, runs = np.zeros(len(effects)), 0
    for study in range(STUDIES):
        race = Simulated(np.full(values.shape[1:], np.nan), np.zeros(values.shape[1:], bool))
        race.tests = tests[study]
        while (standing := race.standing()).wanted:
            for place in standing.wanted:
                race.values[place], race.is_there[place] = values[study][place], True
        last = standing.looks[-1]
        if last.second is None and last.leader is not None:
            winners[last.leader] += 1 / STUDIES
        runs += race.is_there.sum()
    return Outcome(winners, runs / STUDIES)


@pytest.mark.parametrize("draw", SEEDS)
@pytest.mark.parametrize("alike", [2, 3, 4])
def test_of_those_that_are_alike_none_is_named(draw: Draw, alike: int) -> None:
    """Two, three or all best alike; in 5% of the studies, and what chance adds to 400."""
    effects = (0.0,) * alike + (-2.0,) * (4 - alike)
    most = 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES)
    outcome = simulated(draw, effects)
    print(draw.__name__, alike, outcome)
    assert outcome.winners.sum() <= most


@pytest.mark.parametrize("draw", SEEDS)
@pytest.mark.parametrize(("effect", "named", "runs"), [(1.0, 0.8, 50), (1.6, 0.95, 36)])
def test_the_best_is_named_soon(draw: Draw, effect: float, named: float, runs: float) -> None:
    outcome = simulated(draw, (0.0, 0.0, 0.0, effect))
    print(draw.__name__, effect, outcome)
    assert outcome.winners[-1] >= named
    assert outcome.runs <= runs
