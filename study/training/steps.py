"""The steps of a training epoch: one by one as Python says them, or as one CUDA graph.

Where a model is small, a GPU is done with a step's kernels sooner than Python has launched them; a
captured step is launched by one call. What changes from step to step must not be captured with it:
the indices of the batch's samples, the rate and the momentum lie in tensors on the device, which
are filled before each replay. No step waits for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from search_spaces.optimizers import UntracedSGD
from study.tasks.task import Task
from study.training.batches import Batches, TensorBatches
from study.training.cuda_graph import CapturedSteps, is_plain

CAPTURES_ON = frozenset({"cuda"})
"""Types of device on which steps are captured. Elsewhere a "captured" step is a function that is
called each time: the same mathematics, which tests use, but slower than the eager one."""


class Steps(Protocol):
    """One epoch each time it is iterated over."""

    def __iter__(self) -> Iterator[Tensor]:
        """The loss of each step, once it is done, or on its way: a scalar on the device."""


def training_steps(task: Task, model: nn.Module, optimizer: Optimizer, train: Batches) -> Steps:
    """Captured steps where that pays and can be done, eager ones elsewhere.

    Args:
        task: its loss and transform.
        model: on the device, in training mode whenever it is iterated over.
        optimizer: of the model. When its state is loaded, steps have to be made anew, since it puts
            other tensors in the place of those that were captured.
        train: the training split.
    """
    if (
        isinstance(train, TensorBatches)
        and train.split.inputs.device.type in CAPTURES_ON
        and task.capturable
        and not task.transform
        and isinstance(optimizer, SGD)
        and type(optimizer) in (SGD, UntracedSGD)  # nobody's own
        and is_plain(optimizer)
    ):
        return CapturedSteps(task, model, optimizer, train)
    return EagerSteps(task, model, optimizer, train)


@dataclass(frozen=True)
class EagerSteps:
    """Whatever the task, the optimizer and the data are."""

    task: Task
    model: nn.Module
    optimizer: Optimizer
    train: Batches

    def __iter__(self) -> Iterator[Tensor]:
        for inputs, targets in self.train:
            if self.task.transform:
                inputs, targets = self.task.transform(inputs, targets)
            loss = self.task.loss(self.model(inputs), targets)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            yield loss.detach()
