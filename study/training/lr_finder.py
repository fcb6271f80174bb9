"""The learning-rate range test: which peak rates are worth searching for this model."""

import math
from typing import Any, NamedTuple

from torch import Generator, nn

from search_spaces import FAMILIES, Parameters, PeakRange
from study.system.errors import InputError, blamed
from study.system.seeding import fresh_seeds, seed_everything
from study.tasks.data import SearchData
from study.tasks.structure import named_tensors
from study.tasks.task import Task
from study.training.batches import Batches, batches, endless
from study.training.history import RunConfig
from study.training.optimizers import make_optimizer
from study.training.precision import device_of, grad_scaler
from study.training.steps import EagerSteps

STEPS = 200
LOWEST, HIGHEST = 1e-6, 10.0
RUNS = 3
"""Runs of which the median is taken: one alone is off by a factor of two or more."""
SMOOTHING = 0.9
"""Share of the loss's running mean that is kept at a step."""
LEAST_FALL = 0.01
"""Share of the first loss; with less, nothing has been learned."""
DECADES = 2.0
"""Length of the range that is searched, below the rate where the loss was lowest."""

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
    for own_seed in fresh_seeds(config.seed, "range test", RUNS):
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


def _one_run(task: Task, model: nn.Module, train: Batches, given: Parameters) -> Curve:
    parameters: Parameters = {**given, "peak_lr": LOWEST}
    optimizer = make_optimizer(task, model, FAMILIES["constant"], parameters, STEPS)
    device = device_of(model)
    steps = EagerSteps(task, model, optimizer, train, grad_scaler(task.precision, str(device)))
    hook = model.register_forward_hook(_refuse_nan)
    curve: Curve = []
    mean, losses = 0.0, endless(lambda: steps)  # which end where fp16 leaves all of an epoch out
    for step in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        optimizer.param_groups[0]["lr"] = rate
        with blamed(f"task {task.name!r}: step {step + 1} of --peak-lr auto, at rate {rate:.2g},"):
            try:
                loss = float(next(losses, math.nan))
            except _NotANumberError:
                break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (step + 1))  # as if the mean had not begun at zero
        if not math.isfinite(smoothed):
            break
        curve.append((rate, smoothed))
    hook.remove()
    return curve


class _NotANumberError(Exception):
    """The outputs of a model are NaN, which many a loss refuses: the rate is too high."""


def _refuse_nan(model: nn.Module, inputs: object, outputs: object) -> None:
    if any(tensor.isnan().any() for _, tensor in named_tensors(outputs)):
        raise _NotANumberError
