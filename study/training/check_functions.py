"""Checks of each function of a task on what it is given: model, loss, metric, batches.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from study.system.errors import summary
from study.system.seeding import seed_everything
from study.tasks.check_data import call, wrong
from study.tasks.fingerprint import Trace
from study.tasks.task import Data, Split, Task
from study.training.batches import Batches, batches
from study.training.check_metric import METRIC, check_metric
from study.training.evaluation import evaluation_batch

MODEL, LOSS = "make_model(seed)", "loss(outputs, targets)"


def fresh_model(task: Task, device: str) -> nn.Module:
    """The task's model for seed 0, on the device, in training mode."""
    model = call(task, MODEL, task.make_model, 0)
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        raise wrong(task, f"{MODEL} must return a torch.nn.Module with parameters")
    if any(isinstance(parameter, UninitializedParameter) for parameter in model.parameters()):
        raise wrong(
            task,
            f"{MODEL} must return a model whose sizes are known, not one with lazy modules; give "
            "them (nn.Linear instead of nn.LazyLinear), or send a batch through it first",
        )
    model = model.to(device)
    model.train()
    return model


def outputs_of(task: Task, model: nn.Module, inputs: Tensor) -> Tensor:
    """Outputs of the model, (samples, ...), real floating-point numbers."""
    outputs = call(task, f"the model of {MODEL}", model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != len(inputs):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise wrong(
            task,
            f"the model of {MODEL} must put out a tensor with a row for each of "
            f"{len(inputs)} inputs, not {shape}",
        )
    if not outputs.is_floating_point():
        raise wrong(
            task,
            f"the model of {MODEL} must put out real floating-point numbers, also in eval(), not "
            f"{outputs.dtype}; let loss and metric make of them what they need",
        )
    return outputs


def backward(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss, a scalar, once it has gone backward."""
    loss = _loss(task, outputs, targets)
    call(task, f"the backward pass of {LOSS}", torch.autograd.backward, loss)
    return loss.detach()


def _loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    loss = call(task, LOSS, task.loss, outputs, targets)
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise wrong(task, f"{LOSS} must be a scalar tensor, not {shape}")
    if not loss.isfinite():
        raise wrong(task, f"{LOSS} of a fresh model is {loss.item()}")
    return loss


def gradient_of(task: Task, model: nn.Module) -> Tensor:
    """The gradient of all weights in one row, after a backward pass."""
    gradients = [p.grad.to_dense().flatten() for p in model.parameters() if p.grad is not None]
    if not gradients:
        raise wrong(task, f"no parameter of {MODEL}'s model gets a gradient")
    gradient = torch.cat(gradients)
    if not gradient.isfinite().all():
        raise wrong(task, f"the gradient of {LOSS} is not finite for a fresh model")
    return gradient


def check_targets(task: Task, name: str, outputs: Tensor, targets: Tensor) -> None:
    """Hold all targets against outputs of zero: class numbers out of range raise an IndexError.

    On the CPU, since a GPU answers them by an assertion after which it cannot be used any more. Any
    other error may be the zeros' own: the real outputs will tell.
    """
    shape = outputs.shape[1:]
    for some in torch.split(targets.cpu(), len(outputs)):
        zeros = torch.zeros(len(some), *shape, dtype=outputs.dtype)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the zeros
                task.loss(zeros, some)
        except IndexError as error:
            raise wrong(
                task, f"{name} targets do not fit outputs of shape {tuple(shape)}: {summary(error)}"
            ) from error
        except Exception:
            return


def each_batch(
    task: Task, name: str, make: Callable[[], Batches]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a split, one at a time, and at least one."""
    what = f"the {name} split"
    iterator = call(task, what, lambda: iter(make()))
    pair = call(task, what, next, iterator, None)
    if pair is None:
        raise wrong(task, f"{what} has no batch")
    while pair is not None:
        yield as_pair(task, what, pair)
        pair = call(task, what, next, iterator, None)


def as_pair(task: Task, what: str, pair: Any) -> tuple[Tensor, Tensor]:
    """Inputs and targets, tensors of one length, as ``what`` gave them."""
    try:
        inputs, targets = pair
        lengths = {len(inputs), len(targets)}
    except (TypeError, ValueError) as error:
        raise wrong(task, f"{what} must give pairs of inputs and targets: {error}") from error
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or len(lengths) > 1:
        raise wrong(task, f"{what} must give inputs and targets as tensors of one length")
    return inputs, targets


def transformed(task: Task, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A training batch as the task's transform leaves it, if it has one."""
    if not task.transform:
        return inputs, targets
    changed = call(task, "transform", task.transform, inputs, targets)
    return as_pair(task, "transform", changed)


@torch.no_grad()
def measured(
    task: Task, model: nn.Module, name: str, split: Data, batch_size: int
) -> tuple[Tensor, Trace]:
    """The targets of a split, and the outputs for it and their metric, once they are checked."""
    seed_everything(0)
    model.eval()
    pairs: list[tuple[Tensor, Tensor]] = []
    size, device = evaluation_batch(batch_size), str(next(model.parameters()).device)
    for inputs, targets in each_batch(task, name, lambda: batches(split, size, None, device)):
        outputs = outputs_of(task, model, inputs)
        if not pairs:
            every = split.targets if isinstance(split, Split) else targets
            check_targets(task, name, outputs, every)
        _loss(task, outputs, targets)
        pairs.append((outputs, targets))
    outputs, targets = (
        call(task, f"joining the batches of the {name} split", torch.cat, parts)
        for parts in zip(*pairs, strict=True)
    )
    value = check_metric(task, name, outputs, targets)
    return targets, [(f"the model for the {name} split", outputs), (METRIC, torch.tensor(value))]
