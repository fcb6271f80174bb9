"""The part of a trial that is settled by its number, before the sampler is asked."""

from dataclasses import dataclass

from search_spaces import CONTROLS, FAMILIES, ParameterValue, SearchSpace
from study.settings.choices import Allocation, DrawnBy, Sampler


@dataclass(frozen=True)
class Plan:
    """Layout of a study's trials over the families.

    Each family's default comes first: TPE learns more from them than from as many random draws.
    Then the families take turns (``balanced``), or the sampler chooses (``joint``).
    """

    space: SearchSpace
    allocation: Allocation = "balanced"
    sampler: Sampler = "tpe"

    def drawn_by(self, number: int) -> DrawnBy:
        """The way a trial's parameters are drawn. Only ``random`` ones are independent draws."""
        return "fixed" if number < len(self.space.families) else self.sampler

    def settled(self, number: int) -> dict[str, ParameterValue]:
        """Parameters that are not left to the sampler, as Optuna names them; none, if all are.

        The controls come first, so that a study cut short at any trial of its first turn, or of any
        with ``balanced``, has the same number of each family but for one.
        """
        controls = [name for name in CONTROLS if name in self.space.families]
        others = [name for name in self.space.families if name not in controls]
        families = [*controls, *others]
        name = families[number % len(families)]
        if number < len(families):
            family = FAMILIES[name]
            default = family.default(self.space.peak_lr, self.space.extras)
            return {"family": name} | {
                f"{family.name}.{parameter}": value for parameter, value in default.items()
            }
        return {"family": name} if self.allocation == "balanced" else {}
