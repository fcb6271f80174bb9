"""Checks of a task before any trial: its data, and one batch through all of its functions.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset, IterableDataset, Subset

from study.batches import Batches, batches
from study.errors import InputError, StudyError, said
from study.task import Data, SearchData, Split, Task
from study.training import EVALUATION_BATCH, seed_everything

SHARED = 0.1
"""Of the validation samples: more than this also among the training samples is no accident."""

Trace = list[tuple[str, Tensor]]
"""What each function gave, in the order in which they were called."""


def load_search_data(task: Task, data_dir: Path) -> SearchData:
    """The task's training and validation split.

    Raises:
        InputError: they cannot be loaded, are empty, overlap, or hold what is no number.
        StudyError: they cannot be fetched.
    """
    data = _call(task, "load_search_data(data_dir)", task.load_search_data, data_dir)
    if not isinstance(data, SearchData):
        kind = type(data).__name__
        raise _wrong(task, f"load_search_data(data_dir) must return a SearchData, not {kind}")
    for name, split in zip(("training", "validation"), data, strict=True):
        _check_split(task, name, split)
    if _overlap(data):
        raise _wrong(task, "validation samples are among the training samples")
    return data


def check_task(task: Task, data: SearchData, batch_size: int, device: str) -> None:
    """Send one batch forward and backward, twice, and the validation split through the metric.

    Raises:
        InputError: something raises, does not fit, is not finite, or differs from one time to the
            next under the same seed.
    """
    first, _ = _one_batch(task, data, batch_size, device)
    again, model = _one_batch(task, data, batch_size, device)
    tolerance = 0.0 if device == "cpu" else 1e-3  # sums on a GPU may come in another order
    for (what, tensor), (_, other) in zip(first, again, strict=True):
        if not torch.allclose(tensor, other, rtol=tolerance, atol=tolerance):
            raise _wrong(
                task,
                f"{what} gives something else each time under the same seed; draw what is random "
                "from torch's, NumPy's or Python's global state",
            )
    _check_metric(task, model, data.validation, device)


def _check_split(task: Task, name: str, split: Data) -> None:
    if isinstance(split, IterableDataset):
        raise _wrong(task, f"the {name} split has no length; give a function that makes its loader")
    if isinstance(split, Dataset):
        if not _call(task, f"len() of the {name} split", len, split):
            raise _wrong(task, f"the {name} split is empty")
    elif isinstance(split, Split):
        _check_tensors(task, name, split)
    elif not callable(split):
        kind = type(split).__name__
        raise _wrong(
            task,
            f"the {name} split must be a Split of tensors, a Dataset or a function that "
            f"makes a DataLoader, not {kind}",
        )


def _check_tensors(task: Task, name: str, split: Split) -> None:
    for part, tensor in split._asdict().items():
        if not isinstance(tensor, Tensor):
            raise _wrong(task, f"{name} {part} must be a tensor, not {type(tensor).__name__}")
    inputs, targets = map(len, split)
    if inputs != targets:
        raise _wrong(task, f"the {name} split has {inputs} inputs but {targets} targets")
    if not inputs:
        raise _wrong(task, f"the {name} split is empty")
    for part, tensor in split._asdict().items():
        finite = tensor.isfinite().flatten(1).all(1) if tensor.dim() > 1 else tensor.isfinite()
        if not finite.all():
            sample = int(finite.int().argmin())
            raise _wrong(task, f"{name} {part} hold NaN or infinity, first in sample {sample}")


def _overlap(data: SearchData) -> bool:
    """Whether validation samples are training samples too, more of them than by accident."""
    train, validation = data
    if isinstance(train, Split) and isinstance(validation, Split):
        seen = set(_rows(train))
        shared = sum(row in seen for row in _rows(validation))
        accident = 0.0 if _same_memory(train.inputs, validation.inputs) else SHARED
        return shared > accident * len(validation.targets)
    if isinstance(train, Subset) and isinstance(validation, Subset):
        same = train.dataset is validation.dataset
        return same and not set(train.indices).isdisjoint(validation.indices)
    return train is validation


def _rows(split: Split) -> Iterator[int]:
    inputs, targets = (tensor.detach().cpu().numpy() for tensor in split)
    return (hash((x.tobytes(), y.tobytes())) for x, y in zip(inputs, targets, strict=True))


def _same_memory(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are views that overlap, as by a slice that begins too early."""
    starts = [tensor.data_ptr() for tensor in (first, second)]
    ends = [start + tensor.nbytes for start, tensor in zip(starts, (first, second), strict=True)]
    return first.is_contiguous() and second.is_contiguous() and max(starts) < min(ends)


