"""The steps of a training epoch: one by one as Python says them, or as one CUDA graph.

Where a model is small, a GPU is done with a step's kernels sooner than Python has launched them; a
captured step is launched by one call. What changes from step to step must not be captured with it:
the indices of the batch's samples, the rate and the momentum lie in tensors on the device, which
are filled before each replay. No step waits for the device.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import SGD, Optimizer

from search_spaces.optimizers import UntracedSGD
from study.tasks.task import Task
from study.training.batches import Batches, TensorBatches
from study.training.cuda_graph import CapturedSteps, is_plain
from study.training.precision import autocast, device_of

CAPTURES_ON = frozenset({"cuda"})
"""Types of device on which steps are captured. Elsewhere a "captured" step is a function that is
called each time: the same mathematics, which tests use, but slower than the eager one."""


class Steps(Protocol):
    """One epoch each time it is iterated over."""

    def __iter__(self) -> Iterator[Tensor]:
        """The loss of each step, once it is done, or on its way: a scalar on the device."""


def steps_an_epoch(batches: int, accumulate: int) -> int:
    """Optimizer steps of so many batches: the last takes what is left."""
    return -(-batches // accumulate)


def training_steps(
    task: Task, model: nn.Module, optimizer: Optimizer, train: Batches, scaler: GradScaler
) -> Steps:
    """Captured steps where that pays and can be done, eager ones elsewhere.

    Args:
        task: its loss and recipe.
        model: on the device, in training mode whenever it is iterated over.
        optimizer: of the model. When its state is loaded, steps have to be made anew, since it puts
            other tensors in the place of those that were captured.
        train: the training split.
        scaler: of the losses, which works in fp16 only.
    """
    if (
        isinstance(train, TensorBatches)
        and train.device.type in CAPTURES_ON
        and task.capturable
        and _is_plain(task)
        and isinstance(optimizer, SGD)
        and type(optimizer) in (SGD, UntracedSGD)  # nobody's own
        and is_plain(optimizer)
    ):
        return CapturedSteps(task, model, optimizer, train)
    return EagerSteps(task, model, optimizer, train, scaler)


def _is_plain(task: Task) -> bool:
    """True if a step is no more than ``loss(model(inputs), targets)`` of one batch in fp32."""
    own = task.transform or task.step or task.clip_norm is not None
    return not own and task.accumulate == 1 and task.precision == "fp32"


@dataclass(frozen=True)
class EagerSteps:
    """Whatever the task, the optimizer and the data are.

    A step takes ``task.accumulate`` batches, the last of an epoch those that are left, and goes by
    the mean of their gradients. Where a gradient is not finite in fp16, the scaler leaves the step
    out, and no loss of it is given.
    """

    task: Task
    model: nn.Module
    optimizer: Optimizer
    train: Batches
    scaler: GradScaler

    def __iter__(self) -> Iterator[Tensor]:
        batches, left = iter(self.train), len(self.train)
        while left > 0:
            count = min(self.task.accumulate, left)
            loss = self._backward(islice(batches, count), count)
            if self._step():
                yield loss
            left -= count
        deque(batches, maxlen=0)  # at its end a loader tells that it has more than it said

    def _backward(self, batches: Iterable[Any], count: int) -> Tensor:
        """The mean loss of so many batches, whose mean gradient the weights get."""
        self.optimizer.zero_grad()
        losses = []
        for batch in batches:
            with autocast(self.task.precision, device_of(self.model)):
                loss = training_loss(self.task, self.model, batch)
            torch.autograd.backward(self.scaler.scale(loss / count if count > 1 else loss))
            losses.append(loss.detach())
        return torch.stack(losses).mean() if count > 1 else losses[0]

    def _step(self) -> bool:
        """Take the step; False if it is left out."""
        if self.task.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.task.clip_norm)
        self.scaler.step(self.optimizer)
        if not self.scaler.is_enabled():
            return True
        scale = self.scaler.get_scale()
        self.scaler.update()
        return self.scaler.get_scale() >= scale


def training_loss(task: Task, model: nn.Module, batch: Any) -> Tensor:
    """The loss of a training batch, to go backward from."""
    return task.loss_of(model, task.transform(*batch) if task.transform else batch)
