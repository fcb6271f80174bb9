"""Prune and tune: children of one network, each with half of its weights, tuned by one cycle.

After Whitaker & Whitley, arXiv 2202.11782. ``python -m reproductions.subnetworks``
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils import parametrize

from analysis.figures.style import INK, QUIET, rows_figure
from reproductions.runs import Bench, Outcome, Run, dots, percent, together
from search_spaces import ParameterValue
from study.storage.checkpoint_files import read_checkpoint
from study.storage.storage_path import StoragePath
from study.system.command_line import exit_status
from study.task import Split, Task
from study.tasks.builtin import mnist

CHILDREN, PEAK_RATES = 6, (0.003, 0.01, 0.03, 0.1)
ONE_CYCLE = {"rise_fraction": 0.3, "start_ratio": 0.1, "end_ratio": 1e-4, "phases": 2}
SHAPES: dict[str, dict[str, ParameterValue]] = {
    "one_cycle": {**ONE_CYCLE, "anneal": "cos"},
    "constant": {},
    "cosine": {"end_ratio": 0.0},
}


class Mask(nn.Module):
    """Half of a weight's entries, at random; an odd child has those that the one before lacks."""

    def __init__(self, weight: Tensor, child: int, layer: int) -> None:
        super().__init__()
        pair = torch.Generator().manual_seed(1000 * (child // 2) + layer)
        order = torch.randperm(weight.numel(), generator=pair)
        kept = (order < weight.numel() // 2).view(weight.shape) ^ bool(child % 2)
        self.register_buffer("kept", kept.to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """With zeros where nothing is kept; so is the gradient."""
        return weight * self.get_buffer("kept")


def make_child(parent: Path, child: int) -> nn.Module:
    """A pruned copy; biases are kept. ``parent`` is the folder of its checkpoint."""
    model = mnist.make_model(0)
    model.load_state_dict(read_checkpoint(StoragePath.of(parent))[0]["model"])
    layers = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    for number, layer in enumerate(layers):
        parametrize.register_parametrization(layer, "weight", Mask(layer.weight, child, number))
    return model


def make_task(parent: Path) -> Task:
    """MNIST with the children of a network; a run's seed is the child's number."""
    return replace(mnist.make_task(), make_model=partial(make_child, parent), capturable=False)


def compared(family: str, tuned: Sequence[Outcome], task: Task, test: Split) -> dict[str, Any]:
    """The children of one schedule, at their best peak rate on the validation split."""
    own = [one for one in tuned if one.run.family == family]
    rates = [list(group) for _, group in groupby(own, lambda one: one.run.schedule)]
    best = max(rates, key=lambda group: sum(one.val_accuracy for one in group))
    said, ensembles = together(task, [one.state["model"] for one in best], test)
    pairs = combinations([one.argmax(1) for one in said], 2)
    return {
        "schedule": best[0].run.schedule,
        "children": [one.accuracy for one in best],
        "ensemble": ensembles[-1],
        "disagreement": float(np.mean([(a != b).double().mean() for a, b in pairs])),
    }


def draw(rows: Sequence[dict[str, Any]], parent: float) -> Figure:
    """Children, their ensembles and the parent."""
    figure, axes = rows_figure(len(rows))
    dots(axes, {row["schedule"]: row["children"] for row in rows})
    axes.plot([100 * row["ensemble"] for row in rows], range(len(rows)), "D", c=INK, mfc="none")
    axes.axvline(100 * parent, c=QUIET, ls="--", lw=0.8)
    axes.set_xlabel("test accuracy (%): children (●), the six\ntogether (◇), their parent (dashed)")
    return figure


def main(arguments: Sequence[str]) -> int:
    """Train the parent, then its children, and compare."""
    bench = Bench.parse("subnetworks", arguments)
    quick, grown = bench.asked.quick, {"peak_lr": 0.05, "end_ratio": 0.0}
    (parent,) = bench.train("mnist", [Run("parent", "cosine", grown, 2 if quick else 10, 0)])
    runs = [
        Run(f"{name} at {rate:g}", name, {"peak_lr": rate, **shape}, 1 if quick else 5, child)
        for name, shape in SHAPES.items()
        for rate in (PEAK_RATES[2:3] if quick else PEAK_RATES)
        for child in range(CHILDREN)
    ]
    origin = Path(str(parent.folder))
    tuned = bench.train(f"{__spec__.name}:make_task", runs, task_args=(f"parent={origin}",))
    task, test = make_task(origin), bench.splits(mnist.make_task())["test"]
    rows = [compared(family, tuned, task, test) for family in SHAPES]
    table = [["tuned by", "children, %", "the six together, %", "disagreement, %"]]
    table.append(["(the parent)", percent([parent.accuracy]), "", ""])
    for row in rows:
        cells = [row["children"], [row["ensemble"]], [row["disagreement"]]]
        table.append([row["schedule"], *map(percent, cells)])
    numbers = [one.row for one in (parent, *tuned)]
    return bench.report([*numbers, *rows], table, lambda: draw(rows, parent.accuracy))


if __name__ == "__main__":
    sys.exit(exit_status(main))
