"""The learning-rate range test: which peak rates are worth searching for this model."""

import math
import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, nn
from torch.optim import Optimizer

from search_spaces import FAMILIES, Parameters, PeakRange
from study.system.errors import InputError, blamed
from study.system.seeding import seed_everything
from study.tasks.task import SearchData, Task
from study.training.batches import Batches, Pair, batches, endless
from study.training.history import RunConfig

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
    """The rates to search, and the curves that they follow from."""

    peak_lr: PeakRange
    curves: list[Curve]

    def to_json(self) -> list[dict[str, Any]]:
        """For study.json: a run's rates and losses."""
        return [
            {"lr": [rate for rate, _ in curve], "train_loss": [loss for _, loss in curve]}
            for curve in self.curves
        ]


def range_test(task: Task, data: SearchData, config: RunConfig, device: str) -> RangeTest:
    """Raise the rate exponentially, step by step, and watch the loss (Smith, arXiv 1506.01186).

    The highest rate worth searching is where the smoothed loss is lowest, before it rises again;
    the lowest is two decades below.

    Args:
        task: what is trained.
        data: of which the training split is used.
        config: whose seed, batch size and optimizer count.
        device: where to try.

    Raises:
        InputError: the loss never fell, or was no number from the beginning, or the task raised.
    """
    curves = []
    for own_seed in _seeds(config.seed):
        seed_everything(own_seed)
        order = Generator().manual_seed(own_seed)
        with blamed(f"task {task.name!r}: making a model and a loader for --peak-lr auto"):
            model = task.make_model(own_seed).to(device)
            train = batches(data.train, config.batch_size, order, device)
        model.train()
        curves.append(_one_run(task, model, train, config.parameters))
    if not all(curves):
        raise InputError(
            f"--peak-lr auto: the loss of task {task.name!r} is no finite number at the first "
            "step of a fresh model; give the range yourself, --peak-lr LOW,HIGH"
        )
    lowest = [min(curve, key=lambda point: point[1]) for curve in curves]
    fallen = [curve[0][1] - loss for (_, loss), curve in zip(lowest, curves, strict=True)]
    if min(fallen) < LEAST_FALL * abs(curves[0][0][1]):
        raise InputError(
            f"--peak-lr auto: the loss of task {task.name!r} does not fall between {LOWEST:g} and "
            f"{HIGHEST:g}; give the range yourself, --peak-lr LOW,HIGH"
        )
    high = sorted(rate for rate, _ in lowest)[RUNS // 2]
    return RangeTest((float(f"{high / 10**DECADES:.2g}"), float(f"{high:.2g}")), curves)


def _seeds(study_seed: int) -> list[int]:
    """Seeds of the runs, which no trial has."""
    entropy = (study_seed, zlib.crc32(b"range test"))
    return [int(seed) for seed in np.random.SeedSequence(entropy).generate_state(RUNS)]


def _one_run(task: Task, model: nn.Module, train: Batches, given: Parameters) -> Curve:
    parameters: Parameters = {**given, "peak_lr": LOWEST}
    weights = FAMILIES["constant"].make_optimizer(model.parameters(), parameters, STEPS)
    curve: Curve = []
    mean, repeated = 0.0, endless(train.__iter__)
    for step in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        weights.param_groups[0]["lr"] = rate
        with blamed(f"task {task.name!r}: step {step + 1} of --peak-lr auto, at rate {rate:.2g},"):
            loss = _one_step(task, model, weights, next(repeated))
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (step + 1))  # as if the mean had not begun at zero
        if not math.isfinite(smoothed):
            break
        curve.append((rate, smoothed))
    return curve


def _one_step(task: Task, model: nn.Module, weights: Optimizer, batch: Pair) -> float:
    """The loss of a batch before the step; NaN, and no step, where the outputs are."""
    inputs, targets = task.transform(*batch) if task.transform else batch
    outputs = model(inputs)
    if outputs.isnan().any():  # which many a loss refuses: the rate is too high
        return math.nan
    loss = task.loss(outputs, targets)
    weights.zero_grad()
    torch.autograd.backward(loss)
    weights.step()
    return loss.item()
