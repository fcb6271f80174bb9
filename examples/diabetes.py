"""How far diabetes has progressed after a year: regression by a small MLP, ranked by its RMSE.

lr-study run --task examples/diabetes.py:make_task --epochs 20 --batch-size 32
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn import functional

from study.task import RMSE, SearchData, Split, Task


def splits() -> list[Split]:
    """300 training, 70 validation and 72 test patients, always the same ones."""
    features, progression = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(features))
    parts = []
    for values in (features[order], progression[order, None]):
        # Standardised with what the training patients alone show.
        standard = (values - values[:300].mean(0)) / values[:300].std(0)
        parts.append(torch.tensor(standard, dtype=torch.float32).tensor_split([300, 370]))
    return [Split(*pair) for pair in zip(*parts, strict=True)]


def load_search_data(data_dir: Path) -> SearchData:
    """It comes with scikit-learn, so nothing is downloaded."""
    return SearchData(*splits()[:2])


def make_task(hidden: int = 32) -> Task:
    """The task; ``hidden`` is the width of the one hidden layer."""
    return Task(
        name="diabetes",
        load_search_data=load_search_data,
        load_test_data=lambda data_dir: splits()[2],
        make_model=lambda seed: nn.Sequential(
            nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        ),
        loss=functional.mse_loss,
        metric=RMSE,
        peak_lr=(1e-3, 0.3),
    )
