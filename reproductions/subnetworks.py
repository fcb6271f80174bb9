"""Prune and tune: children of one network, each with half of its weights, tuned by one cycle.

Whitaker & Whitley, arXiv 2202.11782, with the small LeNet on MNIST. Children come in pairs whose
masks are anti-random: what one has lost, the other has kept.
``python -m reproductions.subnetworks``
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils import parametrize

from analysis.style import COLUMN, INK, QUIET, house_style
from reproductions.runs import Bench, Outcome, Run, percent
from study.batches import batches
from study.checkpoint import read_checkpoint
from study.cli import exit_status
from study.ensemble import ensemble_metrics, outputs
from study.task import Split, Task
from study.tasks import mnist

CHILDREN, PEAK_RATES = 6, (0.01, 0.03, 0.1)
SHAPES: dict[str, dict[str, float | int | str]] = {
    "one_cycle": {"rise_fraction": 0.3, "start_ratio": 0.1, "end_ratio": 1e-4, "anneal": "cos"}
    | {"phases": 2},
    "constant": {},
    "cosine": {"end_ratio": 0.0},
}


class Mask(nn.Module):
    """Half of a weight's entries, at random; of an odd child, those that its elder has lost."""

    def __init__(self, weight: Tensor, child: int, layer: int) -> None:
        super().__init__()
        order = torch.randperm(
            weight.numel(), generator=torch.Generator().manual_seed(1000 * (child // 2) + layer)
        )
        kept = (order < weight.numel() // 2).view(weight.shape) ^ bool(child % 2)
        self.register_buffer("kept", kept.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """With zeros where nothing is kept; so is the gradient."""
        return weight * self.get_buffer("kept")


def make_child(parent: Path, child: int) -> nn.Module:
    """A pruned copy; biases are kept. ``parent`` is the folder of its checkpoint."""
    model = mnist.make_model(0)
    model.load_state_dict(read_checkpoint(parent)[0]["model"])
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers):
        parametrize.register_parametrization(layer, "weight", Mask(layer.weight, child, number))
    return model


def make_task(parent: Path) -> Task:
    """MNIST with the children of a network; a run's seed is the child's number."""
    return replace(mnist.make_task(), make_model=partial(make_child, parent), capturable=False)


def compared(groups: dict[str, list[Outcome]], task: Task, test: Split) -> list[dict[str, Any]]:
    """A row a schedule: that of its peak rates that is best on the validation split."""
    rows = []
    for family in SHAPES:
        own = [group for group in groups.values() if group[0].run.family == family]
        best = max(
            own, key=lambda group: np.mean([one.history.epochs[-1].val_metric for one in group])
        )
        every = batches(test, 256, None)
        said = [outputs(task.make_model(0), one.state["model"], every) for one in best]
        *_, ensemble = ensemble_metrics(task, said, test.targets)
        guesses = [one.argmax(1) for one in said]
        apart = [float((a != b).double().mean()) for a, b in combinations(guesses, 2)]
        rows.append(
            {"schedule": family, "peak_lr": best[0].run.parameters["peak_lr"]}
            | {"children": [one.accuracy for one in best]}
            | {"ensemble_accuracy": ensemble, "disagreement": float(np.mean(apart))}
        )
    return rows


def draw(rows: Sequence[dict[str, Any]], parent: float) -> Figure:
    """Children, their ensembles and the parent."""
    figure, axes = plt.subplots(figsize=(COLUMN, 1.9))
    for place, row in enumerate(rows):
        axes.plot(100 * np.array(row["children"]), [place] * CHILDREN, "o", c=INK, ms=3, alpha=0.5)
        axes.plot(100 * row["ensemble_accuracy"], place, "D", c=INK, ms=5, mfc="none")
    axes.axvline(100 * parent, c=QUIET, ls="--", lw=0.8)
    axes.set(xlabel="test accuracy (%): children, their ensemble (◇), parent (dashed)")
    axes.set_yticks(range(len(rows)), [row["schedule"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    return figure


def main(arguments: Sequence[str]) -> int:
    """Train the parent, then its children, and compare."""
    bench = Bench.parse("subnetworks", arguments)
    quick = bench.asked.quick
    grown = {"peak_lr": 0.05, "end_ratio": 0.0}
    (parent,) = bench.train("mnist", [Run("parent", "cosine", grown, 2 if quick else 10, 0)])
    rates = PEAK_RATES[1:2] if quick else PEAK_RATES
    runs = [
        Run(f"{name} at {rate:g}", name, {"peak_lr": rate, **shape}, 1 if quick else 5, child)
        for name, shape in SHAPES.items()
        for rate in rates
        for child in range(CHILDREN)
    ]
    spec, origin = f"{__spec__.name}:make_task", f"parent={parent.folder}"
    tuned = bench.train(spec, runs, task_args=(origin,))
    groups: dict[str, list[Outcome]] = {}
    for one in tuned:
        groups.setdefault(one.run.schedule, []).append(one)
    test = mnist.load_test_data(bench.asked.data_dir)
    rows = compared(groups, make_task(Path(str(parent.folder))), test)
    table = [["tuned by", "peak rate", "children, %", "ensemble of 6, %", "disagreement, %"]]
    table.append(["(parent)", "0.05", percent([parent.accuracy]), "", ""])
    for row in rows:
        ensemble, apart = percent([row["ensemble_accuracy"]]), percent([row["disagreement"]])
        table.append(
            [row["schedule"], f"{row['peak_lr']:g}", percent(row["children"]), ensemble, apart]
        )
    numbers = [
        {"schedule": name, "child": one.run.seed, "test_accuracy": one.accuracy}
        | {"val_accuracy": one.history.epochs[-1].val_metric}
        for name, children in groups.items()
        for one in children
    ]
    with plt.rc_context(house_style()):
        figure = draw(rows, parent.accuracy)
    return bench.report([*numbers, *rows], table, figure)


if __name__ == "__main__":
    sys.exit(exit_status(main))
