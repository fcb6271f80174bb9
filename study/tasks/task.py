"""A task: data, model, loss and metric, behind one small seam."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from search_spaces import PeakRange
from study.tasks.metric import ACCURACY, RMSE, Metric

__all__ = ["ACCURACY", "RMSE", "Data", "MakeLoader", "Metric", "SearchData", "Split", "Task"]


class Split(NamedTuple):
    """Samples and their targets in memory, in the same order."""

    inputs: Tensor
    """(samples, ...)"""
    targets: Tensor
    """(samples, ...): class numbers as int64, (samples,), for cross entropy."""


MakeLoader = Callable[[int, Generator | None], DataLoader[Any]]
"""Makes a loader of (inputs, targets) from a batch size and the generator that it has to shuffle
with; without a generator, it gives every sample once, in order."""

Data = Split | Dataset[Any] | MakeLoader
"""One split: tensors in memory, which are the fastest; or, for what does not fit, a map-style
torch Dataset of (input, target) pairs, or a function that makes a DataLoader."""


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


@dataclass(frozen=True)
class Task:
    """A model, the data that it is trained on, and what counts as good.

    Every function may draw from the global random states of torch, NumPy and Python: they are
    seeded for each trial, kept in its checkpoints, and so repeat.
    """

    name: str
    load_search_data: Callable[[Path], SearchData]
    """Training and validation split. What has to be downloaded goes into the given folder."""
    load_test_data: Callable[[Path], Data]
    """The test split, which no search opens."""
    make_model: Callable[[int], nn.Module]
    """A fresh model. The seed is for those who need one: the global states have it already."""
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy
    """From a batch's outputs and targets to its mean loss, a scalar. Lower is better. The loss of
    a split is the mean over its batches, each with the weight of its samples."""
    metric: Metric = ACCURACY
    """Metric that trials are ranked by, on the validation split."""
    transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    """Augmentation: from a training batch's inputs and targets to those to train with."""
    peak_lr: PeakRange = (3e-3, 0.3)
    """The range of peak rates worth searching for this model with SGD."""
    adamw_peak_lr: PeakRange = (1e-4, 1e-2)
    """The range of peak rates with AdamW."""
    chance_loss: float | None = None
    """The loss of a guess, ln(classes) for cross entropy: a run that does not end at least 1% below
    has diverged. None where no such loss is known."""
    samples_recur: bool = False
    """True if different samples may be equal, so that equal ones in two splits are no leak."""
    capturable: bool = False
    """True if a training step is the same work on the device every time: model and loss draw
    nothing on the host, look at no values (``.item()``, a mask that picks) and keep no state but
    in buffers. Steps with SGD on tensors in memory are then replayed as one CUDA graph on a GPU."""

    def peak_range(self, optimizer: str) -> PeakRange:
        """The peak rates to search with an optimizer: ``sgd`` or ``adamw``."""
        return self.adamw_peak_lr if optimizer == "adamw" else self.peak_lr

    def __post_init__(self) -> None:
        """Check what can be checked without data.

        Raises:
            TypeError: a metric that is no :class:`~study.metric.Metric`.
            ValueError: a range of rates that is none.
        """
        if not isinstance(self.metric, Metric):
            raise TypeError(f"metric must be a study.task.Metric, not {self.metric!r}")
        for field in ("peak_lr", "adamw_peak_lr"):
            low, high = getattr(self, field)
            if not 0 < low < high:
                raise ValueError(f"{field} must be two rates, 0 < low < high, not {low}, {high}")
