"""Checks of a task before any trial: one batch through all of its functions.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from study.batches import Batches, batches
from study.check_data import call, wrong
from study.errors import InputError, said
from study.task import SearchData, Split, Task
from study.training import evaluation_batch, is_constant, seed_everything

Trace = list[tuple[str, Tensor]]
"""What each function gave, in the order in which they were called."""
MODEL, LOSS, METRIC = (
    "make_model(seed)",
    "loss(outputs, targets)",
    "metric.compute(outputs, targets)",
)


def steps_per_epoch(task: Task, data: SearchData, batch_size: int) -> int:
    """Batches of the training split.

    Raises:
        InputError: there is none, or they cannot be counted.
    """
    train = call(task, "the training split", batches, data.train, batch_size, Generator())
    count: int = call(task, "len() of the training split's loader", len, train)
    if not count:
        raise InputError(
            f"--batch-size {batch_size} is more than the training samples of {task.name}; lower it"
        )
    return count


def check_task(task: Task, data: SearchData, batch_size: int, device: str) -> None:
    """Send one batch forward and backward, twice, and the validation split through the metric.

    Raises:
        InputError: something raises, does not fit, is not finite, or differs from one time to the
            next under the same seed.
    """
    first, _ = _one_batch(task, data, batch_size, device)
    again, model = _one_batch(task, data, batch_size, device)
    # Elsewhere, sums may come in another order.
    exact = device == "cpu" and torch.get_num_threads() == 1
    tolerance = 0.0 if exact else 1e-3
    for (what, one), (_, other) in zip(first, again, strict=True):
        same = one.shape == other.shape
        if not same or not one.allclose(other, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise wrong(
                task,
                f"{what} gives something else each time under the same seed; draw what is random "
                "from torch's, NumPy's or Python's global state, and make everything anew",
            )
    _check_metric(task, model, data, evaluation_batch(batch_size), device)


def _one_batch(
    task: Task, data: SearchData, batch_size: int, device: str
) -> tuple[Trace, nn.Module]:
    seed_everything(0)
    model = _model(task, device)
    weights = [parameter.detach().flatten() for parameter in model.parameters()]
    trace = [(MODEL, call(task, MODEL, torch.cat, weights))]
    order = Generator().manual_seed(0)
    train = _each(task, "training", lambda: batches(data.train, batch_size, order, device))
    inputs, targets = next(train)
    every = data.train.targets if isinstance(data.train, Split) else targets
    trace += [("the training split", inputs), ("the training split", targets)]
    if task.transform:
        changed = call(task, "transform", task.transform, inputs, targets)
        inputs, targets = _pair(task, "transform", changed)
        every = targets
        trace += [("transform", inputs), ("transform", targets)]
    outputs = _outputs(task, model, inputs)
    _check_targets(task, "training", outputs, every)
    loss = _loss(task, outputs, targets)
    call(task, f"the backward pass of {LOSS}", torch.autograd.backward, loss)
    trace += [("the model", outputs.detach()), (LOSS, loss.detach())]
    return [*trace, ("the backward pass", _gradient(task, model))], model


def _model(task: Task, device: str) -> nn.Module:
    model = call(task, MODEL, task.make_model, 0)
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        raise wrong(task, f"{MODEL} must return a torch.nn.Module with parameters")
    model = model.to(device)
    model.train()
    return model


def _gradient(task: Task, model: nn.Module) -> Tensor:
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    if not gradients:
        raise wrong(task, f"no parameter of {MODEL}'s model gets a gradient")
    gradient = torch.cat(gradients)
    if not gradient.isfinite().all():
        raise wrong(task, f"the gradient of {LOSS} is not finite for a fresh model")
    return gradient


def _loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    loss = call(task, LOSS, task.loss, outputs, targets)
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise wrong(task, f"{LOSS} must be a scalar tensor, not {shape}")
    if not loss.isfinite():
        raise wrong(task, f"{LOSS} of a fresh model is {loss.item()}")
    return loss


def _each(task: Task, name: str, make: Callable[[], Batches]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a split, one at a time, and at least one."""
    what = f"the {name} split"
    iterator = call(task, what, lambda: iter(make()))
    pair = call(task, what, next, iterator, None)
    if pair is None:
        raise wrong(task, f"{what} has no batch")
    while pair is not None:
        yield _pair(task, what, pair)
        pair = call(task, what, next, iterator, None)


@torch.inference_mode()
def _check_metric(
    task: Task, model: nn.Module, data: SearchData, batch_size: int, device: str
) -> None:
    model.eval()
    pairs: list[tuple[Tensor, Tensor]] = []
    split = data.validation
    for inputs, targets in _each(
        task, "validation", lambda: batches(split, batch_size, None, device)
    ):
        outputs = _outputs(task, model, inputs)
        if not pairs:
            every = split.targets if isinstance(split, Split) else targets
            _check_targets(task, "validation", outputs, every)
        _loss(task, outputs, targets)
        pairs.append((outputs, targets))
    joined = [
        call(task, "joining the batches of the validation split", torch.cat, parts)
        for parts in zip(*pairs, strict=True)
    ]
    value = call(task, METRIC, task.metric.compute, *joined)
    number = call(task, f"float() of {METRIC}", float, value)
    # Where all outputs are the same, as a fresh model's may be, many a metric is not defined.
    constant = is_constant(joined[0].amin(0), joined[0].amax(0))
    if not constant and number - number != 0:
        raise wrong(task, f"{METRIC} of a fresh model is {number}")


def _outputs(task: Task, model: nn.Module, inputs: Tensor) -> Tensor:
    outputs = call(task, f"the model of {MODEL}", model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != len(inputs):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise wrong(
            task,
            f"the model of {MODEL} must put out a tensor with a row for each of "
            f"{len(inputs)} inputs, not {shape}",
        )
    return outputs


def _check_targets(task: Task, name: str, outputs: Tensor, targets: Tensor) -> None:
    """Hold all targets against outputs of zero: class numbers out of range raise an IndexError.

    On the CPU, since a GPU answers them by an assertion after which it cannot be used any more. Any
    other error may be the zeros' own: the real outputs will tell.
    """
    shape = outputs.shape[1:]
    for some in torch.split(targets.cpu(), len(outputs)):
        try:
            task.loss(torch.zeros(len(some), *shape, dtype=outputs.dtype), some)
        except IndexError as error:
            raise wrong(
                task, f"{name} targets do not fit outputs of shape {tuple(shape)}: {said(error)}"
            ) from error
        except Exception:
            return


def _pair(task: Task, what: str, pair: Any) -> tuple[Tensor, Tensor]:
    try:
        inputs, targets = pair
        lengths = {len(inputs), len(targets)}
    except (TypeError, ValueError) as error:
        raise wrong(task, f"{what} must give pairs of inputs and targets: {error}") from error
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or len(lengths) > 1:
        raise wrong(task, f"{what} must give inputs and targets as tensors of one length")
    return inputs, targets
