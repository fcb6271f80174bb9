"""Checks of a task's data before any trial.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from study.system.errors import InputError, blamed
from study.tasks.data import Data, SearchData, Split, TrialData
from study.tasks.structure import named_tensors, sample_count
from study.tasks.task import Task

SHARED = 0.1
"""Share of a split's samples: more also in another one is no accident, where none recur."""
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
    _check_apart(task, data.train, "training", data.validation, "validation")
    return data


def load_for_search(task: Task, data_dir: Path) -> TrialData:
    """Data that a worker of a search loads which is not handed tensors."""
    return TrialData(load_search_data(task, data_dir))


def load_test_split(task: Task, load: Callable[[], Data], data: SearchData | None = None) -> Data:
    """The task's test split, which ``load`` opens, once it has been checked.

    Raises:
        InputError: it cannot be loaded, is empty, overlaps with ``data``, or holds no numbers.
        StudyError: it cannot be fetched.
    """
    split: Data = call(task, "load_test_data(data_dir)", load)
    _check_split(task, "test", split)
    for name, other in zip(("training", "validation"), data or (), strict=False):
        _check_apart(task, other, name, split, "test")
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
    parts = [*_parts(task, name, split)]
    (first, samples), *others = ((part, len(tensor)) for part, tensor in parts)
    for part, count in others:
        if count != samples:
            raise wrong(task, f"the {name} split has {samples} {first} but {count} {part}")
    if not samples:
        raise wrong(task, f"the {name} split is empty")
    for part, tensor in parts:
        _check_finite(task, f"{name} {part}", tensor)


def _parts(task: Task, name: str, split: Split) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a split by their names; a structure without any is refused."""
    for part, values in split._asdict().items():
        tensors = [*named_tensors(values, part)]
        if not tensors and not (part == "targets" and values is None):
            kind = type(values).__name__
            raise wrong(task, f"{name} {part} must be a tensor of samples, not {kind}")
        for whole, tensor in tensors:
            if not tensor.dim():
                raise wrong(task, f"{name} {whole} must be a tensor of samples, not one number")
            # Workers share them as NumPy arrays.
            call(task, f"reading {name} {whole}", lambda some: some.cpu().numpy(), tensor[:1])
        yield from tensors


def _check_finite(task: Task, what: str, tensor: Tensor) -> None:
    for k, chunk in enumerate(torch.split(tensor, CHUNK)):
        finite = chunk.isfinite()
        finite = finite.flatten(1).all(1) if finite.dim() > 1 else finite
        if not finite.all():
            sample = CHUNK * k + int(finite.int().argmin())
            raise wrong(task, f"{what} hold NaN or infinity, first in sample {sample}")


def _check_apart(task: Task, first: Data, name: str, second: Data, other: str) -> None:
    """Refuse a split whose samples are those of an earlier one, as far as can be seen.

    Raises:
        InputError: they have the same indices in the same data; or more are equal than recur by
            nature, as told by how many are equal within the earlier split.
    """
    if shared := _shared_indices(first, second):
        raise wrong(
            task,
            f"{other} samples are among the {name} samples: {shared} of them are the same samples "
            "of the same data; cut the splits apart",
        )
    if task.samples_recur or not (isinstance(first, Split) and isinstance(second, Split)):
        return
    rows = Counter(_rows(first))
    count, found = sample_count(second), sum(row in rows for row in _rows(second))
    by_nature = sum(times for times in rows.values() if times > 1) / sample_count(first)
    if found > (SHARED + by_nature) * count:
        raise wrong(
            task,
            f"{other} samples are among the {name} samples: {found} of {count} are equal to one "
            f"({found / count:.0%}; within the {name} split {by_nature:.0%} are equal to another); "
            "take them out, or give the Task samples_recur=True if different samples may be equal",
        )


def _shared_indices(first: Data, second: Data) -> int:
    """Number of samples with the same index in the same tensor or Dataset."""
    if isinstance(first, Split) and isinstance(second, Split):
        (_, some), *_ = named_tensors(first)
        (_, others), *_ = named_tensors(second)
        return _shared_rows(some, others)
    if isinstance(first, Dataset) and isinstance(second, Dataset):
        (whole, indices), (other, more) = _indices(first), _indices(second)
        return len(indices & more) if whole is other else 0
    return len([first]) if first is second else 0


def _indices(data: Dataset[Any]) -> tuple[Dataset[Any], set[int]]:
    """The Dataset of which this is a part, perhaps a part of a part, and the indices of it."""
    indices: Sequence[int] = range(len(data))  # type: ignore[arg-type]
    while isinstance(data, Subset):
        within = [int(index) for index in data.indices]  # tensors are no two alike in a set
        indices, data = [within[index] for index in indices], data.dataset
    return data, {*indices}


def _rows(split: Split) -> Iterator[int]:
    parts = [tensor.cpu().numpy() for _, tensor in named_tensors(split)]
    return (hash(tuple(part.tobytes() for part in row)) for row in zip(*parts, strict=True))


def _shared_rows(first: Tensor, second: Tensor) -> int:
    """Number of rows of two tensors in the same memory, as by a slice that begins too early."""
    step = first.stride(0) * first.element_size()
    alike = first.stride() == second.stride() and first.shape[1:] == second.shape[1:]
    if not alike or not step or first.dtype != second.dtype:
        return 0
    rows, rest = divmod(second.data_ptr() - first.data_ptr(), step)
    if rest:
        return 0
    return max(0, min(len(first), rows + len(second)) - max(0, rows))


def call(task: Task, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of a function of the task's.

    Raises:
        InputError: what it raises, in one line that begins with ``what``.
    """
    # The working directory is this process's, wherever the function goes.
    with (
        blamed(f"task {task.name!r}: {what}"),
        contextlib.chdir(os.curdir),
        warnings.catch_warnings(),
    ):
        # Of mean squared error and the like, which stretch (n,) against (n, 1) to (n, n).
        warnings.filterwarnings("error", message="Using a target size")
        return function(*arguments)


def wrong(task: Task, what: str) -> InputError:
    """An error that names the task."""
    return InputError(f"task {task.name!r}: {what}")


Load = Callable[[Task, Path], TrialData]
"""Gives the training and the validation split, and the test split where it is to be opened."""
