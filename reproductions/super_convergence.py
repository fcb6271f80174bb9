"""Super-convergence: one cycle of 12 epochs against 85 epochs of Caffe's schedule.

Smith & Topin, arXiv 1708.07120, on MNIST: Caffe's LeNet, batch 512, weight decay 0.0005.
``python -m reproductions.super_convergence``
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from analysis.figures.style import WIDTH, scale_rates
from reproductions import caffe
from reproductions.runs import Bench, Outcome, Run, dots, percent
from search_spaces.family import Parameters, Recipe, ScheduleFamily, Weights
from study.system.command_line import exit_status

BATCH, BIAS_RATE, SHORT, LONG = 512, 2.0, 12, 85
PUBLISHED = {("inv", LONG): ("99.03 ± 0.04", "98.92"), ("1cycle", SHORT): ("99.25 ± 0.03", "99.06")}
"""By the paper, and by an independent replication."""


class Caffe(ScheduleFamily):
    """Caffe's SGD: plain momentum, and biases at twice the rate."""

    groups = frozenset()

    def make_optimizer(
        self, weights: Weights, parameters: Parameters, total_steps: int, fused: bool = False
    ) -> Optimizer:
        """Weights in the first group, biases in the second."""
        every = [one for one in weights if isinstance(one, Tensor)]
        lr = float(parameters["peak_lr"])
        biases: dict[str, Any] = {
            "params": [one for one in every if one.ndim == 1],
            "lr": BIAS_RATE * lr,
        }
        others: dict[str, Any] = {"params": [one for one in every if one.ndim > 1]}
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


def tabled(found: Mapping[tuple[str, int], Sequence[float]]) -> list[list[str]]:
    """Accuracies beside those published, and one cycle against each of the others."""
    lines = [["schedule", "epochs", "test accuracy, %", "published, %", "a replication, %"]]
    for (name, epochs), values in found.items():
        lines.append([name, str(epochs), percent(values), *PUBLISHED.get((name, epochs), ("", ""))])
    (fast,) = (setting for setting in found if setting[0] == "1cycle")
    for other in [setting for setting in found if setting[0] == "inv"]:
        gains = np.subtract(found[fast], found[other])
        name = f"1cycle at {fast[1]} over inv at {other[1]}"
        lines.append([name, "", f"{percent(gains)} points", "", ""])
    return lines


def draw(outcomes: Sequence[Outcome], found: Mapping[tuple[str, int], Sequence[float]]) -> Figure:
    """The rates, and what each seed came to."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 2))
    for name, epochs in found:
        run = next(one for one in outcomes if (one.run.schedule, one.run.epochs) == (name, epochs))
        steps, rates, _ = np.array(run.history.curve).T
        left.plot((steps + 1) / (steps[-1] + 1) * epochs, rates)
    left.set(xlabel="epoch", ylabel="learning rate", ylim=(1e-4, 0.2))
    scale_rates(left.yaxis)
    dots(right, {f"{name}, {epochs} epochs": values for (name, epochs), values in found.items()})
    return figure


def main(arguments: Sequence[str]) -> int:
    """Train, and compare."""
    bench = Bench.parse("super_convergence", arguments)
    short = 2 if bench.asked.quick else SHORT
    settings = [("inv", Inv, 0.01, short), ("1cycle", OneCycle, 0.1, short)]
    settings += [] if bench.asked.quick else [("inv", Inv, 0.01, LONG)]
    runs = [
        Run(name, f"{__spec__.name}:{family.__name__}", {"peak_lr": peak_lr}, epochs, seed)
        for seed in range(1 if bench.asked.quick else 5)
        for name, family, peak_lr, epochs in settings
    ]
    outcomes = bench.train(f"{caffe.__name__}:make_task", runs, BATCH)
    found: dict[tuple[str, int], list[float]] = {}
    for one in outcomes:
        found.setdefault((one.run.schedule, one.run.epochs), []).append(one.accuracy)
    rows = [one.row for one in outcomes]
    return bench.report(rows, tabled(found), lambda: draw(outcomes, found))


if __name__ == "__main__":
    sys.exit(exit_status(main))
