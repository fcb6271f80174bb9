"""One sample in twenty is of the class that matters: weighted sampling and loss, ranked by F1.

lr-study run --task examples/imbalanced.py:make_task --num-trials 20 --epochs 5
"""

from collections.abc import Iterable

import torch
from sklearn.datasets import make_classification
from sklearn.metrics import f1_score, precision_score, recall_score
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from study.task import MakeLoader, Metric, SearchData, Task

X, Y = make_classification(6_000, 20, n_informative=8, weights=[0.95], random_state=0)
INPUTS, TARGETS = torch.from_numpy(X).float(), torch.from_numpy(Y)


def loader(samples: slice) -> MakeLoader:
    """The samples in order, or drawn so that the rare class comes four times as often."""
    data = TensorDataset(INPUTS[samples], TARGETS[samples])

    def make(size: int, order: Generator | None) -> DataLoader[tuple[Tensor, ...]]:
        if order is None:
            return DataLoader(data, size)
        weights = torch.tensor([1.0, 4.0])[TARGETS[samples]].tolist()
        sampler = WeightedRandomSampler(weights, len(data), generator=order)
        return DataLoader(data, size, sampler=sampler, drop_last=True)

    return make


def evaluate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """F1 of the rare class, precision and recall."""
    pairs = [(model(inputs).argmax(1).cpu(), targets.cpu()) for inputs, targets in batches]
    found, targets = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    scores = {"F1": f1_score, "precision": precision_score, "recall": recall_score}
    return {name: score(targets, found, zero_division=0) for name, score in scores.items()}


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy, a sample of the rare class for two of the other."""
    return functional.cross_entropy(outputs, targets, outputs.new_tensor([1.0, 2.0]))


def make_task() -> Task:
    """The task."""
    train, validation, test = map(loader, (slice(4_000), slice(4_000, 5_000), slice(5_000, 6_000)))
    return Task(
        name="imbalanced",
        load_search_data=lambda data_dir: SearchData(train, validation),
        load_test_data=lambda data_dir: test,
        make_model=lambda seed: nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2)),
        loss=loss,
        evaluate=evaluate,
        metric=Metric("F1", "maximize"),
    )
