"""Stopping when finalists can be told apart: how often that is wrong, and how soon it is right."""

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from study.results.sequential import (
    Race,
    found_above,
    looks_of,
    p_value,
    sign_flips,
    signed_ranks,
    spent,
)
from study.results.study_record import Look

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
        race = Simulated.of(range(len(effects)), MOST)
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
    assert outcome.winners.sum() <= most


@pytest.mark.parametrize("draw", SEEDS)
@pytest.mark.parametrize(("effect", "named", "runs"), [(1.0, 0.8, 50), (1.6, 0.95, 36)])
def test_the_best_is_named_soon(draw: Draw, effect: float, named: float, runs: float) -> None:
    outcome = simulated(draw, (0.0, 0.0, 0.0, effect))
    assert outcome.winners[-1] >= named
    assert outcome.runs <= runs


def test_looks_are_those_of_the_plan() -> None:
    assert looks_of(20) == (7, 10, 13, 16, 20)
    assert looks_of(12) == (7, 10, 12)
    assert looks_of(7) == (7,)
    assert looks_of(30) == (7, 10, 13, 16, 20, 24, 28, 30)
    assert looks_of(6) == (), "fewer can reject nothing"
    assert spent(0) == 0
    assert spent(1) == pytest.approx(0.025)


@pytest.mark.parametrize("seeds", [5, 16, 20, 30])
def test_sign_flips_are_a_group(seeds: int) -> None:
    """Which makes the test exact: the product of two is one of them."""
    flips = sign_flips(seeds, 10)
    assert flips.shape == (2 ** min(seeds, 10), seeds)
    assert (flips[0] == 1).all()
    every = {tuple(row) for row in flips}
    assert len(every) == len(flips)
    some = np.random.default_rng(0).integers(len(flips), size=(50, 2))
    assert all(tuple(flips[one] * flips[other]) in every for one, other in some)
    assert (flips.mean(axis=0) == 0).all()
    assert len({tuple(column) for column in flips.T}) == seeds, "no two flip together"


def test_ranks_and_p_values_are_scipys() -> None:
    differences = np.random.default_rng(5).normal(0.4, 1, 12)
    assert p_value(differences) == pytest.approx(
        stats.wilcoxon(differences, alternative="greater", method="exact").pvalue
    )
    tied = np.array([[0.3, -0.1, 0.1, 0.0, math.nan, math.inf, -0.3]])
    assert signed_ranks(tied).tolist() == [[5.5, -3.5, 3.5, 0, 0, 7, -5.5]]


def test_each_look_spends_what_it_may() -> None:
    """Seven of seven above 0 are found at the first look: one flip of 128, where 1.5 may go."""
    all_above = np.arange(1.0, 8)[None]
    assert found_above(all_above, 20).tolist() == [[True]]
    one_below = np.array([[-1.0, 2, 3, 4, 5, 6, 7]])
    assert found_above(one_below, 20).tolist() == [[False]]
    assert found_above(one_below, 7).tolist() == [[True]], "the only look may spend 3 of 128"


def standing_of(look: Look) -> tuple[int | None, int | None]:
    return look.leader, look.second


def raced(values: Array, order: int | None = None) -> list[Look]:
    """The looks of a race whose runs come in some order, each when it is wanted."""
    race = Race.of(range(len(values)), values.shape[1])
    random = np.random.default_rng(order)
    while wanted := race.standing().wanted:
        place = wanted[0] if order is None else wanted[random.integers(len(wanted))]
        race.enter(*place, values[place])
    return race.standing().looks


def test_the_looks_do_not_depend_on_the_order_of_the_runs() -> None:
    """Nor on a kill between them: whoever goes on has the same outcomes."""
    random = np.random.default_rng(11)
    for _ in range(3):
        values = random.normal(size=(4, MOST)) + np.array([[0.0], [0.4], [1.0], [-1.0]])
        values[random.random(values.shape) < 0.02] = -math.inf
        looks = raced(values)
        assert looks
        assert all(raced(values, order) == looks for order in range(2))


def test_a_beaten_finalist_pauses_and_is_trained_where_the_winner_has_not_beaten_it() -> None:
    """Position 2 loses to 1 at once; when 0 beats 1, it needs the seeds that 2 lacks."""
    noise = np.random.default_rng(8).normal(size=(3, MOST))
    values = np.array([[1.4], [0.7], [0.0]]) + 0.5 * noise
    race, counts = Race.of(range(len(values)), values.shape[1]), []
    while wanted := race.standing().wanted:
        race.enter(*wanted[0], values[wanted[0]])
        counts.append(race.is_there.sum(axis=1).tolist())
    first, *_, last = race.standing().looks
    assert first.beaten == [(1, 2)]
    assert [13, 13, 7] in counts, "the two others have two more looks without it"
    assert counts[-1] == [13, 13, 13]
    assert (last.leader, last.second) == (0, None)
    assert {(0, 1), (0, 2)} <= set(last.beaten)


def test_one_that_collapses_is_no_candidate_and_one_whose_runs_fail_is_none() -> None:
    values = np.random.default_rng(1).normal(size=(3, 10)) * 0.01
    values[0] += 1
    values[0, 3] = -math.inf
    last = raced(values)[-1]
    assert last.leader in (1, 2)
    assert not {pair for pair in last.beaten if 0 in pair}
    values[1] = math.nan
    assert standing_of(raced(values)[-1]) == (2, None), "the only one that is left"
    values[2, 0] = -math.inf
    assert standing_of(raced(values)[-1]) == (None, None)


def test_it_ends_where_more_seeds_would_not_help() -> None:
    values = np.tile(np.random.default_rng(2).normal(size=MOST), (2, 1))
    looks = raced(values)
    assert [(look.seeds, look.ends) for look in looks] == [(7, False), (10, True)]
    assert looks[-1].p > 0.3
    assert looks[-1].second is not None


def test_a_failed_run_counts_for_nothing() -> None:
    values = np.random.default_rng(4).normal(size=(2, MOST)) + np.array([[2.0], [0.0]])
    values[1, 2] = math.nan
    assert standing_of(raced(values)[-1]) == (0, None)
