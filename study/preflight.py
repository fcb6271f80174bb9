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
from study.training import evaluation_batch, is_constant, seed_everything

SHARED = 0.1
"""Of the validation samples: more than this also among the training samples is no accident."""
CHUNK = 4096
"""Samples that are looked at together, so that looking takes little memory."""

Trace = list[tuple[str, Tensor]]
"""What each function gave, in the order in which they were called."""
MODEL, LOSS, METRIC = (
    "make_model(seed)",
    "loss(outputs, targets)",
    "metric.compute(outputs, targets)",
)


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


def load_test_split(task: Task, load: Callable[[], Data], data: SearchData | None = None) -> Data:
    """What ``load`` gives, which opens the task's test split, once it has been checked.

    Raises:
        InputError: it cannot be loaded, is empty, overlaps with ``data``, or holds no numbers.
        StudyError: it cannot be fetched.
    """
    split: Data = _call(task, "load_test_data(data_dir)", load)
    _check_split(task, "test", split)
    for name, other in zip(("training", "validation"), data or (), strict=False):
        if _overlap(SearchData(other, split)):
            raise _wrong(task, f"test samples are among the {name} samples")
    return split


def steps_per_epoch(task: Task, data: SearchData, batch_size: int) -> int:
    """Batches of the training split.

    Raises:
        InputError: there is none, or they cannot be counted.
    """
    train = _call(task, "the training split", batches, data.train, batch_size, Generator())
    count: int = _call(task, "len() of the training split's loader", len, train)
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
            raise _wrong(
                task,
                f"{what} gives something else each time under the same seed; draw what is random "
                "from torch's, NumPy's or Python's global state, and make everything anew",
            )
    _check_metric(task, model, data, evaluation_batch(batch_size), device)


def _check_split(task: Task, name: str, split: Data) -> None:
    if isinstance(split, IterableDataset):
        raise _wrong(
            task,
            f"the {name} split has no length; give a function that makes a loader with one",
        )
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
        if not isinstance(tensor, Tensor) or not tensor.dim():
            kind = "one number" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise _wrong(task, f"{name} {part} must be a tensor of samples, not {kind}")
        # Workers share them as NumPy arrays.
        _call(task, f"reading {name} {part}", lambda values: values.cpu().numpy(), tensor[:1])
    inputs, targets = map(len, split)
    if inputs != targets:
        raise _wrong(task, f"the {name} split has {inputs} inputs but {targets} targets")
    if not inputs:
        raise _wrong(task, f"the {name} split is empty")
    for part, tensor in split._asdict().items():
        for k, chunk in enumerate(torch.split(tensor, CHUNK)):
            finite = chunk.isfinite().view(len(chunk), -1).all(1)
            if not finite.all():
                sample = CHUNK * k + int(finite.int().argmin())
                raise _wrong(task, f"{name} {part} hold NaN or infinity, first in sample {sample}")


def _overlap(data: SearchData) -> bool:
    """Whether validation samples are training samples too, more of them than by accident."""
    train, validation = data
    if isinstance(train, Split) and isinstance(validation, Split):
        if _same_memory(train.inputs, validation.inputs):
            return True
        seen = set(_rows(train))
        shared = sum(row in seen for row in _rows(validation))
        # Where samples recur within a split too, they do so by nature.
        recurring = len(seen) < (1 - SHARED) * len(train.targets)
        return not recurring and shared > SHARED * len(validation.targets)
    if isinstance(train, Subset) and isinstance(validation, Subset):
        same = train.dataset is validation.dataset
        return same and not set(train.indices).isdisjoint(validation.indices)
    return train is validation


def _rows(split: Split) -> Iterator[int]:
    inputs, targets = (tensor.cpu().numpy() for tensor in split)
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
    model = _model(task, device)
    weights = [parameter.detach().flatten() for parameter in model.parameters()]
    trace = [(MODEL, _call(task, MODEL, torch.cat, weights))]
    order = Generator().manual_seed(0)
    train = _each(task, "training", lambda: batches(data.train, batch_size, order, device))
    inputs, targets = next(train)
    every = data.train.targets if isinstance(data.train, Split) else targets
    trace += [("the training split", inputs), ("the training split", targets)]
    if task.transform:
        changed = _call(task, "transform", task.transform, inputs, targets)
        inputs, targets = _pair(task, "transform", changed)
        every = targets
        trace += [("transform", inputs), ("transform", targets)]
    outputs = _outputs(task, model, inputs)
    _check_targets(task, "training", outputs, every)
    loss = _loss(task, outputs, targets)
    _call(task, f"the backward pass of {LOSS}", torch.autograd.backward, loss)
    trace += [("the model", outputs.detach()), (LOSS, loss.detach())]
    return [*trace, ("the backward pass", _gradient(task, model))], model


def _model(task: Task, device: str) -> nn.Module:
    model = _call(task, MODEL, task.make_model, 0)
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        raise _wrong(task, f"{MODEL} must return a torch.nn.Module with parameters")
    model = model.to(device)
    model.train()
    return model


def _gradient(task: Task, model: nn.Module) -> Tensor:
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    if not gradients:
        raise _wrong(task, f"no parameter of {MODEL}'s model gets a gradient")
    gradient = torch.cat(gradients)
    if not gradient.isfinite().all():
        raise _wrong(task, f"the gradient of {LOSS} is not finite for a fresh model")
    return gradient


def _loss(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    loss = _call(task, LOSS, task.loss, outputs, targets)
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise _wrong(task, f"{LOSS} must be a scalar tensor, not {shape}")
    if not loss.isfinite():
        raise _wrong(task, f"{LOSS} of a fresh model is {loss.item()}")
    return loss


def _each(task: Task, name: str, make: Callable[[], Batches]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a split, one at a time, and at least one."""
    what = f"the {name} split"
    iterator = _call(task, what, lambda: iter(make()))
    pair = _call(task, what, next, iterator, None)
    if pair is None:
        raise _wrong(task, f"{what} has no batch")
    while pair is not None:
        yield _pair(task, what, pair)
        pair = _call(task, what, next, iterator, None)


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
        _call(task, "joining the batches of the validation split", torch.cat, parts)
        for parts in zip(*pairs, strict=True)
    ]
    value = _call(task, METRIC, task.metric.compute, *joined)
    number = _call(task, f"float() of {METRIC}", float, value)
    # Where all outputs are the same, as a fresh model's may be, many a metric is not defined.
    constant = is_constant(joined[0].amin(0), joined[0].amax(0))
    if not constant and number - number != 0:
        raise _wrong(task, f"{METRIC} of a fresh model is {number}")


def _outputs(task: Task, model: nn.Module, inputs: Tensor) -> Tensor:
    outputs = _call(task, f"the model of {MODEL}", model, inputs)
    if not isinstance(outputs, Tensor) or not outputs.dim() or len(outputs) != len(inputs):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise _wrong(
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
            raise _wrong(
                task, f"{name} targets do not fit outputs of shape {tuple(shape)}: {said(error)}"
            ) from error
        except Exception:
            return


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
