"""The figures: each a function of DataFrames, its numbers computed by a function of their own.

All share one house style: families are ordered by their best trial, best first; what is good is
dark, since it is what should be seen. Every figure takes the :class:`~analysis.scale.Scale` of the
study's metric, accuracy by default.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from analysis.scale import Scale

COLORMAP = "viridis"  # perceptually even, and safe for the colour-blind
INK = "#31688e"  # of dots that carry no colour scale; from the same map
DIVERGED = "0.7"
RATE_DECADES = 4  # shown below the highest rate; what falls further is as good as zero
PANEL_WIDTH, PANEL_HEIGHT, MAX_COLUMNS = 2.9, 2.3, 4
ACCURACY = Scale()


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


def with_cost(trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """Trials that completed, with ``cost``: lower is better."""
    completed = trials[trials["status"] == "completed"].copy()
    completed["cost"] = scale.cost(completed[scale.column])
    return completed


def family_ranking(trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """A row a family, best first: ``family``, ``best_cost`` (NaN if none completed), ``trial``."""
    completed = with_cost(trials, scale)
    best = completed.loc[completed.groupby("family")["cost"].idxmin(), ["family", "cost", "trial"]]
    ranking = best.rename(columns={"cost": "best_cost"}).sort_values(["best_cost", "trial"])
    others = sorted(set(trials["family"]) - set(ranking["family"]))
    return pd.concat([ranking, pd.DataFrame({"family": others})], ignore_index=True)


def realised_curves(
    trials: pd.DataFrame, schedules: pd.DataFrame, scale: Scale = ACCURACY
) -> pd.DataFrame:
    """The rates that were applied, with what the trial came to.

    Columns ``trial``, ``family``, ``fraction`` (of the horizon, 0 to 1), ``lr``, ``cost`` (NaN for
    trials that did not complete). The horizon is the longest run's number of steps.
    """
    costs = with_cost(trials, scale).set_index("trial")["cost"]
    curves = schedules.merge(trials[["trial", "family"]], on="trial")
    curves["fraction"] = curves["step"] / max(1, curves["step"].max())
    curves["cost"] = curves["trial"].map(costs)
    return curves[["trial", "family", "fraction", "lr", "cost"]]


def best_so_far(trials: pd.DataFrame, scale: Scale = ACCURACY) -> pd.DataFrame:
    """Completed trials in the order they were proposed, with ``best_cost`` up to each."""
    completed = with_cost(trials, scale).sort_values("trial")
    completed["best_cost"] = completed["cost"].cummin()
    return completed[["trial", "family", "cost", "best_cost"]]


# How it is drawn


def schedules_by_result(
    trials: pd.DataFrame, schedules: pd.DataFrame, scale: Scale = ACCURACY
) -> Figure:
    """The main picture: every trial's schedule as applied, coloured by its final metric.

    A panel a family, the family's best drawn stronger, the winner of all strongest and labelled.
    """
    ranking = family_ranking(trials, scale)
    curves = realised_curves(trials, schedules, scale)
    norm = scale.norm(curves["cost"])
    colour = plt.get_cmap(COLORMAP)
    figure, panels = _family_panels(ranking)
    for row, (family, axes) in zip(ranking.itertuples(), panels.items(), strict=True):
        of_family = curves[curves["family"] == family]
        # The worst first, so that the best lies on top.
        for trial, curve in sorted(
            of_family.groupby("trial"), key=lambda pair: -pair[1]["cost"].fillna(math.inf).iloc[0]
        ):
            cost = curve["cost"].iloc[0]
            if math.isnan(cost):
                axes.plot(curve["fraction"], curve["lr"], color=DIVERGED, lw=1, ls=":", zorder=1)
                continue
            best, winner = trial == row.trial, trial == ranking["trial"].iloc[0]
            (line,) = axes.plot(
                curve["fraction"],
                curve["lr"],
                color=colour(norm(cost)),
                lw=3.2 if winner else 2 if best else 1,
                zorder=4 if winner else 3 if best else 2,
            )
            if winner:
                line.set_path_effects([Stroke(linewidth=5.6, foreground="white"), Normal()])
                axes.set_title(f"{family}: {scale.text(cost)}, the best of all", weight="bold")
            elif best:
                axes.set_title(f"{family}: best {scale.text(cost)}")
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
        label=f"final {scale.name}",
        pad=0.01,
        aspect=35,
    )
    scale.label(bar.ax.yaxis, pd.Series([norm.vmin, norm.vmax]))
    return figure


def result_by_family(trials: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Every completed trial a dot; trials that did not complete are counted at the side."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)
    figure, axes = plt.subplots(figsize=(7.5, 0.42 * len(ranking) + 1.2))
    sns.stripplot(
        completed,
        x="cost",
        y="family",
        order=list(ranking["family"]),
        color=INK,
        ax=axes,
        size=6,
        alpha=0.7,
        jitter=0.15,
    )
    scale.label(axes.xaxis, completed["cost"])
    axes.set(ylabel="", xlabel=f"final {scale.name}")
    axes.grid(axis="y", color="0.92")
    lost = trials[trials["status"] != "completed"].groupby("family").size()
    for position, family in enumerate(ranking["family"]):
        if family in lost:
            _beside(axes, position, f"{lost[family]} not completed")
    return figure


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The validation metric after each epoch, a panel a family, coloured by where it ended."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)[["trial", "family", "cost"]]
    curves = epochs.merge(completed, on="trial")
    curves["epoch_cost"] = scale.cost(curves[scale.column])
    norm = scale.norm(completed["cost"])
    colour = plt.get_cmap(COLORMAP)
    figure, panels = _family_panels(ranking)
    for family, axes in panels.items():
        axes.set_title(family)
        of_family = curves[curves["family"] == family].sort_values(["cost", "epoch"])
        for _, curve in reversed(list(of_family.groupby(["cost", "trial"]))):
            axes.plot(
                curve["epoch"],
                curve["epoch_cost"],
                color=colour(norm(curve["cost"].iloc[0])),
                marker="o",
                ms=3,
                lw=1.2,
            )
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    scale.label(first.yaxis, curves["epoch_cost"])
    figure.supxlabel("epoch", size="medium")
    figure.supylabel(f"validation {scale.name}", size="medium")
    return figure


def result_by_peak_lr(trials: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The final metric against the peak rate, a panel a family; crosses diverged."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)
    figure, panels = _family_panels(ranking)
    for family, axes in panels.items():
        dots = completed[completed["family"] == family]
        axes.scatter(dots["peak_lr"], dots["cost"], s=26, color=INK, alpha=0.8, lw=0)
        lost = trials[(trials["family"] == family) & (trials["status"] == "diverged")]
        axes.plot(
            lost["peak_lr"],
            [0.05 if scale.higher_is_better else 0.95] * len(lost),
            "x",
            color="0.4",
            transform=axes.get_xaxis_transform(),
        )
        axes.set_title(family)
    first = next(iter(panels.values()))
    _scale_rates(first)
    scale.label(first.yaxis, completed["cost"])
    figure.supxlabel("peak learning rate", size="medium")
    figure.supylabel(f"final {scale.name} (cross: diverged)", size="medium")
    return figure


def best_by_trial(trials: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """How the best became better as trials were proposed; the last new bests have their family."""
    progress = best_so_far(trials, scale)
    records = progress[progress["cost"] == progress["best_cost"]]
    records = records.drop_duplicates("best_cost").tail(10)  # a legend of more leaves no room
    names = records["family"] + [f" {scale.text(cost)}" for cost in records["cost"]]
    figure, axes = plt.subplots(figsize=(8.5, 4))
    axes.step(progress["trial"], progress["best_cost"], where="post", color="0.3", lw=1.5)
    axes.scatter(progress["trial"], progress["cost"], s=20, color="0.75", lw=0)
    sns.scatterplot(
        x=records["trial"],
        y=records["cost"],
        hue=names,
        palette="viridis_r",
        s=60,
        ax=axes,
        zorder=3,
    )
    scale.label(axes.yaxis, progress["cost"])
    axes.set(xlabel="trial", ylabel=f"final {scale.name}")
    sns.move_legend(axes, "center left", bbox_to_anchor=(1, 0.5), title="new best", reverse=True)
    return figure


def finalists(replicates: pd.DataFrame, families: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Every replicate a dot, and each finalist's mean with its interval, best on top.

    ``families`` as in :class:`~analysis.comparison.Comparison`.
    """
    order = list(families["family"])
    dots = replicates[replicates["family"].isin(order)].dropna(subset=scale.test_column)
    dots = dots.assign(cost=scale.cost(dots[scale.test_column]))
    figure, axes = plt.subplots(figsize=(7.5, 0.6 * len(order) + 1.2))
    sns.stripplot(
        dots, x="cost", y="family", order=order, color="0.7", size=5, jitter=0.2, ax=axes, zorder=1
    )
    ends = {name: scale.cost(families[name]) for name in ("mean", "low", "high")}
    for position in range(len(order)):
        span = [ends["low"].iloc[position], ends["high"].iloc[position]]
        axes.plot(span, [position] * 2, color=INK, lw=3, solid_capstyle="butt", zorder=2)
    axes.plot(ends["mean"], range(len(order)), "o", color=INK, ms=8, mec="white", zorder=3)
    scale.label(axes.xaxis, dots["cost"])
    axes.set(ylabel="", xlabel=f"test {scale.name}", ylim=(len(order) - 0.5, -0.5))
    axes.grid(axis="y", color="0.92")
    return figure


