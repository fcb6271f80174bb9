"""What evaluation goes by, and what comes out of it."""

from typing import NamedTuple

import torch
from torch import Tensor

EVALUATION_BATCH = 256  # larger ones leave the processor's cache and are slower


class Evaluation(NamedTuple):
    """Means over a split."""

    loss: float
    metric: float
    collapsed: float
    """1 or 0."""


def evaluation_batch(batch_size: int) -> int:
    """Samples at a time without gradients: as many as are fast, unless they are large ones."""
    return min(EVALUATION_BATCH, 4 * batch_size)


def is_constant(low: Tensor, high: Tensor) -> Tensor:
    """Whether outputs between these do not differ, each by its own size, from input to input."""
    return (high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())).all()
