"""Which finalists can be told apart by the seeds so far: a test that may be looked at as it goes.

A group-sequential signed-rank test of paired differences, by sign flips, whose error is spent over
looks that are fixed beforehand: however often it is looked at, of two that are alike neither is
called better by more than :data:`ALPHA` (Plamadeala & Rosenberger, arXiv 1205.6043; Lan & DeMets,
Biometrika 70, 1983; of unpaired means, AdaStop, arXiv 2306.10882).
"""

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from study.results.study_record import Look

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
ALPHA = 0.025
"""Error of an ordered pair over all looks, so 5% of a pair."""
LOOKS = (7, 10, 13, 16, 20)
"""Seeds at the first looks; fewer can reject nothing. Then every fourth."""
FUTILE_FROM, FUTILE = 10, 0.3
"""From so many seeds on, and above this p-value, more would hardly tell the two best apart."""
EXACT = 16
"""Seeds up to which all sign flips are taken; of more, 2**16 of them."""
DIGITS = 9
"""Relative to the largest value. What differs less is a tie: 0.9871 - 0.9870 is inexact."""


def looks_of(most: int) -> tuple[int, ...]:
    """Numbers of seeds at which to look, where there are at most so many; none below 7."""
    every = (*LOOKS, *range(LOOKS[-1] + 4, most, 4))
    return (*(seeds for seeds in every if seeds < most), most) if most >= LOOKS[0] else ()


def spent(share: float) -> float:
    """The error spent after a share of the seeds, :data:`ALPHA` at 1 (Lan & DeMets' Pocock)."""
    return ALPHA * math.log1p((math.e - 1) * share)


def found_above(differences: Array, most: int, exact: int = EXACT) -> Flags:
    """Paired differences that are above 0, at each look that there are seeds for: (pairs, looks).

    The chance that any look says so of differences that are symmetric about 0 is no more than
    :data:`ALPHA`.

    Args:
        differences: (pairs, seeds). Infinite ones, of a run that collapsed, rank highest; NaN
            counts for nothing.
        most: seeds of the plan.
        exact: as :data:`EXACT`; simulations take less.
    """
    seeds = differences.shape[1]
    signs = sign_flips(seeds, exact)
    is_retired = np.zeros((len(differences), len(signs)), bool)
    found = []
    for look in (one for one in looks_of(most) if one <= seeds):
        ranks = signed_ranks(differences[:, :look])
        sums = rank_sums(ranks, signs[:, :look])
        left = int(spent(look / most) * len(signs)) - is_retired.sum(axis=1)
        alive = np.where(is_retired, -np.inf, sums)
        highest = -np.sort(np.partition(-alive, left.max(), axis=1)[:, : left.max() + 1], axis=1)
        # What exceeds the first sum for which nothing is left can be paid, ties and all.
        critical = np.take_along_axis(highest, left[:, None], axis=1)
        is_retired |= sums > critical
        found.append(ranks.sum(axis=1) > critical[:, 0])
    return np.stack(found, axis=1)


def p_value(differences: Array, exact: int = EXACT) -> float:
    """The share of sign flips with a rank sum no lower than that of these differences: (seeds,)."""
    ranks = signed_ranks(differences[None])
    return float((rank_sums(ranks, sign_flips(len(differences), exact)) >= ranks.sum()).mean())


def rank_sums(ranks: Array, signs: Array) -> Array:
    """The sum of signed ranks under each flip: (pairs, flips), exact although of half the bytes."""
    return ranks.astype(signs.dtype) @ signs.T  # of two types it would take ten times as long


def paired_differences(values: Array, others: Array) -> Array:
    """By how much the values are higher, (seeds,); equal ones where only rounding differs."""
    pair = np.array([values, others])
    scale = np.abs(pair[np.isfinite(pair)]).max(initial=0) or 1.0
    with np.errstate(invalid="ignore"):  # where both are infinite
        apart: Array = np.round((pair[0] - pair[1]) / scale, DIGITS) * scale
    return apart


def signed_ranks(differences: Array) -> Array:
    """The rank of each difference by its size, with its sign; ties share the mean of theirs."""
    sizes = np.nan_to_num(np.abs(differences), posinf=np.inf)
    # As SciPy's rankdata has them, which takes a second to import: a study would wait for it.
    below = (sizes[:, :, None] > sizes[:, None, :]).sum(axis=2)
    alike = (sizes[:, :, None] == sizes[:, None, :]).sum(axis=2)
    ranks: Array = np.sign(np.nan_to_num(differences)) * (below + (alike + 1) / 2)
    return ranks


@cache
def sign_flips(seeds: int, exact: int) -> Array:
    """All flips of the signs of so many differences, that of none first: (flips, seeds) of 1, -1.

    Of more than ``exact`` seeds a group of them, which makes a test exact as all do: all flips of
    the first seeds, where each further seed flips with the product of some.
    """
    first = min(seeds, exact)
    bits = np.arange(2**first)[:, None] >> np.arange(first) & 1
    random = np.random.default_rng(1)
    some = [random.permutation(np.arange(first) % 2) for _ in range(first, seeds)]
    further = [bits @ mask % 2 for mask in some]
    return (1 - 2 * np.column_stack([bits, *further])).astype(np.float32)


