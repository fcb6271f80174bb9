"""Batches of a split on the device, whichever way the split comes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from study.tasks.data import Data, Split
from study.tasks.structure import mapped, named_tensors

T = TypeVar("T")


class Batches(Protocol):
    """One epoch each time it is iterated over."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def __iter__(self) -> Iterator[Any]:
        """Batches, structures of tensors on the device."""


def batches(data: Data, size: int, order: Generator | None, device: str = "cpu") -> Batches:
    """Batches of a split.

    Args:
        data: the split.
        size: samples a batch.
        order: shuffles anew each epoch, and leaves the incomplete last batch out: as every epoch
            has another order, no sample is left out for good. Without it, all samples in order.
        device: where the batches are wanted.

    All that is random is drawn from ``order`` and from torch's global state, so that an epoch can
    be repeated from their states.
    """
    if isinstance(data, Split):
        return TensorBatches(data, size, order, device)
    if isinstance(data, Dataset):
        shuffled = order is not None
        loader = DataLoader(data, size, shuffled, generator=order, drop_last=shuffled)
        return _LoaderBatches(loader, device)
    return _LoaderBatches(data(size, order), device)


def last_batch(loader: DataLoader[Any]) -> Any:
    """The last batch of an epoch, alone where the loader says what is in it.

    Raises:
        ValueError: there is none.
    """
    if loader.batch_sampler is not None and not isinstance(loader.dataset, IterableDataset):
        own = deque(loader.batch_sampler, maxlen=1)
        loader = DataLoader(loader.dataset, batch_sampler=own, collate_fn=loader.collate_fn)
    (batch,) = deque(loader, maxlen=1)
    return batch


def on_device(data: Data, device: str) -> Data:
    """Tensors moved to the device, unless they lie there; any other data as they are."""
    return moved(data, device) if isinstance(data, Split) else data


def moved(structure: T, device: str) -> T:
    """A structure whose tensors are on the device."""
    return mapped(lambda tensor: tensor.to(device), structure)


def endless(epoch: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Items of one epoch after the other, until an epoch gives none."""
    empty = False
    while not empty:
        empty = True
        for one in epoch():
            empty = False
            yield one


class TensorBatches:
    """The whole split lies on the device."""

    def __init__(self, split: Split, size: int, order: Generator | None, device: str) -> None:
        self.split = moved(split, device)
        self.size, self._order = size, order
        (_, first), *_ = named_tensors(self.split)
        self._samples, self.device = len(first), first.device

    def __len__(self) -> int:
        return self._samples // self.size if self._order else -(-self._samples // self.size)

    def __iter__(self) -> Iterator[Any]:
        if self._order is None:
            for start in range(0, self._samples, self.size):
                # A copy, since a model may work in place, and others read these tensors too.
                yield mapped(partial(_copied, start, start + self.size), self.split.batch)
            return
        for indices in self.indices():
            yield self.at(indices)

    def indices(self) -> Iterator[Tensor]:
        """One shuffled epoch: for each batch, where in the split its samples lie."""
        order = torch.randperm(self._samples, generator=self._order)
        picked = order[: len(self) * self.size].to(self.device)
        return iter(picked.view(len(self), -1))

    def at(self, indices: Tensor) -> Any:
        """The samples that lie there."""
        # A third of the time of tensor[indices].
        return mapped(lambda tensor: tensor.index_select(0, indices), self.split.batch)


def _copied(start: int, end: int, samples: Tensor) -> Tensor:
    return samples[start:end].clone()


class _LoaderBatches:
    def __init__(self, loader: DataLoader[Any], device: str) -> None:
        self._loader, self._device = loader, device

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        promised, given = len(self), 0
        for batch in self._loader:
            given += 1
            if given > promised:
                break
            yield moved(batch, self._device)
        if given != promised:  # the schedule ends where the loader says that it will
            found = "more" if given > promised else given
            raise ValueError(f"a loader that says it has {promised} batches has {found}")
