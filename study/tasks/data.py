"""The data of a task: splits in memory, Datasets, loaders; and who is given which of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Generator
from torch.utils.data import DataLoader, Dataset


class Split(NamedTuple):
    """Samples in memory, in the same order in every tensor.

    A batch is (inputs, targets), or what ``inputs`` is where there are no targets. Either may be a
    tensor or any structure of tensors: tuples, lists, dicts, dataclasses.
    """

    inputs: Any
    """(samples, ...)"""
    targets: Any = None
    """(samples, ...): class numbers as int64, (samples,), for cross entropy."""

    @property
    def batch(self) -> Any:
        """All samples as one batch."""
        return self.inputs if self.targets is None else (self.inputs, self.targets)


MakeLoader = Callable[[int, Generator | None], DataLoader[Any]]
"""Makes a loader of batches from a batch size and the generator that it has to shuffle with;
without a generator, it gives every sample once, in order."""

Data = Split | Dataset[Any] | MakeLoader
"""One split: tensors in memory, which are the fastest; or, for what does not fit, a map-style
torch Dataset of samples, or a function that makes a DataLoader. A batch is (inputs, targets), or
any other structure of tensors for a task that has ``step`` and ``evaluate``."""


class SearchData(NamedTuple):
    """All that a search may see. The test split is not part of it."""

    train: Data
    validation: Data


class TrialData(NamedTuple):
    """All that a training run is given: no search has a test split."""

    search: SearchData
    test: Data | None = None

    @classmethod
    def of(cls, splits: Sequence[Data]) -> "TrialData":
        """The data of training, validation and perhaps test split, in this order."""
        train, validation, *test = splits
        return cls(SearchData(train, validation), *test)

    @property
    def splits(self) -> tuple[Data, ...]:
        """All of them, in the same order."""
        return self.search if self.test is None else (*self.search, self.test)
