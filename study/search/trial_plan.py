"""The part of a trial that is settled by its number, before the sampler is asked."""

from dataclasses import dataclass

from search_spaces import CONTROLS, FAMILIES, ParameterValue, SearchSpace
from search_spaces.family import middle
from study.settings.choices import Allocation, DrawnBy, Sampler

STARTUP_TRIALS = 16
"""So many trials are random and visit the families in turn; then comes TPE. More if need be."""
STARTUP_PER_FAMILY = 3
"""The same for each family where each has a TPE of its own."""


@dataclass(frozen=True)
class Plan:
    """Layout of a study's trials over the families."""

    space: SearchSpace
    allocation: Allocation = "joint"
    sampler: Sampler = "tpe"

    @property
    def startup(self) -> int:
        """Trials before TPE takes over."""
        families = len(self.space.families)
        if self.allocation == "balanced":
            return max(STARTUP_TRIALS, STARTUP_PER_FAMILY * families)
        return max(STARTUP_TRIALS, families)

    def drawn_by(self, number: int) -> DrawnBy:
        """The way a trial's parameters are drawn. Only ``random`` ones are independent draws."""
        if number < len(self._controls):
            return "fixed"
        return "random" if self.sampler == "random" or number < self.startup else "tpe"

    def family(self, number: int) -> str | None:
        """The family whose turn it is, or None where the sampler chooses one."""
        if self.allocation != "balanced" and number >= self.startup:
            return None
        families = (*self._controls, *self._others)
        return families[number % len(families)]

    def settled(self, number: int) -> dict[str, ParameterValue]:
        """Parameters that are not left to the sampler, as Optuna names them; none, if all are.

        The families take turns, controls first, so that a study cut short at any trial has the same
        number of each but for one: in the start-up, or throughout with ``balanced``.
        """
        family, drawn_by = self.family(number), self.drawn_by(number)
        if family is None:
            return {}
        if drawn_by == "fixed":
            rates = FAMILIES[family].searched(self.space.peak_lr)["peak_lr"]
            return {"family": family, f"{family}.peak_lr": middle(rates)}
        return {"family": family}

    @property
    def _controls(self) -> list[str]:
        return [name for name in CONTROLS if name in self.space.families]

    @property
    def _others(self) -> list[str]:
        return [name for name in self.space.families if name not in CONTROLS]
