"""scikit-learn's bundled digits with a small MLP: nothing to download, seconds to train."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from study.tasks.data import SearchData, Split
from study.tasks.task import Task

# The set is in the order of its writers, so the splits are cut from one fixed shuffle.
TRAIN, VALIDATION = 1_200, 300


def _splits() -> list[Split]:
    # Here, not above: every worker makes the task, and none loads its data.
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    inputs = torch.from_numpy(digits.data[order]).float().div_(16).sub_(0.5)
    targets = torch.from_numpy(digits.target[order]).long()
    parts = (part.tensor_split([TRAIN, TRAIN + VALIDATION]) for part in (inputs, targets))
    return [Split(*pair) for pair in zip(*parts, strict=True)]


def load_search_data(data_dir: Path) -> SearchData:
    """1,200 training and 300 validation samples of 64 pixels."""
    return SearchData(*_splits()[:2])


def load_test_data(data_dir: Path) -> Split:
    """The other 297 samples."""
    return _splits()[2]


def make_model(seed: int) -> nn.Module:
    """An MLP with one hidden layer of 64."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def make_task() -> Task:
    """The task."""
    return Task(
        name="digits",
        load_search_data=load_search_data,
        load_test_data=load_test_data,
        make_model=make_model,
        peak_lr=(0.01, 1.0),
        chance_loss=math.log(10),
        capturable=True,
    )
