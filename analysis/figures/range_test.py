"""The learning-rate range test."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from analysis.figures.style import (
    COLUMN,
    INK,
    scale_rates,
)


def range_test(runs: Sequence[Mapping[str, Sequence[float]]], peak_lr: Sequence[float]) -> Figure:
    """The range test's runs, each its ``lr`` and smoothed ``train_loss``, and the range found."""
    figure, axes = plt.subplots(figsize=(COLUMN, 1.9))
    for run in runs:
        axes.plot(run["lr"], run["train_loss"], color=INK, lw=0.8, alpha=0.8)
    axes.axvspan(*peak_lr, color="0.93", lw=0)
    # Not as far as where it blows up.
    first = max(run["train_loss"][0] for run in runs)
    low = min(min(run["train_loss"]) for run in runs)
    axes.set_ylim(low - 0.05 * (first - low), first + 0.3 * (first - low))
    scale_rates(axes.xaxis)
    axes.set(xlabel="learning rate", ylabel="training loss, smoothed")
    return figure
