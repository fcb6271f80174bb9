"""Checks of each function of a task on what it is given: model, loss, metric, batches.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import UninitializedParameter

from study.system.errors import said
from study.system.seeding import seed_everything
from study.tasks.check_data import call, wrong
from study.tasks.fingerprint import Trace
from study.tasks.metric import IGNORED, accuracy
from study.tasks.task import Data, Split, Task
from study.training.batches import Batches, batches
from study.training.evaluation import evaluation_batch, is_constant

MODEL, LOSS, METRIC = (
    "make_model(seed)",
    "loss(outputs, targets)",
    "metric.compute(outputs, targets)",
)
ROLLS = 9
"""Ways to move outputs on against their targets, of which one should change a metric."""
ROUNDING = 1e-5
"""Relative difference of two sums of the same numbers in another order."""


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
                task, f"{name} targets do not fit outputs of shape {tuple(shape)}: {said(error)}"
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
    value = _check_metric(task, name, outputs, targets)
    return targets, [(f"the model for the {name} split", outputs), (METRIC, torch.tensor(value))]


def _check_metric(task: Task, name: str, outputs: Tensor, targets: Tensor) -> float:
    """The metric of a fresh model's outputs."""
    compute = task.metric.compute
    _check_ignored(task, name, targets)

    def number(outputs: Tensor) -> float:
        value = call(task, METRIC, compute, outputs, targets)
        found: float = call(task, f"float() of {METRIC}", float, value)
        return found

    value = number(outputs)
    # Where all outputs are the same, as a fresh model's may be, many a metric is not defined.
    constant = is_constant(outputs.amin(0), outputs.amax(0))
    if not constant and not math.isfinite(value):
        raise wrong(task, f"{METRIC} of a fresh model is {value}")
    # What is kept from a call shows once another one has had another value.
    any(number(outputs.roll(shift, 0)) != value for shift in range(1, ROLLS))
    again = number(outputs)
    if not math.isclose(again, value, rel_tol=ROUNDING) and math.isfinite(value):
        raise wrong(
            task,
            f"{METRIC} is {value:g} and then {again:g} for the same outputs and targets: it keeps "
            "something from call to call; compute it from its arguments alone",
        )
    check_pairing(task, METRIC, compute, outputs, targets)
    return value


def _check_ignored(task: Task, name: str, targets: Tensor) -> None:
    """Refuse an accuracy that counts what the loss ignores."""
    loss = task.loss
    ignored = getattr(loss, "ignore_index", IGNORED)
    if isinstance(loss, partial):
        ignored = loss.keywords.get("ignore_index", IGNORED)
    if task.metric.compute is accuracy and ignored != IGNORED and (targets == ignored).any():
        raise wrong(
            task,
            f"accuracy leaves out targets of {IGNORED}, and the loss those of {ignored}, of which "
            f"the {name} split has some; mark them by {IGNORED}, or give the task a metric of its "
            "own",
        )


def check_pairing(
    task: Task, what: str, function: Callable[..., Any], outputs: Tensor, targets: Tensor
) -> None:
    """Refuse a value that does not follow from which target belongs to which output.

    Where outputs (n, 1) meet targets (n,), torch stretches both to (n, n): a mean over all pairs,
    which stays the same when the targets are moved on by one sample. Losses that make the shapes
    equal themselves are told apart by that.
    """
    shapes = tuple(outputs.shape), tuple(targets.shape)
    flat, others = ([size for size in shape if size != 1] for shape in shapes)
    moved = targets.roll(1, 0)
    if shapes[0] == shapes[1] or flat != others or torch.equal(targets, moved):
        return
    order = Generator().manual_seed(0)
    # Random ones, since a fresh model's may all be the same; from 0 to 1, which suit most losses.
    some = torch.rand(shapes[0], generator=order, dtype=torch.float64).to(outputs)
    try:
        one, other = (torch.as_tensor(function(some, which)) for which in (targets, moved))
    except Exception:  # they do not suit this one
        return
    if same(one.double(), other.double(), ROUNDING):
        raise wrong(
            task,
            f"{what} does not depend on which target belongs to which output: outputs {shapes[0]} "
            f"and targets {shapes[1]} are stretched into each other; give them one shape, by "
            "outputs.squeeze(1), say",
        )


def same(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """True if two tensors are equal but for so much, relative and absolute; NaN equals NaN."""
    return one.shape == other.shape and one.allclose(
        other, rtol=tolerance, atol=tolerance, equal_nan=True
    )