class Standing(NamedTuple):
    """The looks so far, and the runs that are wanted for the next."""

    looks: list[Look]
    wanted: list[tuple[int, int]]
    """Position of a finalist, and seed, in the order of the seeds; none where all is done."""


@dataclass
class Race:
    """Finalists under seeds that all of them share, up to a decision.

    The looks follow from the outcomes, in whatever order they came: whoever resumes finds the same.
    Finalists go by their positions, but in a look by their trials.
    """

    trials: Sequence[int]
    values: Array
    """(finalists, seeds), higher is better; -inf where a run collapsed, NaN where it has none."""
    is_there: Flags
    """(finalists, seeds): True of runs that have ended, whatever they came to."""
    _better: dict[tuple[int, int, int], bool] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Sequence[int], most: int) -> Self:
        """A race that has not begun, under at most so many seeds."""
        shape = len(trials), most
        return cls(trials, np.full(shape, math.nan), np.zeros(shape, bool))

    def enter(self, finalist: int, seed: int, value: float) -> None:
        """Take in the outcome of a run."""
        self.values[finalist, seed], self.is_there[finalist, seed] = value, True

    def standing(self) -> Standing:
        """The looks for which there are outcomes. Without any (below 7 seeds) all are wanted."""
        most = self.values.shape[1]
        looks: list[Look] = []
        beaten: set[tuple[int, int]] = set()
        for seeds in looks_of(most):
            while True:
                rivals = self._rivals(beaten, seeds)
                if wanted := self._missing(rivals, seeds):
                    return Standing(looks, wanted)
                pairs = set(permutations(rivals, 2)) - beaten
                found = {pair for pair in pairs if self.is_better(*pair, seeds)}
                if not found:
                    break
                beaten |= found  # and who was beaten by one that is beaten now may be a rival again
            looks.append(self._look(rivals, beaten, seeds))
            if looks[-1].ends:
                return Standing(looks, [])
        return Standing(looks, self._missing(range(len(self.values)), most))

    def is_better(self, one: int, other: int, seeds: int) -> bool:
        """True if any look up to these seeds has found one finalist better than another."""
        key = one, other, seeds
        if key not in self._better:
            most, differences = self.values.shape[1], self._differences(*key)
            self._better[key] = bool(found_above(differences[None], most).any())
        return self._better[key]

    def p(self, one: int, other: int, seeds: int) -> float:
        """The p-value of one finalist against another at these seeds, not corrected for looks."""
        return p_value(self._differences(one, other, seeds))

    def _differences(self, one: int, other: int, seeds: int) -> Array:
        return paired_differences(self.values[one, :seeds], self.values[other, :seeds])

    def _rivals(self, beaten: Set[tuple[int, int]], seeds: int) -> list[int]:
        """Finalists that the next look is about, the best first.

        Those that no other candidate has beaten, or the only such and those that it has not beaten
        itself. One that collapsed under some seed is no candidate.
        """
        own = self.values[:, :seeds]
        means = np.nanmean(np.where(np.isnan(own).all(axis=1, keepdims=True), 0, own), axis=1)
        out = self._out(seeds)
        alive = [one for one in range(len(own)) if one not in out]
        candidates = sorted(alive, key=lambda one: -means[one])
        unbeaten = [one for one in candidates if not any((by, one) in beaten for by in candidates)]
        if len(unbeaten) == 1:
            (only,) = unbeaten
            others = [one for one in candidates if one != only and (only, one) not in beaten]
            return [only, *others]
        return unbeaten or candidates

    def _out(self, seeds: int) -> list[int]:
        """Finalists that are no candidates."""
        own, is_there = self.values[:, :seeds], self.is_there[:, :seeds]
        has_none = is_there.all(axis=1) & ~np.isfinite(own).any(axis=1)
        return [int(one) for one in np.flatnonzero(has_none | np.isneginf(own).any(axis=1))]

    def _missing(self, finalists: Iterable[int], seeds: int) -> list[tuple[int, int]]:
        chosen = sorted(finalists)
        return [
            (one, seed) for seed in range(seeds) for one in chosen if not self.is_there[one, seed]
        ]

    def _look(self, rivals: list[int], beaten: Set[tuple[int, int]], seeds: int) -> Look:
        first, second = [*rivals, None, None][:2]
        p = 0.0 if first is None or second is None else self.p(first, second, seeds)
        is_last = seeds == self.values.shape[1]
        ends = second is None or is_last or (seeds >= FUTILE_FROM and p > FUTILE)
        leader, follower = (None if one is None else self.trials[one] for one in (first, second))
        pairs = [(self.trials[better], self.trials[worse]) for better, worse in sorted(beaten)]
        out = [self.trials[one] for one in self._out(seeds)]
        return Look(seeds, leader, follower, p, pairs, out, ends)
