"""Small tasks for tests: real images, few of them; and models that fail in a chosen way."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from study.config import StudyConfig
from study.lenet import LeNet
from study.task import SearchData, Split, Task
from study.tasks.mnist import MNIST

TRAIN_SAMPLES, VALIDATION_SAMPLES = 1_000, 500


def excerpt(data: SearchData) -> SearchData:
    """The first samples of each split."""
    return SearchData(
        Split(*(tensor[:TRAIN_SAMPLES].clone() for tensor in data.train)),
        Split(*(tensor[:VALIDATION_SAMPLES].clone() for tensor in data.validation)),
    )


def load_excerpt(data_dir: Path) -> SearchData:
    del data_dir
    return excerpt(MNIST.load_search_data(StudyConfig().data_dir))


def small_task(make_model: Callable[[], nn.Module] = LeNet) -> Task:
    return Task("small", load_excerpt, make_model, peak_lr=(0.01, 0.1))


class Constant(nn.Module):
    """Puts out the same for every input, as a collapsed network does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.expand(len(images), 10)


class WithDropout(nn.Sequential):
    """Draws from the global random state at every step."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))


class RaisesInSecondEpoch(LeNet):
    """Fails as a user's code may: in the middle, with a message."""

    evaluations = 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training and self.evaluations:
            raise RuntimeError("this layer is broken")
        self.evaluations += not self.training
        return super().forward(images)


class DiesOnce(LeNet):
    """Kills its process in its second epoch, the first time it gets there."""

    evaluations = 0

    def forward(self, images: Tensor) -> Tensor:
        marker = Path(os.environ["LR_STUDY_TEST_MARKER"])
        if self.training and self.evaluations and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
        self.evaluations += not self.training
        return super().forward(images)


class AlwaysDies(LeNet):
    """Kills its process at the first batch."""

    def forward(self, images: Tensor) -> Tensor:
        os.kill(os.getpid(), 9)
        return super().forward(images)
