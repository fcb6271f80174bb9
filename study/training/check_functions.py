"""Checks of each function of a task on what it is given: model, step, loss, evaluation, batches.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from study.system.errors import summary
from study.system.seeding import seed_everything
from study.tasks.check_data import call, wrong
from study.tasks.data import Data, Split
from study.tasks.fingerprint import Trace
from study.tasks.structure import named_tensors, sample_count
from study.tasks.task import LOSS as LOSS_NAME
from study.tasks.task import Task
from study.training.batches import Batches, batches
from study.training.check_metric import METRIC, check_metric, check_pairing
from study.training.evaluation import evaluation_batch
from study.training.precision import autocast, device_of

MODEL, LOSS, STEP = "make_model(seed)", "loss(outputs, targets)", "step(model, batch)"
EVALUATE = "evaluate(model, batches)"


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


def checked_loss(task: Task, model: nn.Module, batch: Any, every: Any) -> tuple[Tensor, Trace]:
    """The loss of a training batch, to go backward from, and the outputs where they are known.

    Args:
        task: its step, or its loss.
        model: a fresh one.
        batch: as training has it.
        every: the targets of the whole split; None: not known, or changed by a transform.
    """
    with autocast(task.precision, device_of(model)):
        if task.step:
            return _scalar(task, STEP, call(task, STEP, task.step, model, batch)), []
        inputs, targets = as_pair(task, "the training split", batch)
        outputs = call(task, f"the model of {MODEL}", model, inputs)
        if not task.evaluate:
            _check_outputs(task, inputs, outputs)
        every = targets if every is None else every
        if isinstance(outputs, Tensor) and isinstance(every, Tensor):
            check_targets(task, "training", outputs, every)
        loss = _scalar(task, LOSS, call(task, LOSS, task.loss, outputs, targets))
    if isinstance(outputs, Tensor) and isinstance(targets, Tensor):
        check_pairing(task, LOSS, task.loss, outputs.detach(), targets)
    return loss, [("the model", tensor.detach()) for _, tensor in named_tensors(outputs)][:1]


def backward(task: Task, loss: Tensor) -> Tensor:
    """The loss, once it has gone backward."""
    what = STEP if task.step else LOSS
    call(task, f"the backward pass of {what}", torch.autograd.backward, loss)
    return loss.detach()


def _scalar(task: Task, what: str, loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise wrong(task, f"{what} must be a scalar tensor, not {shape}")
    if not loss.isfinite():
        raise wrong(task, f"{what} of a fresh model is {loss.item()}")
    return loss


def _check_outputs(task: Task, inputs: Any, outputs: Any) -> None:
    """Refuse what no metric can be computed of: outputs are (samples, ...), real numbers."""
    samples = sample_count(inputs)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != samples:
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise wrong(
            task,
            f"the model of {MODEL} must put out a tensor with a row for each of {samples} inputs, "
            f"not {shape}; a task with {EVALUATE} is free to do otherwise",
        )
    if not outputs.is_floating_point():
        raise wrong(
            task,
            f"the model of {MODEL} must put out real floating-point numbers, also in eval(), not "
            f"{outputs.dtype}; let loss and metric make of them what they need",
        )


def gradient_of(task: Task, model: nn.Module) -> Tensor:
    """The gradient of all weights in one row, after a backward pass."""
    gradients = [p.grad.to_dense().flatten() for p in model.parameters() if p.grad is not None]
    if not gradients:
        raise wrong(task, f"no parameter of {MODEL}'s model gets a gradient")
    gradient = torch.cat(gradients)
    if not gradient.isfinite().all():
        what = STEP if task.step else LOSS
        raise wrong(task, f"the gradient of {what} is not finite for a fresh model")
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


def each_batch(task: Task, name: str, make: Callable[[], Batches]) -> Iterator[Any]:
    """The batches of a split, one at a time, and at least one."""
    what = f"the {name} split"
    iterator = call(task, what, lambda: iter(make()))
    batch = call(task, what, next, iterator, None)
    if batch is None:
        raise wrong(task, f"{what} has no batch")
    while batch is not None:
        if not any(tensor.dim() for _, tensor in named_tensors(batch)):
            kind = type(batch).__name__
            raise wrong(task, f"{what} gives a batch that holds no tensor of samples: {kind}")
        yield batch
        batch = call(task, what, next, iterator, None)


def as_pair(task: Task, what: str, batch: Any) -> tuple[Any, Any]:
    """Inputs and targets, of as many samples, as ``what`` gave them."""
    try:
        inputs, targets = batch
        counts = {sample_count(inputs), sample_count(targets)}
    except (TypeError, ValueError) as error:
        found = f"a batch is a {type(batch).__name__}" if isinstance(batch, Mapping) else error
        raise wrong(
            task,
            f"{what} must give pairs of inputs and targets ({found}); a task whose batches are "
            f"others needs {EVALUATE if task.step else f'{STEP} and {EVALUATE}'}",
        ) from error
    if isinstance(batch, Mapping) or len(counts) > 1:
        raise wrong(task, f"{what} must give inputs and targets as tensors of one length")
    return inputs, targets


def transformed(task: Task, batch: Any) -> Any:
    """A training batch as the task's transform leaves it, if it has one."""
    if not task.transform:
        return batch
    pair = as_pair(task, "the training split", batch)
    return as_pair(task, "transform", call(task, "transform", task.transform, *pair))


