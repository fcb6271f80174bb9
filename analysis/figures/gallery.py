"""Schedules that were not run: every family, and the tutorial's six plots."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.style import (
    COLORMAP,
    INK,
    PANEL_HEIGHT,
    QUIET,
    WIDTH,
    family_panels,
    house_style,
    save,
)
from search_spaces import FAMILIES, Parameters, ScheduleFamily
from search_spaces.preflight import draw, samples

STEPS = 1_000
SAMPLES = 3
NOTES = {
    "plateau": "until losses are heard",
    "greedy": "until losses are heard",
    "constant_ema": "the average is evaluated",
    "constant_tail": "the average is evaluated",
    "schedule_free": "the average is evaluated",
    "refined": "until measured",
}
"""Why a family's curves look like another's."""

TUTORIAL_STEPS = 100
TUTORIAL: Mapping[str, tuple[str, Parameters]] = {
    "StepLR": ("step", {"peak_lr": 1.0, "step_fraction": 0.1, "gamma": 0.5}),
    "LinearLR": ("linear", {"peak_lr": 1.0, "end_ratio": 0.1, "decay_fraction": 0.5}),
    "CosineAnnealingLR": ("cosine", {"peak_lr": 1.0, "end_ratio": 0.0}),
    "CosineAnnealingWarmRestarts": (
        "cosine_warm_restarts",
        {"peak_lr": 1.0, "cycles": 5, "growth": 1, "end_ratio": 0.0},
    ),
    # CyclicLR's envelope is 1 at step 0, where no step is; the family's peak is the first apex.
    "CyclicLR": (
        "exp_range",
        {"peak_lr": 0.99**10, "base_ratio": 0.0, "cycles": 5, "end_amplitude": 0.99**100},
    ),
    "OneCycleLR": (
        "one_cycle",
        {
            "peak_lr": 1.0,
            "rise_fraction": 0.3,
            "start_ratio": 1 / 25,
            "end_ratio": 1 / 25e4,
            "anneal": "cos",
            "phases": 2,
        },
    ),
}
"""The schedules of the tutorial from which this study grew, with its values: 100 steps, rate 1."""


def draw_gallery(folder: Path, family: str | None = None) -> list[Path]:
    """Draw the tutorial's schedules and every family, or one; returns the files."""
    with plt.rc_context(house_style()):
        if family:
            return save(one_family(family), folder / family)
        return [
            *save(tutorial(), folder / "tutorial"),
            *save(every_family(), folder / "families"),
        ]


def tutorial() -> Figure:
    """The tutorial's six plots, a panel each: the rate against the step."""
    figure, grid = plt.subplots(2, 3, figsize=(WIDTH, 2 * PANEL_HEIGHT), sharex=True)
    for axes, (title, (family, parameters)) in zip(grid.flat, TUTORIAL.items(), strict=True):
        axes.plot(draw(FAMILIES[family], parameters, TUTORIAL_STEPS)[:, 0], color=INK)
        axes.set_title(title)
        axes.set_ylim(0, 1.05)
    figure.supxlabel("step", size="medium")
    figure.supylabel("learning rate", size="medium")
    return figure


def every_family() -> Figure:
    """A panel a family, several samples in each: the ratio to the peak rate."""
    figure, panels = family_panels(list(FAMILIES), 0.75 * PANEL_HEIGHT)
    for name, axes in panels.items():
        _draw_samples(axes, FAMILIES[name], column=0)
        axes.set_title(name)
        axes.text(0.98, 0.85, NOTES.get(name, ""), color=QUIET, ha="right")
    axes.set(xlim=(0, 1), ylim=(0, 1.05))
    figure.supxlabel("fraction of training", size="medium")
    figure.supylabel("share of the peak rate", size="medium")
    return figure


def one_family(name: str) -> Figure:
    """One family from close by: several samples, the rate above and the momentum below."""
    figure, (rate, momentum) = plt.subplots(
        2, 1, figsize=(WIDTH, 4.5), sharex=True, height_ratios=(3, 1)
    )
    for axes, column in ((rate, 0), (momentum, 1)):
        _draw_samples(axes, FAMILIES[name], column)
    rate.set(title=name, ylabel="share of the peak rate", ylim=(0, 1.05), xlim=(0, 1))
    momentum.set(xlabel="fraction of training", ylabel="momentum", ylim=(0.8, 1))
    return figure


def _draw_samples(axes: Axes, family: ScheduleFamily, column: int) -> None:
    fraction = np.arange(STEPS) / STEPS
    colours = sns.color_palette(COLORMAP, SAMPLES)
    for colour, parameters in zip(colours, samples(family, (1.0, 1.0001), SAMPLES), strict=True):
        values = draw(family, parameters, STEPS)[:, column]
        if column == 0:
            values = values / float(parameters["peak_lr"])
        axes.plot(fraction, values, color=colour, lw=1)
