"""Batches of a split on the device, whichever way the split comes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from study.tasks.task import Data, Split

Pair = tuple[Tensor, Tensor]
T = TypeVar("T")


class Batches(Protocol):
    """One epoch each time it is iterated over."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def __iter__(self) -> Iterator[Pair]:
        """Inputs and targets, on the device."""


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
    return Split(*(tensor.to(device) for tensor in data)) if isinstance(data, Split) else data


def endless(epoch: Callable[[], Iterable[T]]) -> Iterator[T]:
    """Batches of one epoch after the other.

    Raises:
        ValueError: one gives nothing; the next would not either.
    """
    while True:
        empty = True
        for one in epoch():
            empty = False
            yield one
        if empty:
            raise ValueError("an epoch of the training split has no batches")


class TensorBatches:
    """The whole split lies on the device."""

    def __init__(self, split: Split, size: int, order: Generator | None, device: str) -> None:
        self.split = Split(*(tensor.to(device) for tensor in split))
        self.size, self._order = size, order

    def __len__(self) -> int:
        samples = len(self.split.targets)
        return samples // self.size if self._order else -(-samples // self.size)

    def __iter__(self) -> Iterator[Pair]:
        if self._order is None:
            parts = (torch.split(part, self.size) for part in self.split)
            for some, their_targets in zip(*parts, strict=True):
                # A copy, since a model may work in place, and others read these tensors too.
                yield some.clone(), their_targets
            return
        for indices in self.indices():
            yield self.at(indices)

    def indices(self) -> Iterator[Tensor]:
        """One shuffled epoch: for each batch, where in the split its samples lie."""
        order = torch.randperm(len(self.split.targets), generator=self._order)
        picked = order[: len(self) * self.size].to(self.split.targets.device)
        return iter(picked.view(len(self), -1))

    def at(self, indices: Tensor) -> Pair:
        """The samples that lie there."""
        inputs, targets = self.split
        # A third of the time of inputs[indices].
        return inputs.index_select(0, indices), targets.index_select(0, indices)


class _LoaderBatches:
    def __init__(self, loader: DataLoader[Any], device: str) -> None:
        self._loader, self._device = loader, device

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Pair]:
        promised, given = len(self), 0
        for inputs, targets in self._loader:
            given += 1
            if given > promised:
                break
            yield inputs.to(self._device), targets.to(self._device)
        if given != promised:  # the schedule ends where the loader says that it will
            found = "more" if given > promised else given
            raise ValueError(f"a loader that says it has {promised} batches has {found}")