@torch.no_grad()
def measured(
    task: Task, model: nn.Module, name: str, split: Data, batch_size: int
) -> tuple[Trace, Trace]:
    """Targets of a split, and what a fresh model and the metrics make of it, once checked."""
    seed_everything(0)
    model.eval()
    size, device = evaluation_batch(batch_size), str(device_of(model))
    own = each_batch(task, name, lambda: batches(split, size, None, device))
    with autocast(task.precision, device_of(model)):
        if task.evaluate:
            first = next(own)
            every = call(task, f"the {name} split", batches, split, size, None, device)
            return [], [(EVALUATE, _evaluated(task, model, every, first))]
        return _measured_pairs(task, model, name, split, own)


def _evaluated(task: Task, model: nn.Module, every: Batches, first: Any) -> Tensor:
    """The values of a task's ``evaluate``; the loss of the first batch where it gives none."""
    assert task.evaluate
    values = call(task, EVALUATE, task.evaluate, model, every)
    if not isinstance(values, Mapping):
        kind = type(values).__name__
        raise wrong(task, f"{EVALUATE} must return values by their names, not {kind}")
    if task.metric.name not in values:
        given = ", ".join(map(repr, values)) or "none"
        raise wrong(
            task,
            f"{EVALUATE} must return {task.metric.name!r}, the metric that trials are ranked by, "
            f"among its names: {given}",
        )
    if taken := {"metric", "best_metric"} & {*values} - {task.metric.name}:
        raise wrong(task, f"{EVALUATE} gives {min(taken)!r}, a column of the tables; rename it")
    numbers = {name: call(task, f"{name!r} of {EVALUATE}", float, values[name]) for name in values}
    if LOSS_NAME not in numbers:
        what = STEP if task.step else LOSS
        loss = call(task, f"{what} in evaluation, for want of a loss", task.loss_of, model, first)
        _scalar(task, what, loss)
    return torch.tensor([*numbers.values()], dtype=torch.float64)


def _measured_pairs(
    task: Task, model: nn.Module, name: str, split: Data, own: Iterator[Any]
) -> tuple[Trace, Trace]:
    pairs: list[tuple[Tensor, Tensor]] = []
    for batch in own:
        inputs, targets = as_pair(task, f"the {name} split", batch)
        outputs = call(task, f"the model of {MODEL}", model, inputs)
        _check_outputs(task, inputs, outputs)
        if not isinstance(targets, Tensor):
            kind = type(targets).__name__
            raise wrong(task, f"targets must be a tensor, not {kind}, or the task needs {EVALUATE}")
        if not pairs:
            every = split.targets if isinstance(split, Split) else targets
            check_targets(task, name, outputs, every)
        _scalar(task, LOSS, call(task, LOSS, task.loss, outputs, targets))
        pairs.append((outputs, targets))
    outputs, targets = (
        call(task, f"joining the batches of the {name} split", torch.cat, parts)
        for parts in zip(*pairs, strict=True)
    )
    value = check_metric(task, name, outputs, targets)
    computed = [(f"the model for the {name} split", outputs), (METRIC, torch.tensor(value))]
    return [(f"the {name} targets", targets)], computed
