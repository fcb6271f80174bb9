"""Super-convergence: one cycle of 12 epochs against 85 epochs of Caffe's schedule.

Smith & Topin, arXiv 1708.07120, on MNIST: Caffe's LeNet, batch 512, weight decay 0.0005.
``python -m reproductions.super_convergence``
"""

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from reproductions.runs import Bench, Run
from search_spaces.family import Parameters, Recipe, ScheduleFamily, Weights
from study.cli import exit_status
from study.task import SearchData, Split, Task
from study.tasks import mnist

BATCH, BIAS_RATE, SHORT, LONG = 512, 2.0, 12, 85
PUBLISHED = {("inv", LONG): "99.03 ± 0.04", ("1cycle", SHORT): "99.25 ± 0.03"}


class Caffe(ScheduleFamily):
    """Caffe's SGD: plain momentum, and biases at twice the rate."""

    groups = frozenset()

    def make_optimizer(
        self, weights: Weights, parameters: Parameters, total_steps: int, fused: bool = False
    ) -> Optimizer:
        """Weights in the first group, biases in the second."""
        every, lr = list(weights), float(parameters["peak_lr"])
        biases = {"params": [one for one in every if one.ndim == 1], "lr": BIAS_RATE * lr}
        others = {"params": [one for one in every if one.ndim > 1]}
        return SGD([others, biases], lr, momentum=0.9, weight_decay=5e-4, fused=fused)


class Inv(Caffe):
    """``peak_lr * (1 + 0.0001 t) ** -0.75``, t in steps, whatever the horizon."""

    name = "inv"

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        """Of every group."""
        return Recipe(LambdaLR, {"lr_lambda": lambda step: (1 + 1e-4 * step) ** -0.75})


class OneCycle(Caffe):
    """Up and down in straight lines of 5 epochs each, then on to a 100,000th of the start."""

    name = "1cycle"
    cycle: ClassVar = {"base_momentum": 0.8, "max_momentum": 0.95, "anneal_strategy": "linear"}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        """From a tenth of the peak rate."""
        lr = float(parameters["peak_lr"])
        line = {"max_lr": [lr, BIAS_RATE * lr], "div_factor": 10, "final_div_factor": 1e5}
        line |= {"total_steps": total_steps, "pct_start": 5 / SHORT, "three_phase": True}
        return Recipe(OneCycleLR, line | self.cycle)


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


def main(arguments: Sequence[str]) -> int:
    """Train, and compare."""
    bench = Bench.parse("super_convergence", arguments)
    settings = [("inv", Inv, 0.01, SHORT), ("1cycle", OneCycle, 0.1, SHORT)]
    settings += [] if bench.asked.quick else [("inv", Inv, 0.01, LONG)]
    runs = [
        Run(name, f"{__spec__.name}:{family.__name__}", {"peak_lr": peak_lr}, epochs, seed)
        for seed in range(1 if bench.asked.quick else 5)
        for name, family, peak_lr, epochs in settings
    ]
    outcomes = bench.train(f"{__spec__.name}:make_task", runs, BATCH)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
