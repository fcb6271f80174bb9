"""The recipe of a training step besides model, loss and optimizer: values, and their checks."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Precision = Literal["fp32", "bf16", "fp16"]
MadeBy = Literal["study", "parameter_groups", "make_optimizer"]
"""Maker of the optimizer: the study, for all parameters alike or for groups of the task's, or the
task."""
PLAIN: Mapping[str, Any] = MappingProxyType(
    {"clip_norm": None, "accumulate": 1, "precision": "fp32", "average": "none"}
)
"""Values of a task that says nothing, by the names of its fields and of the flags that override
them."""
EMA_DECAY = 0.999  # torch's default
TAIL = 0.25  # of the run, as stochastic weight averaging has it (Izmailov et al., arXiv 1803.05407)


class Average(NamedTuple):
    """A mean of weights over a run's steps, which is evaluated in place of the last weights."""

    kind: Literal["ema", "tail"]
    amount: float
    """Decay a step of the exponential moving average, or the fraction of the run, at its end, whose
    steps all count alike."""

    def first(self, total_steps: int) -> int:
        """The first step whose weights count, from 0."""
        tail = max(1, round(self.amount * total_steps))
        return total_steps - tail if self.kind == "tail" else 0


def average_of(text: str) -> Average | None:
    """The average that ``ema``, ``ema:DECAY``, ``tail`` or ``tail:FRACTION`` names; none: None.

    Raises:
        ValueError: anything else, or a number that is not between 0 and 1.
    """
    kind, colon, number = text.partition(":")
    default = {"ema": EMA_DECAY, "tail": TAIL}.get(kind)
    if text == "none":
        return None
    try:
        amount = float(number) if colon else default
    except ValueError:
        amount = None
    if default is None or amount is None or not 0 < amount < 1:
        raise ValueError(
            f"average must be none, ema:DECAY or tail:FRACTION, numbers between 0 and 1, "
            f"not {text!r}"
        )
    return Average("ema" if kind == "ema" else "tail", amount)


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Check values by their names in :data:`PLAIN`.

    Raises:
        ValueError: one cannot be, with its name, the rule and the value.
    """
    clip, accumulate = recipe["clip_norm"], recipe["accumulate"]
    if clip is not None and not (clip > 0 and math.isfinite(clip)):
        raise ValueError(f"clip_norm must be above 0, or None for no clipping, not {clip!r}")
    if not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(f"accumulate must be a number of batches, at least 1, not {accumulate!r}")
    if recipe["precision"] not in ("fp32", "bf16", "fp16"):
        raise ValueError(f"precision must be fp32, bf16 or fp16, not {recipe['precision']!r}")
    average_of(recipe["average"])
