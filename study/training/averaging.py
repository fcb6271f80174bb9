"""The average of a run's weights, by torch.optim.swa_utils."""

import copy
from collections.abc import Iterable
from itertools import islice
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from study.tasks.recipe import Average
from study.tasks.task import Task
from study.training.precision import autocast, device_of
from study.training.steps import training_loss

RECALIBRATION_BATCHES = 50  # as schedulefree's own example has it


class AveragedWeights:
    """The mean of a model's weights after each step from some step on.

    Args:
        average: which mean.
        model: on its device.
        total_steps: of the whole run.
    """

    def __init__(self, average: Average, model: nn.Module, total_steps: int) -> None:
        self._first = average.first(total_steps)
        ema = get_ema_multi_avg_fn(average.amount)  # type: ignore[no-untyped-call]
        rule = ema if average.kind == "ema" else None
        self._averaged = AveragedModel(model, multi_avg_fn=rule)

    @property
    def model(self) -> nn.Module | None:
        """The model with the mean; None before the first step that counts."""
        return self._averaged.module if self._averaged.n_averaged else None

    def take(self, model: nn.Module, step: int) -> None:
        """Count the weights after a step, from 0, if they do count."""
        if step >= self._first:
            self._averaged.update_parameters(model)

    def state_dict(self) -> dict[str, Any]:
        """The mean, and how many it is of."""
        return self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self._averaged.load_state_dict(state)


def measure_batch_norms(task: Task, model: nn.Module, train: Iterable[Any]) -> None:
    """Have batch norms measure the weights that are evaluated, where those are averages.

    What was trained are other weights, whose statistics the running means are. The remedy of torch
    and of schedule-free's authors: training batches in training mode at the averaged weights.
    """
    model.train()
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm)]
    # A frozen part measures nothing, and torch would clear what it has.
    frozen = [(one, copy.deepcopy(one.state_dict())) for one in norms if not one.training]
    update_bn(([batch] for batch in islice(train, RECALIBRATION_BATCHES)), _Forward(task, model))
    for norm, state in frozen:
        norm.load_state_dict(state)


class _Forward(nn.Module):
    """A model that is called with a whole batch, as a training step calls it."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, batch: Any) -> None:
        with autocast(self.task.precision, device_of(self.model)):
            training_loss(self.task, self.model, batch)
