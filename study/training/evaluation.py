"""Loss and metric of a whole split."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from study.tasks.structure import sample_count
from study.tasks.task import LOSS, Task
from study.tasks.widest import widest
from study.training.batches import Batches
from study.training.precision import autocast, device_of

EVALUATION_BATCH = 256  # larger ones leave the processor's cache and are slower
COLLAPSED = ""  # which no value of a task's is called
Values = Mapping[str, Tensor]
"""Scalars on the device, as :func:`widest` has them, by their names."""


class Evaluation(NamedTuple):
    """Loss, a mean, and metrics of a split."""

    loss: float
    metric: float
    """The one that trials are ranked by."""
    collapsed: bool
    """True where the model puts out the same for every input."""
    others: Mapping[str, float]
    """Further values of the task's ``evaluate``."""

    @classmethod
    def of(cls, task: Task, numbers: Mapping[str, float]) -> "Evaluation":
        """From the numbers that :func:`evaluate` gives, once they are on the host."""
        known = (LOSS, task.metric.name, COLLAPSED)
        others = {name: value for name, value in numbers.items() if name not in known}
        collapsed = bool(numbers.get(COLLAPSED, False))
        return cls(numbers[LOSS], numbers[task.metric.name], collapsed, others)


def evaluation_batch(batch_size: int) -> int:
    """Samples at a time without gradients: as many as are fast, unless they are large ones."""
    return min(EVALUATION_BATCH, 4 * batch_size)


@torch.no_grad()  # not inference_mode(), which TorchScript's functions do not survive
def evaluate(task: Task, model: nn.Module, split: Batches) -> Values:
    """Values by their names: the loss, the task's metric, and what else there is."""
    device = device_of(model)
    with autocast(task.precision, device):
        values = _by_task(task, model, split) if task.evaluate else _by_pairs(task, model, split)
    tensors = {
        name: value
        if isinstance(value, Tensor)
        else torch.tensor(float(value), dtype=torch.float64)
        for name, value in values.items()
    }
    return {name: widest(one, device).view(()) for name, one in tensors.items()}


def _by_task(task: Task, model: nn.Module, split: Batches) -> dict[str, Any]:
    """The values of a task's ``evaluate``, and the loss, by a pass of its own if it is missing."""
    assert task.evaluate
    values = dict(task.evaluate(model, split))
    if LOSS not in values:
        batches = [(widest(task.loss_of(model, batch)), sample_count(batch)) for batch in split]
        samples = sum(count for _, count in batches)
        values[LOSS] = torch.stack([loss * count for loss, count in batches]).sum() / samples
    return values


def _by_pairs(task: Task, model: nn.Module, split: Batches) -> dict[str, Any]:
    """Loss and metric of a model that goes from inputs to outputs, and whether it has collapsed.

    A model has collapsed where it puts out the same for every input, as too high a rate leaves it.
    Its loss is finite then, so that no check for NaN finds it, and about that of a network which
    has not begun to learn: of the two, only the collapsed one's outputs do not differ at all.
    """
    pairs, losses, lowest, highest = [], [], [], []
    for inputs, targets in split:
        outputs = model(inputs)
        losses.append(widest(task.loss(outputs, targets)) * len(targets))
        pairs.append((outputs, targets))
        lowest.append(outputs.amin(0))
        highest.append(outputs.amax(0))
    low, high = torch.stack(lowest).amin(0), torch.stack(highest).amax(0)
    # The metric is of the whole split at once, since few are means over batches.
    outputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return {
        LOSS: torch.stack(losses).sum() / len(targets),
        task.metric.name: task.metric.compute(outputs, targets),
        COLLAPSED: is_constant(low, high) & (len(outputs) > 1),
    }


def is_constant(low: Tensor, high: Tensor) -> Tensor:
    """True if outputs between these do not differ, each by its own size, from input to input."""
    return (high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())).all()
