"""Metrics that trials are ranked by: a name, a direction, and how it is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from study.tasks.ranking import BY_ACCURACY, Ranking
from study.tasks.widest import widest


def not_given(outputs: Any, targets: Any) -> Any:
    """Nothing: the metric is one of the values that the task's ``evaluate`` gives."""
    raise TypeError("this metric has no compute(outputs, targets)")


@dataclass(frozen=True, kw_only=True)
class Metric(Ranking):
    """A metric of a task."""

    compute: Callable[[Any, Any], Any] = not_given
    """From all outputs and all targets of a split, (samples, ...) each, to a scalar. They are held
    in memory for it, once an epoch. A task that has ``evaluate`` needs none."""


IGNORED = -100
"""A target that counts neither as right nor as wrong, as torch's cross entropy has it."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of targets, class numbers, whose output is the largest along dimension 1.

    Targets of -100 are left out.

    Raises:
        ValueError: targets that are no class numbers, or outputs that do not choose among classes.
    """
    shapes = f"outputs {tuple(outputs.shape)} against targets {tuple(targets.shape)}"
    if targets.is_floating_point() or targets.is_complex():
        raise ValueError(
            f"accuracy needs class numbers, whole numbers, as targets, not {targets.dtype} "
            f"({shapes}); give the task a metric of its own"
        )
    if outputs.dim() < 2 or outputs.shape[1] < 2:
        raise ValueError(
            f"accuracy needs an output for each of at least 2 classes along dimension 1, {shapes}; "
            "give a task with one logit a metric of its own"
        )
    if outputs.shape[:1] + outputs.shape[2:] != targets.shape:
        raise ValueError(f"accuracy needs one target for each choice, {shapes}")
    counted = targets != IGNORED
    return widest((counted & (outputs.argmax(1) == targets)).sum()) / counted.sum()


def rmse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Root mean squared error.

    Raises:
        ValueError: shapes that differ, which torch would stretch into each other.
    """
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs {tuple(outputs.shape)} against targets {tuple(targets.shape)}")
    return (widest(outputs) - targets).square().mean().sqrt()


ACCURACY = Metric(**BY_ACCURACY.to_json(), compute=accuracy)
RMSE = Metric("RMSE", "minimize", compute=rmse)
