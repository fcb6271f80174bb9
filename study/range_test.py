"""The learning-rate range test: which peak rates are worth searching for this model."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from search_spaces import FAMILIES, Parameters, PeakRange
from study.batches import Batches, batches
from study.errors import InputError
from study.task import SearchData, Task
from study.training import seed_everything

STEPS = 200
LOWEST, HIGHEST = 1e-6, 10.0
RUNS = 3
"""Of which the median is taken: one alone is off by a factor of two or more."""
SMOOTHING = 0.9
"""Of the loss's running mean, a step."""
LEAST_FALL = 0.01
"""Of the first loss; with less, nothing has been learned."""
DECADES = 2.0
"""Of the range that is searched, below the rate where the loss was lowest."""

Curve = list[tuple[float, float]]
"""(rate, smoothed training loss) of each step."""


class RangeTest(NamedTuple):
    """What follows, and what was seen."""

    peak_lr: PeakRange
    curves: list[Curve]

    def to_json(self) -> list[dict[str, Any]]:
        """For study.json: a run's rates and losses."""
        return [
            {"lr": [rate for rate, _ in curve], "train_loss": [loss for _, loss in curve]}
            for curve in self.curves
        ]


def range_test(
    task: Task, data: SearchData, batch_size: int, optimizer: str, seed: int, device: str
) -> RangeTest:
    """Raise the rate exponentially, step by step, and watch the loss (Smith, arXiv 1506.01186).

    The highest rate worth searching is where the smoothed loss is lowest, before it rises again;
    the lowest is two decades below.

    Raises:
        InputError: the loss never fell.
    """
    curves = []
    for k in range(RUNS):
        seed_everything(seed + k)
        model = task.make_model(seed + k).to(device)
        model.train()
        order = Generator().manual_seed(seed + k)
        train = batches(data.train, batch_size, order, device)
        curves.append(_one_run(task, model, train, optimizer))
    lowest = [min(curve, key=lambda point: point[1]) for curve in curves]
    fallen = [curve[0][1] - loss for (_, loss), curve in zip(lowest, curves, strict=True)]
    if min(fallen) < LEAST_FALL * abs(curves[0][0][1]):
        raise InputError(
            f"--peak-lr auto: the loss of task {task.name!r} does not fall between {LOWEST:g} and "
            f"{HIGHEST:g}; give the range yourself, --peak-lr LOW,HIGH"
        )
    high = sorted(rate for rate, _ in lowest)[RUNS // 2]
    return RangeTest((float(f"{high / 10**DECADES:.2g}"), float(f"{high:.2g}")), curves)


def _one_run(task: Task, model: torch.nn.Module, train: Batches, optimizer: str) -> Curve:
    parameters: Parameters = {"peak_lr": LOWEST, "optimizer": optimizer}
    weights = FAMILIES["constant"].make_optimizer(model.parameters(), parameters, STEPS)
    curve: Curve = []
    mean = 0.0
    for step, (inputs, targets) in zip(range(STEPS), _repeated(train), strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        weights.param_groups[0]["lr"] = rate
        if task.transform:
            inputs, targets = task.transform(inputs, targets)
        loss = task.loss(model(inputs), targets)
        weights.zero_grad()
        torch.autograd.backward(loss)
        weights.step()
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss.item()
        smoothed = mean / (1 - SMOOTHING ** (step + 1))  # as if the mean had not begun at zero
        if not math.isfinite(smoothed):
            break
        curve.append((rate, smoothed))
    return curve


def _repeated(train: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from train
