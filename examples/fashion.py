"""A convolutional net on Fashion-MNIST, its training batches mirrored and shifted.

lr-study run --task examples/fashion.py:make_task --epochs 5
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.task import Task
from study.tasks.builtin.fashion_mnist import load_search_data, load_test_data


def transform(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mirror every other image or so, and shift the whole batch by up to two pixels."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    images = torch.where(mirrored.to(images.device), images.flip(3), images)
    down, right = torch.randint(5, (2,)).tolist()
    padded = functional.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded[:, :, down : down + 28, right : right + 28], labels


def make_task(width: int = 16) -> Task:
    """The task; ``width`` is the number of channels after the first convolution."""

    def make_model(seed: int) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1)),
            *(nn.BatchNorm2d(2 * width), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(2 * width * 7 * 7, 10),
        ).to(memory_format=torch.channels_last)

    return Task(
        name="fashion with augmentation",
        load_search_data=load_search_data,
        load_test_data=load_test_data,
        make_model=make_model,
        transform=transform,
    )
