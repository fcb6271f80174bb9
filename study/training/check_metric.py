"""Checks of a metric, and of whether a function pairs outputs with their targets."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from study.tasks.check_data import call, wrong
from study.tasks.metric import IGNORED, accuracy
from study.tasks.task import Task
from study.tasks.widest import widest
from study.training.evaluation import is_constant

METRIC = "metric.compute(outputs, targets)"
ROLLS = 9
"""Ways to move outputs on against their targets, of which one should change a metric."""
ROUNDING = 1e-5
"""Relative difference of two sums of the same numbers in another order."""


def check_metric(task: Task, name: str, outputs: Tensor, targets: Tensor) -> float:
    """The metric of a fresh model's outputs."""
    compute = task.metric.compute
    _check_ignored(task, name, targets)

    def number(outputs: Tensor) -> float:
        value = call(task, METRIC, compute, outputs, targets)
        found: float = call(task, f"float() of {METRIC}", float, value)
        return found

    value = number(outputs)
    # Where all outputs are the same, as a fresh model's may be, many a metric is not defined.
    constant = is_constant(outputs.amin(0), outputs.amax(0))
    if not constant and not math.isfinite(value):
        raise wrong(task, f"{METRIC} of a fresh model is {value}")
    # What is kept from a call shows once another one has had another value.
    any(number(outputs.roll(shift, 0)) != value for shift in range(1, ROLLS))
    again = number(outputs)
    if not math.isclose(again, value, rel_tol=ROUNDING) and math.isfinite(value):
        raise wrong(
            task,
            f"{METRIC} is {value:g} and then {again:g} for the same outputs and targets: it keeps "
            "something from call to call; compute it from its arguments alone",
        )
    check_pairing(task, METRIC, compute, outputs, targets)
    return value


def _check_ignored(task: Task, name: str, targets: Tensor) -> None:
    """Refuse an accuracy that counts what the loss ignores."""
    loss = task.loss
    ignored = getattr(loss, "ignore_index", IGNORED)
    if isinstance(loss, partial):
        ignored = loss.keywords.get("ignore_index", IGNORED)
    if task.metric.compute is accuracy and ignored != IGNORED and (targets == ignored).any():
        raise wrong(
            task,
            f"accuracy leaves out targets of {IGNORED}, and the loss those of {ignored}, of which "
            f"the {name} split has some; mark them by {IGNORED}, or give the task a metric of its "
            "own",
        )


def check_pairing(
    task: Task, what: str, function: Callable[..., Any], outputs: Tensor, targets: Tensor
) -> None:
    """Refuse a value that does not follow from which target belongs to which output.

    Where outputs (n, 1) meet targets (n,), torch stretches both to (n, n): a mean over all pairs,
    which stays the same when the targets are moved on by one sample. Losses that make the shapes
    equal themselves are told apart by that.
    """
    shapes = tuple(outputs.shape), tuple(targets.shape)
    flat, others = ([size for size in shape if size != 1] for shape in shapes)
    moved = targets.roll(1, 0)
    if shapes[0] == shapes[1] or flat != others or torch.equal(targets, moved):
        return
    order = Generator().manual_seed(0)
    # Random ones, since a fresh model's may all be the same; from 0 to 1, which suit most losses,
    # or among the targets: of absolute errors, the mean is that of all pairs where each is above.
    some = torch.rand(shapes[0], generator=order, dtype=torch.float64)
    known = targets[targets.isfinite()] if targets.is_floating_point() else targets[:0]
    if known.numel():
        some = some.to(known) * (known.max() - known.min()) + known.min()
    some = some.to(outputs)
    try:
        one, other = (torch.as_tensor(function(some, which)) for which in (targets, moved))
    except Exception:  # they do not suit this one
        return
    if same(widest(one), widest(other), ROUNDING):
        raise wrong(
            task,
            f"{what} does not depend on which target belongs to which output: outputs {shapes[0]} "
            f"and targets {shapes[1]} are stretched into each other; give them one shape, by "
            "outputs.squeeze(1), say",
        )


def same(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """True if two tensors are equal but for so much, relative and absolute; NaN equals NaN."""
    return one.shape == other.shape and one.allclose(
        other, rtol=tolerance, atol=tolerance, equal_nan=True
    )
