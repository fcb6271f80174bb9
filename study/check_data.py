"""Checks of a task's data before any trial.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from study.errors import InputError, StudyError, said
from study.task import Data, SearchData, Split, Task

SHARED = 0.1
"""Of the validation samples: more than this also among the training samples is no accident."""
CHUNK = 4096
"""Samples that are looked at together, so that looking takes little memory."""


def load_search_data(task: Task, data_dir: Path) -> SearchData:
    """The task's training and validation split.

    Raises:
        InputError: they cannot be loaded, are empty, overlap, or hold what is no number.
        StudyError: they cannot be fetched.
    """
    data = call(task, "load_search_data(data_dir)", task.load_search_data, data_dir)
    if not isinstance(data, SearchData):
        kind = type(data).__name__
        raise wrong(task, f"load_search_data(data_dir) must return a SearchData, not {kind}")
    for name, split in zip(("training", "validation"), data, strict=True):
        _check_split(task, name, split)
    if _overlap(data):
        raise wrong(task, "validation samples are among the training samples")
    return data


def load_test_split(task: Task, load: Callable[[], Data], data: SearchData | None = None) -> Data:
    """What ``load`` gives, which opens the task's test split, once it has been checked.

    Raises:
        InputError: it cannot be loaded, is empty, overlaps with ``data``, or holds no numbers.
        StudyError: it cannot be fetched.
    """
    split: Data = call(task, "load_test_data(data_dir)", load)
    _check_split(task, "test", split)
    for name, other in zip(("training", "validation"), data or (), strict=False):
        if _overlap(SearchData(other, split)):
            raise wrong(task, f"test samples are among the {name} samples")
    return split


def _check_split(task: Task, name: str, split: Data) -> None:
    if isinstance(split, IterableDataset):
        raise wrong(
            task,
            f"the {name} split has no length; give a function that makes a loader with one",
        )
    if isinstance(split, Dataset):
        if not call(task, f"len() of the {name} split", len, split):
            raise wrong(task, f"the {name} split is empty")
    elif isinstance(split, Split):
        _check_tensors(task, name, split)
    elif not callable(split):
        kind = type(split).__name__
        raise wrong(
            task,
            f"the {name} split must be a Split of tensors, a Dataset or a function that "
            f"makes a DataLoader, not {kind}",
        )


def _check_tensors(task: Task, name: str, split: Split) -> None:
    for part, tensor in split._asdict().items():
        if not isinstance(tensor, Tensor) or not tensor.dim():
            kind = "one number" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise wrong(task, f"{name} {part} must be a tensor of samples, not {kind}")
        # Workers share them as NumPy arrays.
        call(task, f"reading {name} {part}", lambda values: values.cpu().numpy(), tensor[:1])
    inputs, targets = map(len, split)
    if inputs != targets:
        raise wrong(task, f"the {name} split has {inputs} inputs but {targets} targets")
    if not inputs:
        raise wrong(task, f"the {name} split is empty")
    for part, tensor in split._asdict().items():
        for k, chunk in enumerate(torch.split(tensor, CHUNK)):
            finite = chunk.isfinite().view(len(chunk), -1).all(1)
            if not finite.all():
                sample = CHUNK * k + int(finite.int().argmin())
                raise wrong(task, f"{name} {part} hold NaN or infinity, first in sample {sample}")


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


def call(task: Task, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of the task's gives.

    Raises:
        InputError: what it raises, in one line that begins with ``what``.
    """
    try:
        with warnings.catch_warnings():
            # Of mean squared error and the like, which stretch (n,) against (n, 1) to (n, n).
            warnings.filterwarnings("error", message="Using a target size")
            return function(*arguments)
    except (InputError, StudyError):
        raise
    except Exception as error:
        raise wrong(task, f"{what} raised {said(error)}") from error


def wrong(task: Task, what: str) -> InputError:
    """An error that names the task."""
    return InputError(f"task {task.name!r}: {what}")