def tuning_budget(trials: pd.DataFrame, curves: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The best of each family after so many of its trials, a panel a family, others in grey.

    ``curves`` as :func:`~analysis.tuning.tuning_curves` makes them; what is expected of independent
    draws is a line with its band, the best so far of others is dotted.
    """
    ranking = family_ranking(trials, scale)
    ranking = ranking[ranking["family"].isin(curves["family"])]
    figure, panels = _family_panels(ranking)
    for family, axes in panels.items():
        for _, other in curves.groupby(["family", "kind"]):
            axes.plot(other["k"], other["cost"], color="0.9", lw=1, zorder=1)
        for kind, own in curves[curves["family"] == family].groupby("kind"):
            if kind == "expected":
                axes.fill_between(own["k"], own["low"], own["high"], color=INK, alpha=0.2, lw=0)
            style = "-" if kind == "expected" else ":"
            axes.plot(own["k"], own["cost"], style, color=INK, lw=2, marker="o", ms=3, zorder=3)
        axes.set_title(family)
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # What a single draw may come to would leave no room for what tuning brings.
    costs = curves.loc[curves["k"] > int(curves["k"].max() > 1), "cost"]
    scale.label(first.yaxis, costs)
    worst, best = float(costs.max()), float(costs.min())
    if worst > best:
        ratio, span = (worst / best) ** 0.1, 0.1 * (worst - best)
        log = scale.is_log(costs)
        ends = (worst * ratio, best / ratio) if log else (worst + span, best - span)
        first.set_ylim(ends if scale.higher_is_better else ends[::-1])
    figure.supxlabel("trials of the family", size="medium")
    figure.supylabel(f"best validation {scale.name}", size="medium")
    return figure


def forgiveness(trials: pd.DataFrame, ranges: pd.DataFrame) -> Figure:
    """The peak rates at which a family stays within seed noise of its best, the widest on top.

    ``ranges`` as :func:`~analysis.tuning.forgiveness` makes them; ticks are all rates tried,
    crosses those that diverged.
    """
    figure, axes = plt.subplots(figsize=(7.5, 0.42 * len(ranges) + 1.2))
    for position, row in enumerate(ranges.to_dict("records")):
        of_family = trials[trials["family"] == row["family"]]
        for status, marker in (("completed", "|"), ("diverged", "x")):
            rates = of_family.loc[of_family["status"] == status, "peak_lr"]
            axes.plot(rates, [position] * len(rates), marker, color="0.5", ms=7, zorder=1)
        ends = [row["low"], row["high"]]
        axes.plot(ends, [position] * 2, "o-", color=INK, lw=7, ms=7, mew=0)
        _beside(axes, position, f"{row['decades']:.1f} decades")
    axes.set(xlabel="peak learning rate", ylim=(len(ranges) - 0.5, -0.5))
    axes.set_yticks(range(len(ranges)), list(ranges["family"]))
    _scale_rates(axes)
    return figure


def rank_by_budget(ranks: pd.DataFrame) -> Figure:
    """Each family's rank against the epochs a trial, with its interval; the best on top.

    ``ranks`` as :func:`~analysis.budgets.rank_by_budget` makes them.
    """
    budgets = sorted(ranks["epochs"].unique())
    order = ranks[ranks["epochs"] == budgets[-1]].sort_values("rank")["family"]
    figure, axes = plt.subplots(figsize=(2 * len(budgets) + 3.5, 0.4 * len(order) + 1.5))
    colours = sns.color_palette(COLORMAP, len(order))
    for k, (family, colour) in enumerate(zip(order, colours, strict=True)):
        own = ranks[ranks["family"] == family].sort_values("epochs")
        # Beside each other, so that no interval hides another.
        places = [budgets.index(epochs) + 0.3 * (k / len(order) - 0.5) for epochs in own["epochs"]]
        axes.plot(places, own["rank"], "o-", color=colour, lw=1.8, ms=6)
        axes.vlines(places, own["low"], own["high"], color=colour, lw=1.2, alpha=0.6)
        # At whole ranks, since those that tie would be written over each other.
        axes.annotate(family, (len(budgets) - 0.75, k + 1), va="center", color=colour)
    axes.set_xticks(range(len(budgets)), [str(epochs) for epochs in budgets])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epochs a trial", ylabel="rank", xlim=(-0.5, len(budgets) + 0.3))
    axes.invert_yaxis()
    return figure


def range_test(runs: Sequence[Mapping[str, Sequence[float]]], peak_lr: Sequence[float]) -> Figure:
    """The range test's runs, each its ``lr`` and smoothed ``train_loss``, and the range found."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for run in runs:
        axes.plot(run["lr"], run["train_loss"], color=INK, lw=1.2, alpha=0.8)
    axes.axvspan(*peak_lr, color="0.93", lw=0)
    # Not as far as where it blows up.
    first = max(run["train_loss"][0] for run in runs)
    low = min(min(run["train_loss"]) for run in runs)
    axes.set_ylim(low - 0.05 * (first - low), first + 0.3 * (first - low))
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
    return figure


def _beside(axes: Axes, position: float, text: str) -> None:
    """A remark on a family, to the right of its row."""
    axes.annotate(
        text,
        (1.01, position),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        color="0.45",
        size="small",
    )


def _scale_rates(axes: Axes) -> None:
    """Peak rates along x, with round numbers."""
    axes.set_xscale("log")
    axes.xaxis.set(
        major_locator=LogLocator(subs=(1, 3)),
        major_formatter=FuncFormatter(lambda rate, _: f"{rate:g}"),
        minor_locator=NullLocator(),
    )


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
