"""The part of a trial that is settled before the sampler is asked: its family, or all of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean
from typing import NamedTuple

from search_spaces import CONTROLS, FAMILIES, ParameterValue, SearchSpace
from study.settings.choices import Allocation, DrawnBy, Sampler

STARTUP_TRIALS = 16
"""So many trials are no TPE's, which needs some to learn from; more if there are more families."""
STARTUP_PER_FAMILY = 3
"""The same for each family where all have equally many to the end."""
LAST = 3
"""Families, the control among them, that the last round is left with."""
Results = Mapping[int, tuple[str, float]]
"""Family and cost, lower is better, of trials that completed, by their numbers."""


class Round(NamedTuple):
    """Trials of some families in turn."""

    begin: int
    """The number of the first."""
    families: int


@dataclass(frozen=True)
class Plan:
    """Layout of a study's trials over the families.

    Each family's default comes first, the controls' before all. Then the families take turns, in
    ``rounds`` that fewer and fewer of them reach, or all of them to the end (``balanced``); or the
    sampler chooses (``joint``).
    """

    space: SearchSpace
    allocation: Allocation = "rounds"
    sampler: Sampler = "tpe"
    num_trials: int = 40

    @property
    def startup(self) -> int:
        """Trials before TPE takes over."""
        families = len(self.space.families)
        if self.allocation == "balanced":
            return max(STARTUP_TRIALS, STARTUP_PER_FAMILY * families)
        return max(STARTUP_TRIALS, families)

    @property
    def rounds(self) -> list[Round]:
        """The rounds after the defaults, each of about as many trials.

        The families halve from one to the next, down to :data:`LAST`. A round in which not each of
        them would have a trial is left out; without any, all of them take turns to the end.
        """
        count = len(self.space.families)
        left = self.num_trials - count
        if self.allocation != "rounds" or count <= LAST or left < LAST:
            return [Round(count, count)]
        sizes = [count]
        while sizes[-1] > LAST:
            sizes.append(max(LAST, math.ceil(sizes[-1] / 2)))
        del sizes[0]
        while left / len(sizes) < sizes[0]:
            del sizes[0]
        shares = [left // len(sizes) // size * size for size in sizes]
        begins = accumulate(shares[:-1], initial=count)
        return [Round(*one) for one in zip(begins, sizes, strict=True)]

    def drawn_by(self, number: int) -> DrawnBy:
        """The way a trial's parameters are drawn. Only ``random`` ones are independent draws."""
        if number < len(self.space.families):
            return "fixed"
        return "random" if self.sampler == "random" or number < self.startup else "tpe"

    def round_of(self, number: int) -> Round | None:
        """The round of a trial; None of a default, or where the sampler chooses the family."""
        begun = [one for one in self.rounds if one.begin <= number]
        return begun[-1] if begun and self.allocation != "joint" else None

    def survivors(self, last: Round, results: Results) -> list[str]:
        """The families of a round, in the order of their turns.

        Those that lead, round by round, by the mean of their two best trials before it: one alone
        may be lucky. The control is always among them.

        Args:
            last: the round.
            results: at least of the trials before it.
        """
        alive = self._in_turn
        for begin, count in self.rounds:
            if count < len(alive):
                costs: dict[str, list[float]] = {}
                for number, (family, cost) in results.items():
                    if number < begin:
                        costs.setdefault(family, []).append(cost)
                scores = {name: mean(sorted(own)[:2]) for name, own in costs.items()}
                order = sorted(alive, key=lambda name: scores.get(name, math.inf))
                control = [name for name in alive if name == CONTROLS[0]]
                others = [name for name in order if name not in control]
                leading = {*control, *others[: count - len(control)]}
                alive = [name for name in alive if name in leading]
            if begin == last.begin:
                break
        return alive

    def settled(self, number: int, turn: Sequence[str]) -> dict[str, ParameterValue]:
        """Parameters that are not left to the sampler, as Optuna names them; none, if all are.

        Args:
            number: the trial's.
            turn: the :meth:`survivors` of its round, if it has one.
        """
        if number < len(self.space.families):
            family = FAMILIES[self._in_turn[number]]
            default = family.default(self.space.peak_lr, self.space.extras)
            named = {f"{family.name}.{name}": value for name, value in default.items()}
            return {"family": self._in_turn[number], **named}
        begun = self.round_of(number)
        return {"family": turn[(number - begun.begin) % len(turn)]} if begun else {}

    @property
    def _in_turn(self) -> list[str]:
        controls = [name for name in CONTROLS if name in self.space.families]
        return [*controls, *(name for name in self.space.families if name not in controls)]
