"""Rankings of trials: a metric's name, its direction, and how it is written."""

from dataclasses import dataclass
from typing import Any, Literal

SIGNIFICANT = 4
"""Digits of a value that is no share."""


@dataclass(frozen=True)
class Ranking:
    """All that tables, figures and reports need to know of a metric.

    Raises:
        ValueError: a direction that is neither ``maximize`` nor ``minimize``.
    """

    name: str
    """As it is to be written: ``accuracy``, ``RMSE``."""
    direction: Literal["maximize", "minimize"]
    percent: bool = False
    """A share of 1, to be written in percent."""

    def __post_init__(self) -> None:
        if self.direction not in ("maximize", "minimize"):
            raise ValueError(
                f"the direction of metric {self.name!r} must be maximize or minimize, "
                f"not {self.direction!r}"
            )

    @property
    def column(self) -> str:
        """``accuracy``, or ``metric`` for any other: as in the tables' ``val_<column>``."""
        return "accuracy" if self.name == "accuracy" else "metric"

    def cost(self, value: float) -> float:
        """The value turned so that lower is better."""
        return -value if self.direction == "maximize" else value

    def text(self, value: float) -> str:
        """The value as people read it."""
        return f"{value:.2%}" if self.percent else f"{value:.{SIGNIFICANT}g}"

    def to_json(self) -> dict[str, Any]:
        """Arguments of ``Ranking``, as JSON."""
        return {"name": self.name, "direction": self.direction, "percent": self.percent}


BY_ACCURACY = Ranking("accuracy", "maximize", percent=True)