def _one_batch(
    task: Task, data: SearchData, batch_size: int, device: str
) -> tuple[Trace, nn.Module]:
    seed_everything(0)
    model = _call(task, "make_model(seed)", task.make_model, 0)
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        raise _wrong(task, "make_model(seed) must return a torch.nn.Module with parameters")
    model = model.to(device).train()
    weights = [parameter.detach().flatten() for parameter in model.parameters()]
    trace = [("make_model(seed)", torch.cat(weights))]

    order = Generator().manual_seed(0)
    train = _each(task, "training", lambda: batches(data.train, batch_size, order, device))
    inputs, targets = next(train, (None, None))
    if inputs is None or targets is None:
        raise _wrong(task, f"the training split has no batch of --batch-size {batch_size}")
    trace += [("the training split", inputs), ("the training split", targets)]
    if task.transform:
        inputs, targets = _pair(
            task, "transform", _call(task, "transform", task.transform, inputs, targets)
        )
        trace += [("transform", inputs), ("transform", targets)]
    outputs = _outputs(task, model, inputs)
    _check_targets(task, "training", outputs, data.train, targets, device)
    loss = _loss(task, outputs, targets)
    _call(task, "the backward pass of loss(outputs, targets)", torch.autograd.backward, loss)
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    if not gradients:
        raise _wrong(task, "no parameter of make_model(seed)'s model gets a gradient")
    trace += [("the model", outputs.detach()), ("loss(outputs, targets)", loss.detach())]
    trace += [("the backward pass", torch.cat(gradients))]
    return trace, model


def _loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    what = "loss(outputs, targets)"
    loss = _call(task, what, task.loss, outputs, targets)
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise _wrong(task, f"{what} must be a scalar tensor, not {shape}")
    if not loss.isfinite():
        raise _wrong(task, f"{what} of a fresh model is {loss.item()}")
    return loss


def _each(task: Task, name: str, make: Callable[[], Batches]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a split, one at a time."""
    what = f"the {name} split"
    iterator = _call(task, what, lambda: iter(make()))
    while (pair := _call(task, what, next, iterator, None)) is not None:
        yield _pair(task, what, pair)


@torch.inference_mode()
def _check_metric(task: Task, model: nn.Module, data: Data, device: str) -> None:
    model.eval()
    outputs, targets = [], []
    whole = _each(task, "validation", lambda: batches(data, EVALUATION_BATCH, None, device))
    for inputs, part in whole:
        outputs.append(_outputs(task, model, inputs))
        targets.append(part)
    every = torch.cat(outputs), torch.cat(targets)
    _check_targets(task, "validation", every[0], data, every[1], device)
    value = _call(task, "metric.compute(outputs, targets)", task.metric.compute, *every)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong(task, f"metric.compute(outputs, targets) must be a scalar: {error}") from error
    if number != number:
        raise _wrong(task, "metric.compute(outputs, targets) of a fresh model is NaN")


def _outputs(task: Task, model: nn.Module, inputs: Tensor) -> Tensor:
    outputs = _call(task, "the model of make_model(seed)", model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != len(inputs):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise _wrong(
            task,
            f"the model of make_model(seed) must put out a tensor with a row for each of "
            f"{len(inputs)} inputs, not {shape}",
        )
    return outputs


def _check_targets(
    task: Task, name: str, outputs: Tensor, data: Data, batch: Tensor, device: str
) -> None:
    """Hold all targets against outputs of zero: class numbers out of range raise an IndexError.

    On the CPU, since a GPU answers them by an assertion after which it cannot be used any more.
    """
    every = data.targets if isinstance(data, Split) else batch
    shape = outputs.shape[1:]
    for targets in torch.split(every.cpu(), EVALUATION_BATCH):
        try:
            task.loss(torch.zeros(len(targets), *shape, dtype=outputs.dtype), targets)
        except IndexError as error:
            raise _wrong(
                task, f"{name} targets do not fit outputs of shape {tuple(shape)}: {said(error)}"
            ) from error
        except Exception as error:
            if device == "cpu":  # else a loss may well hold tensors that lie on the GPU
                raise _wrong(task, f"loss(outputs, targets) raised {said(error)}") from error


def _pair(task: Task, what: str, pair: Any) -> tuple[Tensor, Tensor]:
    try:
        inputs, targets = pair
        lengths = {len(inputs), len(targets)}
    except (TypeError, ValueError) as error:
        raise _wrong(task, f"{what} must give pairs of inputs and targets: {error}") from error
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor) or len(lengths) > 1:
        raise _wrong(task, f"{what} must give inputs and targets as tensors of one length")
    return inputs, targets


def _call(task: Task, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        with warnings.catch_warnings():
            # Of mean squared error and the like, which stretch (n,) against (n, 1) to (n, n).
            warnings.filterwarnings("error", message="Using a target size")
            return function(*arguments)
    except (InputError, StudyError):
        raise
    except Exception as error:
        raise _wrong(task, f"{what} raised {said(error)}") from error


def _wrong(task: Task, what: str) -> InputError:
    return InputError(f"task {task.name!r}: {what}")
