"""Loss and metric of a whole split."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from study.tasks.task import Task
from study.training.batches import Batches

EVALUATION_BATCH = 256  # larger ones leave the processor's cache and are slower


class Evaluation(NamedTuple):
    """Loss, a mean, and metric of a split."""

    loss: float
    metric: float
    collapsed: float
    """1 where the model puts out the same for every input, 0 elsewhere."""


def evaluation_batch(batch_size: int) -> int:
    """Samples at a time without gradients: as many as are fast, unless they are large ones."""
    return min(EVALUATION_BATCH, 4 * batch_size)


@torch.no_grad()  # not inference_mode(), which TorchScript's functions do not survive
def evaluate(task: Task, model: nn.Module, split: Batches) -> list[Tensor]:
    """The fields of an :class:`Evaluation`, scalars in float64 on the device.

    A model has collapsed where it puts out the same for every input, as too high a rate leaves it.
    Its loss is finite then, so that no check for NaN finds it, and about that of a network which
    has not begun to learn: of the two, only the collapsed one's outputs do not differ at all.
    """
    pairs, losses, lowest, highest = [], [], [], []
    for inputs, targets in split:
        outputs = model(inputs)
        pairs.append((outputs, targets))
        losses.append(task.loss(outputs, targets).double() * len(targets))
        lowest.append(outputs.amin(0))
        highest.append(outputs.amax(0))
    low, high = torch.stack(lowest).amin(0), torch.stack(highest).amax(0)
    # The metric is of the whole split at once, since few are means over batches.
    outputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    metric = task.metric.compute(outputs, targets)
    if not isinstance(metric, Tensor):
        metric = torch.tensor(float(metric), dtype=torch.float64)
    collapsed = is_constant(low, high) & (len(outputs) > 1)
    loss = torch.stack(losses).sum() / len(targets)
    return [value.to(low.device, torch.float64).view(()) for value in (loss, metric, collapsed)]


def is_constant(low: Tensor, high: Tensor) -> Tensor:
    """True if outputs between these do not differ, each by its own size, from input to input."""
    return (high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())).all()
