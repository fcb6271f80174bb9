"""The figures: each a function of DataFrames, its numbers computed by a function of their own.

All share one house style: families are ordered by their best trial, best first; what is good is
dark, since it is what should be seen; accuracies are spaced by the logarithm of the error, because
they crowd near 100%.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

COLORMAP = "viridis"  # perceptually even, and safe for the colour-blind
INK = "#31688e"  # of dots that carry no colour scale; from the same map
DIVERGED = "0.7"
RATE_DECADES = 4  # shown below the highest rate; what falls further is as good as zero
PANEL_WIDTH, PANEL_HEIGHT, MAX_COLUMNS = 2.9, 2.3, 4


@contextmanager
def house_style() -> Iterator[None]:
    """Seaborn's ticks style in small type; figures are made inside it."""
    style: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
        "svg.fonttype": "none",
    }
    context = sns.plotting_context("notebook", font_scale=0.85)
    with sns.axes_style("ticks"), context, plt.rc_context(style):
        yield


# What is drawn


def with_error(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that completed, with ``error``, the share of validation samples they get wrong."""
    completed = trials[trials["status"] == "completed"].copy()
    completed["error"] = _error(completed["val_accuracy"])
    return completed


def _error(accuracy: pd.Series) -> pd.Series:
    """An error of 0 is put at half a sample's worth of 10,000, so that a log axis can show it."""
    return (1 - accuracy).clip(lower=5e-5)


def family_ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """A row a family, best first: ``family``, ``best_error`` (NaN if none completed), ``trial``."""
    completed = with_error(trials)
    best = completed.loc[
        completed.groupby("family")["error"].idxmin(), ["family", "error", "trial"]
    ]
    ranking = best.rename(columns={"error": "best_error"}).sort_values(["best_error", "trial"])
    others = sorted(set(trials["family"]) - set(ranking["family"]))
    return pd.concat([ranking, pd.DataFrame({"family": others})], ignore_index=True)


def realised_curves(trials: pd.DataFrame, schedules: pd.DataFrame) -> pd.DataFrame:
    """The rates that were applied, with what the trial came to.

    Columns ``trial``, ``family``, ``fraction`` (of the horizon, 0 to 1), ``lr``, ``error`` (NaN for
    trials that did not complete). The horizon is the longest run's number of steps.
    """
    errors = with_error(trials).set_index("trial")["error"]
    curves = schedules.merge(trials[["trial", "family"]], on="trial")
    curves["fraction"] = curves["step"] / max(1, curves["step"].max())
    curves["error"] = curves["trial"].map(errors)
    return curves[["trial", "family", "fraction", "lr", "error"]]


def best_so_far(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials in the order they were proposed, with ``best_error`` up to each."""
    completed = with_error(trials).sort_values("trial")
    completed["best_error"] = completed["error"].cummin()
    return completed[["trial", "family", "error", "best_error"]]


# How it is drawn


def schedules_by_accuracy(trials: pd.DataFrame, schedules: pd.DataFrame) -> Figure:
    """The main picture: every trial's schedule as applied, coloured by its final accuracy.

    A panel a family, the family's best drawn stronger, the winner of all strongest and labelled.
    """
    ranking = family_ranking(trials)
    curves = realised_curves(trials, schedules)
    norm = _error_norm(curves["error"])
    colour = plt.get_cmap(COLORMAP)
    figure, panels = _family_panels(ranking)
    for row, (family, axes) in zip(ranking.itertuples(), panels.items(), strict=True):
        of_family = curves[curves["family"] == family]
        # The worst first, so that the best lies on top.
        for trial, curve in sorted(
            of_family.groupby("trial"), key=lambda pair: -pair[1]["error"].fillna(9).iloc[0]
        ):
            error = curve["error"].iloc[0]
            if math.isnan(error):
                axes.plot(curve["fraction"], curve["lr"], color=DIVERGED, lw=1, ls=":", zorder=1)
                continue
            best, winner = trial == row.trial, trial == ranking["trial"].iloc[0]
            (line,) = axes.plot(
                curve["fraction"],
                curve["lr"],
                color=colour(norm(error)),
                lw=3.2 if winner else 2 if best else 1,
                zorder=4 if winner else 3 if best else 2,
            )
            if winner:
                line.set_path_effects([Stroke(linewidth=5.6, foreground="white"), Normal()])
                axes.set_title(f"{family}: {1 - error:.2%}, the best of all", weight="bold")
            elif best:
                axes.set_title(f"{family}: best {1 - error:.2%}")
    first = next(iter(panels.values()))
    first.set_yscale("log")
    first.set_xlim(0, 1)
    top = float(curves["lr"].max())
    first.set_ylim(max(float(curves["lr"].min()), top / 10**RATE_DECADES) / 1.5, top * 1.5)
    first.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0%}"))
    figure.supxlabel("fraction of training", size="medium")
    figure.supylabel("learning rate", size="medium")
    bar = figure.colorbar(
        ScalarMappable(norm, COLORMAP),
        ax=list(panels.values()),
        label="final accuracy",
        pad=0.01,
        aspect=35,
    )
    _label_with_accuracy(bar.ax.yaxis, pd.Series([norm.vmin, norm.vmax]))
    bar.ax.invert_yaxis()
    return figure


def accuracy_by_family(trials: pd.DataFrame) -> Figure:
    """Every completed trial a dot; trials that did not complete are counted at the side."""
    ranking = family_ranking(trials)
    completed = with_error(trials)
    figure, axes = plt.subplots(figsize=(7.5, 0.42 * len(ranking) + 1.2))
    sns.stripplot(
        completed,
        x="error",
        y="family",
        order=list(ranking["family"]),
        color=INK,
        ax=axes,
        size=6,
        alpha=0.7,
        jitter=0.15,
        log_scale=(True, False),
    )
    _label_with_accuracy(axes.xaxis, completed["error"])
    axes.invert_xaxis()
    axes.set(ylabel="", xlabel="final accuracy")
    axes.grid(axis="y", color="0.92")
    lost = trials[trials["status"] != "completed"].groupby("family").size()
    for position, family in enumerate(ranking["family"]):
        if family in lost:
            axes.annotate(
                f"{lost[family]} not completed",
                (1.01, position),
                xycoords=axes.get_yaxis_transform(),
                va="center",
                color="0.45",
                size="small",
            )
    return figure


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame) -> Figure:
    """Validation accuracy after each epoch, a panel a family, coloured by where it ended."""
    ranking = family_ranking(trials)
    completed = with_error(trials)[["trial", "family", "error"]]
    curves = epochs.merge(completed, on="trial")
    curves["epoch_error"] = _error(curves["val_accuracy"])
    norm = _error_norm(completed["error"])
    colour = plt.get_cmap(COLORMAP)
    figure, panels = _family_panels(ranking)
    for family, axes in panels.items():
        axes.set_title(family)
        for _, curve in curves[curves["family"] == family].groupby("trial"):
            error = curve["error"].iloc[0]
            axes.plot(
                curve["epoch"],
                curve["epoch_error"],
                color=colour(norm(error)),
                marker="o",
                ms=3,
                lw=1.2,
                zorder=3 - error,
            )
    first = next(iter(panels.values()))
    first.set_yscale("log")
    first.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _label_with_accuracy(first.yaxis, curves["epoch_error"])
    first.invert_yaxis()
    figure.supxlabel("epoch", size="medium")
    figure.supylabel("validation accuracy", size="medium")
    return figure


def accuracy_by_peak_lr(trials: pd.DataFrame) -> Figure:
    """Final accuracy against the peak rate, a panel a family; crosses at the bottom diverged."""
    ranking = family_ranking(trials)
    completed = with_error(trials)
    figure, panels = _family_panels(ranking)
    for family, axes in panels.items():
        dots = completed[completed["family"] == family]
        axes.scatter(dots["peak_lr"], dots["error"], s=26, color=INK, alpha=0.8, lw=0)
        lost = trials[(trials["family"] == family) & (trials["status"] == "diverged")]
        axes.plot(
            lost["peak_lr"],
            [0.05] * len(lost),
            "x",
            color="0.4",
            transform=axes.get_xaxis_transform(),
        )
        axes.set_title(family)
    first = next(iter(panels.values()))
    first.set(xscale="log", yscale="log")
    _label_with_accuracy(first.yaxis, completed["error"])
    first.invert_yaxis()
    figure.supxlabel("peak learning rate", size="medium")
    figure.supylabel("final accuracy (cross: diverged)", size="medium")
    return figure


def best_by_trial(trials: pd.DataFrame) -> Figure:
    """How the best accuracy grew as trials were proposed; the last new bests have their family."""
    progress = best_so_far(trials)
    records = progress[progress["error"] == progress["best_error"]]
    records = records.drop_duplicates("best_error").tail(10)  # a legend of more leaves no room
    names = records["family"] + [f" {1 - error:.2%}" for error in records["error"]]
    figure, axes = plt.subplots(figsize=(8.5, 4))
    axes.step(progress["trial"], progress["best_error"], where="post", color="0.3", lw=1.5)
    axes.scatter(progress["trial"], progress["error"], s=20, color="0.75", lw=0)
    sns.scatterplot(
        x=records["trial"],
        y=records["error"],
        hue=names,
        palette="viridis_r",
        s=60,
        ax=axes,
        zorder=3,
    )
    axes.set_yscale("log")
    _label_with_accuracy(axes.yaxis, progress["error"])
    axes.invert_yaxis()
    axes.set(xlabel="trial", ylabel="final accuracy")
    sns.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), title="new best", reverse=True)
    return figure


def _family_panels(ranking: pd.DataFrame) -> tuple[Figure, dict[str, Axes]]:
    """A grid of small panels that share their axes, one a family, in the order of the ranking."""
    families = list(ranking["family"])
    columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(families))))
    rows = math.ceil(len(families) / columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(PANEL_WIDTH * columns + 0.8, PANEL_HEIGHT * rows + 0.3),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes in grid.flat[len(families) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(families) - columns) : len(families)]:
        axes.tick_params(labelbottom=True)  # what stands above an empty place is at the bottom too
    return figure, dict(zip(families, grid.flat, strict=False))


def _error_norm(errors: pd.Series) -> LogNorm:
    """From the best error to the worst; a few collapsed trials must not eat the whole scale."""
    errors = errors.dropna()
    if errors.empty:
        return LogNorm(0.01, 1)
    low = float(errors.min())
    high = min(float(errors.max()), max(10 * low, 2 * float(errors.median())))
    return LogNorm(low, max(high, 1.05 * low), clip=True)


def _label_with_accuracy(axis: Axis, errors: pd.Series) -> None:
    """Label a log axis of error rates with the accuracies that they stand for."""
    if len(errors):
        axis.set_ticks(*_accuracy_ticks(float(errors.min()), float(errors.max())))
    axis.set_minor_locator(NullLocator())


def _accuracy_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Error rates between two, at round numbers, and the accuracies to write there."""
    ticks: list[float] = []
    for mantissas in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [m * 10.0**k for k in range(-5, 1) for m in mantissas]
        ticks = [tick for tick in ticks if 0.99 * low <= tick <= 1.01 * high]
        if len(ticks) >= 4:
            break
    else:  # within a small part of a decade, equal steps of accuracy read better
        accuracies = MaxNLocator(6).tick_values(1 - high, 1 - low)
        ticks = [1 - float(accuracy) for accuracy in accuracies]
        ticks = [tick for tick in ticks if 0.99 * low <= tick <= 1.01 * high]
    return ticks, [f"{100 * (1 - tick):.6g}%" for tick in ticks]
