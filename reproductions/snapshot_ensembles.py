"""Snapshot ensembles: one run in cycles against one long cosine and against short runs.

Huang et al., arXiv 1704.00109, with the small LeNet on MNIST, at equal cost of training.
``python -m reproductions.snapshot_ensembles``
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from analysis.figures.style import COLUMN
from reproductions.runs import Bench, Outcome, Run, percent, together
from study.system.command_line import exit_status
from study.task import Split
from study.tasks.builtin import mnist

PEAK_LR, CYCLES = 0.05, 5
CYCLED, LONG, SHORT = "snapshots of one run", "one long cosine", "independent short runs"
PUBLISHED = {CYCLED: "96.6 on CIFAR-10, 82.6 on CIFAR-100"}
"""Of a DenseNet, all its snapshots together."""


def measured(
    kind: str, seed: int, members: Sequence[dict[str, Any]], splits: dict[str, Split]
) -> list[dict[str, Any]]:
    """A row for each m, of one seed: the last m members together, and the best one alone.

    The best is that with the highest accuracy on the validation split.
    """
    task, alone, ensembles = mnist.make_task(), {}, {}
    for name, split in splits.items():
        said, ensembles[name] = together(task, members[::-1], split)
        alone[name] = [float(task.metric.compute(one, split.targets)) for one in said]
    best = alone["test"][int(np.argmax(alone["val"]))]
    return [
        {"kind": kind, "seed": seed, "m": m, "best_single": best}
        | {f"{name}_accuracy": values[m - 1] for name, values in ensembles.items()}
        for m in range(1, len(members) + 1)
    ]


def members_of(outcomes: Sequence[Outcome], kind: str, seed: int) -> list[dict[str, Any]]:
    """Their weights, in the order in which they were trained."""
    own = [one for one in outcomes if (one.run.schedule, one.run.seed % 1000) == (kind, seed)]
    return own[0].state["snapshots"] if kind == CYCLED else [one.state["model"] for one in own]


def tabled(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Accuracies beside those published, and at the end how the kinds differ, seed by seed."""
    counts = range(1, CYCLES + 1)
    found: dict[tuple[str, int], list[float]] = {
        (kind, m): [] for kind in (CYCLED, SHORT, LONG) for m in counts
    }
    for row in rows:
        found[row["kind"], row["m"]].append(row["test_accuracy"])
    lines = [["accuracy on MNIST, %", "best single", *(f"m = {m}" for m in counts)]]
    lines[0].append("published, DenseNet")
    for kind in (CYCLED, SHORT, LONG):
        best = percent(row["best_single"] for row in rows if (row["kind"], row["m"]) == (kind, 1))
        cells = [percent(found[kind, m]) if found[kind, m] else "" for m in counts]
        lines.append([kind, best, *cells, PUBLISHED.get(kind, "")])
    for better, worse in (((CYCLED, CYCLES), (LONG, 1)), ((SHORT, CYCLES), (CYCLED, CYCLES))):
        apart = percent(np.subtract(found[better], found[worse]))
        lines.append([f"{better[0]} over {worse[0]}, points", *[""] * CYCLES, apart, ""])
    return lines


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Accuracy against m: the mean over seeds, and each seed."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.4))
    for place, kind in enumerate((CYCLED, SHORT, LONG)):
        own = [row for row in rows if row["kind"] == kind]
        counts = sorted({row["m"] for row in own})
        means = [np.mean([row["test_accuracy"] for row in own if row["m"] == m]) for m in counts]
        colour = f"C{place}"
        axes.plot([r["m"] for r in own], [100 * r["test_accuracy"] for r in own], ".", c=colour,
                  alpha=0.4, ms=3)  # fmt: skip
        if len(counts) > 1:
            axes.plot(counts, 100 * np.array(means), c=colour, label=kind)
        else:
            axes.axhline(100 * means[0], c=colour, ls="--", lw=0.8, label=kind)
    axes.set(xlabel="models together", ylabel="test accuracy (%)", xticks=range(1, CYCLES + 1))
    axes.legend(loc="lower right")
    return figure


def main(arguments: Sequence[str]) -> int:
    """Train, and compare."""
    bench = Bench.parse("snapshot_ensembles", arguments)
    seeds, length = ([0], 1) if bench.asked.quick else (range(5), 6)
    cosine = {"peak_lr": PEAK_LR, "end_ratio": 0.0}
    runs = []
    for seed in seeds:
        cycled = {"peak_lr": PEAK_LR, "cycles": CYCLES}
        runs.append(Run(CYCLED, "snapshot", cycled, CYCLES * length, seed))
        runs.append(Run(LONG, "cosine", cosine, CYCLES * length, seed))
        runs += [Run(SHORT, "cosine", cosine, length, seed + 1000 * k) for k in range(CYCLES)]
    outcomes = bench.train("mnist", runs)
    splits = bench.splits(mnist.make_task())
    rows = [
        row
        for kind in (CYCLED, SHORT, LONG)
        for seed in seeds
        for row in measured(kind, seed, members_of(outcomes, kind, seed), splits)
    ]
    return bench.report(rows, tabled(rows), lambda: draw(rows))


if __name__ == "__main__":
    sys.exit(exit_status(main))
