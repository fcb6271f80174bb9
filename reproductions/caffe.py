"""MNIST with the LeNet of Caffe's examples."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from study.task import SearchData, Split, Task
from study.tasks.builtin import mnist


def make_task() -> Task:
    """MNIST as Caffe had it: pixels / 256, and a LeNet without a ReLU after the convolutions."""

    def loaded(load: Callable[[Path], Any]) -> Callable[[Path], Any]:
        return lambda data_dir: _as_caffe(load(data_dir))

    load_search_data, load_test_data = map(loaded, (mnist.load_search_data, mnist.load_test_data))
    return Task(
        "mnist, Caffe's LeNet", load_search_data, load_test_data, make_model,
        chance_loss=math.log(10),
    )  # fmt: skip


def make_model(seed: int) -> nn.Module:
    """431,080 parameters; Xavier's weights as Caffe's filler has them, biases at 0."""
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10),
    )  # fmt: skip
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = math.sqrt(3 / layer.weight[0].numel())  # by the number of inputs alone
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return model.to(memory_format=torch.channels_last)  # half as fast again on CPU


def _as_caffe(data: Any) -> Any:
    if isinstance(data, SearchData):
        return SearchData(*map(_as_caffe, data))
    pixels = (data.inputs * mnist.STD + mnist.MEAN) * (255 / 256)
    return Split(pixels.contiguous(), data.targets)
