"""What trials are ranked by: a metric's name, its direction, and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor


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
        return f"{value:.2%}" if self.percent else f"{value:.4g}"

    def to_json(self) -> dict[str, Any]:
        """What ``Ranking(**content)`` reads."""
        return {"name": self.name, "direction": self.direction, "percent": self.percent}


@dataclass(frozen=True, kw_only=True)
class Metric(Ranking):
    """A metric of a task."""

    compute: Callable[[Tensor, Tensor], Tensor]
    """From all outputs and all targets of a split, (samples, ...) each, to a scalar. They are held
    in memory for it, once an epoch."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of targets, class numbers, whose output is the largest along dimension 1."""
    return (outputs.argmax(1) == targets).double().mean()


def rmse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Root mean squared error.

    Raises:
        ValueError: shapes that differ, which torch would stretch into each other.
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs {tuple(outputs.shape)} against targets {tuple(targets.shape)}")
    return (outputs.double() - targets).square().mean().sqrt()


ACCURACY = Metric("accuracy", "maximize", percent=True, compute=accuracy)
RMSE = Metric("RMSE", "minimize", compute=rmse)
