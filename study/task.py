"""What is trained: data, model, loss and metric, behind one small seam."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from search_spaces import PeakRange


class Split(NamedTuple):
    """Samples and their targets, in the same order."""

    inputs: Tensor
    """float, (samples, ...)"""
    targets: Tensor
    """int64 class numbers, (samples,)"""


class SearchData(NamedTuple):
    """All that a search may see. The test split is not part of it."""

    train: Split
    validation: Split


@dataclass(frozen=True)
class Task:
    """A classification problem and the model that is trained on it.

    Functions are module-level ones, since a task travels to the workers.
    """

    name: str
    load_search_data: Callable[[Path], SearchData]
    """Training and validation split, fetched into the given folder if they are not there.
    Raises InputError or StudyError."""
    make_model: Callable[[], nn.Module]
    """A fresh model, drawn from torch's global random state."""
    peak_lr: PeakRange
    """The range of peak rates worth searching for this model with SGD."""
    adamw_peak_lr: PeakRange = (1e-4, 1e-2)
    """The same with AdamW."""


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy, a scalar."""
    return functional.cross_entropy(outputs, targets)


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of samples whose largest logit is the target's, a scalar."""
    return (outputs.argmax(1) == targets).double().mean()
