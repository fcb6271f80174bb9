"""The figures: each a function of DataFrames, whose numbers are computed by functions elsewhere.

Families are ordered by their best trial, best first; what is good is dark, since it is what should
be seen. Every figure takes the :class:`~analysis.scale.Scale` of the study's metric, accuracy by
default, and is made inside :func:`~analysis.style.house_style`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.curves import FRACTIONS, RATE_DECADES, CurveMap, realised_curves
from analysis.outcomes import ACCURACY, family_ranking, far_off, with_cost
from analysis.placement import GLYPH, place_curves
from analysis.scale import Scale
from analysis.style import (
    COLORMAP,
    COLUMN,
    INK,
    QUIET,
    WIDTH,
    beside,
    family_panels,
    rows_figure,
    scale_rates,
    short,
)

LOST = "0.7"  # trials that did not complete
CROWDED = 30  # trials of a family, for which an even axis has no room
POINTS = 200_000
"""Of all curves of a figure together; more of them only take time."""


def schedules_by_result(
    trials: pd.DataFrame, schedules: pd.DataFrame, scale: Scale = ACCURACY
) -> Figure:
    """The main picture: every trial's schedule as applied, coloured by its final metric.

    A panel a family, the family's best drawn stronger, the winner of all strongest and labelled.
    """
    ranking = family_ranking(trials, scale)
    curves = realised_curves(trials, schedules, scale)
    norm = scale.norm(curves["cost"])
    figure, panels = family_panels(list(ranking["family"]))
    winner = ranking["trial"].iloc[0]
    every = max(1, len(curves) // POINTS)
    for best, (family, axes) in zip(ranking.to_dict("records"), panels.items(), strict=True):
        of_family = curves[curves["family"] == family]
        lost = of_family[of_family["cost"].isna()]
        axes.add_collection(
            LineCollection(_lines(lost, every), colors=LOST, linewidths=0.6, linestyles=":")
        )
        # The worst first, so that the best lies on top.
        ended = of_family.dropna(subset="cost").sort_values("cost", ascending=False, kind="stable")
        costs = ended.groupby("trial", sort=False)["cost"].first()
        lines = LineCollection(_lines(ended, every), cmap=COLORMAP, norm=norm, linewidths=0.7)
        lines.set_array(costs.to_numpy())
        axes.add_collection(lines)
        axes.set_title(short(family))
        if best["trial"] in costs.index:
            of_all = best["trial"] == winner
            _mark_best(axes, ended[ended["trial"] == best["trial"]], norm, of_all)
            value = scale.text(best["best_cost"])
            words = f"{value}, best of all" if of_all else f"best {value}"
            axes.set_title(f"{short(family)}\n{words}", weight="bold" if of_all else None)
    first = next(iter(panels.values()))
    _scale_schedules(first, curves["lr"])
    first.xaxis.set_major_locator(MaxNLocator(2))
    figure.supxlabel("fraction of training", size="medium")
    figure.supylabel("learning rate", size="medium")
    _colour_bar(figure, list(panels.values()), norm, scale)
    return figure


def curve_map(found: CurveMap, rates: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Trials placed by their curves, coloured by their final metric, with some curves drawn there.

    ``found`` and ``rates`` as :func:`~analysis.curves.curve_map` and
    :func:`~analysis.curves.log_rates` make them. Each family's best is drawn and named, beside its
    place if that is taken; then others, as far as there is room.
    """
    points = found.points.sort_values(["cost", "trial"])
    norm = scale.norm(points["cost"])
    figure, axes = plt.subplots(figsize=(WIDTH, 4.2))
    style: dict[str, Any] = {"cmap": COLORMAP, "norm": norm, "lw": 0}
    axes.scatter(points["x"], points["y"], c=points["cost"], s=7, alpha=0.8, **style)
    axes.margins(0.06, 0.1)
    axes.set(xticks=[], yticks=[])
    for name, label, share in zip("xy", ("first", "second"), found.explained, strict=True):
        axes.set(
            **{f"{name}label": f"{label} component of the curves ({share:.0%} of their variance)"}
        )
    _colour_bar(figure, [axes], norm, scale)
    figure.draw_without_rendering()  # so that places are known
    figure.set_layout_engine("none")  # and stay
    places = axes.transAxes.inverted().transform(axes.transData.transform(points[["x", "y"]]))
    colours = plt.get_cmap(COLORMAP)(norm(points["cost"].to_numpy()))
    low, high = float(rates.min().min()), float(rates.max().max())
    for k, name, (x, y) in place_curves(points, places):
        axes.plot(
            *zip(places[k], (x, y), strict=True), color="0.8", transform=axes.transAxes, lw=0.6
        )
        glyph = axes.inset_axes((x - GLYPH[0] / 2, y - GLYPH[1] / 2, *GLYPH))
        curve = rates.loc[points["trial"].iloc[k]]
        glyph.plot(FRACTIONS, curve, color=colours[k], lw=1.4 if name else 1)
        glyph.set(xlim=(-0.03, 1.03), ylim=(low - 0.1, high + 0.1), xticks=[], yticks=[])
        for spine in glyph.spines.values():
            spine.set(visible=True, color="0.85")
        title = glyph.set_title(name, size="small", pad=2, loc="center")
        # No outline, which would turn letters into curves.
        title.set_bbox({"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.5})
    return figure


def learning_curves(trials: pd.DataFrame, epochs: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The validation metric after each epoch, a panel a family, coloured by where it ended."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)[["trial", "family", "cost"]]
    curves = epochs.merge(completed, on="trial")
    curves["epoch_cost"] = scale.cost(curves[scale.column])
    norm = scale.norm(completed["cost"])
    figure, panels = family_panels(list(ranking["family"]))
    single = curves["epoch"].max() == 1
    for family, axes in panels.items():
        axes.set_title(short(family))
        own = curves[curves["family"] == family].sort_values(["cost", "trial"], ascending=False)
        ended = own.groupby("trial", sort=False)
        lines = [curve[["epoch", "epoch_cost"]].to_numpy() for _, curve in ended]
        drawn = LineCollection(lines, cmap=COLORMAP, norm=norm, linewidths=0.8)
        drawn.set_array(ended["cost"].first().to_numpy())
        axes.add_collection(drawn)
        if single:  # which makes no line
            axes.scatter(
                own["epoch"], own["epoch_cost"], c=own["cost"], cmap=COLORMAP, norm=norm, s=8
            )
    first = next(iter(panels.values()))
    first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    first.set_xlim(curves["epoch"].min() - 0.3, curves["epoch"].max() + 0.3)
    scale.label(first.yaxis, curves["epoch_cost"])
    figure.supxlabel("epoch", size="medium")
    figure.supylabel(f"validation {scale.name}", size="medium")
    _colour_bar(figure, list(panels.values()), norm, scale)
    return figure


def result_by_peak_lr(trials: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The final metric against the peak rate, a panel a family; crosses diverged."""
    ranking = family_ranking(trials, scale)
    completed = with_cost(trials, scale)
    figure, panels = family_panels(list(ranking["family"]))
    for family, axes in panels.items():
        dots = completed[completed["family"] == family]
        axes.scatter(dots["peak_lr"], dots["cost"], s=9, color=INK, alpha=0.8, lw=0)
        lost = trials[(trials["family"] == family) & (trials["status"] == "diverged")]
        axes.plot(
            lost["peak_lr"],
            [0.05 if scale.higher_is_better else 0.95] * len(lost),
            "x",
            color=QUIET,
            ms=3.5,
            transform=axes.get_xaxis_transform(),
        )
        axes.set_title(short(family))
    first = next(iter(panels.values()))
    scale_rates(first.xaxis, (1, 3))
    scale.label(first.yaxis, completed["cost"])
    figure.supxlabel("peak learning rate", size="medium")
    figure.supylabel(f"final {scale.name} (cross: diverged)", size="medium")
    return figure


def finalists(replicates: pd.DataFrame, families: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """Every replicate a dot, and each finalist's mean with its interval, best on top.

    ``families`` as in :class:`~analysis.comparison.Comparison`. Replicates far worse than the rest
    are written at the side, since they would leave no room for the others.
    """
    order = list(families["family"])
    dots = replicates[replicates["family"].isin(order)].dropna(subset=scale.test_column)
    dots = dots.assign(cost=scale.cost(dots[scale.test_column]))
    off = far_off(dots["cost"], dots["family"])
    figure, axes = rows_figure(len(order), 0.34)
    shown = dots[~off]
    # Apart by the golden ratio, and the same each time.
    heights = shown["family"].map(order.index) + 0.4 * ((0.618 * shown["replicate"]) % 1 - 0.5)
    axes.scatter(shown["cost"], heights, s=9, color="0.7", lw=0, zorder=1)
    ends = families[["mean", "low", "high"]].apply(scale.cost)
    for position, family in enumerate(order):
        span = ends[["low", "high"]].iloc[position]
        axes.plot(span, [position] * 2, color=INK, lw=2, solid_capstyle="butt", zorder=2)
        others = dots.loc[off & (dots["family"] == family), "cost"]
        if len(others):
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            beside(axes, position, f"and {scale.text(others.iloc[0])}{more}")
    axes.plot(ends["mean"], range(len(order)), "o", color=INK, ms=5, mec="white", zorder=3)
    whole = ~families["family"].isin(dots.loc[off, "family"]).to_numpy()
    scale.limit(axes.xaxis, pd.concat([shown["cost"], *(ends[whole][one] for one in ends)]))
    axes.set_yticks(range(len(order)), list(map(short, order)))
    axes.set(xlabel=f"test {scale.name}")
    axes.grid(axis="y", color="0.92")
    return figure


def tuning_budget(trials: pd.DataFrame, curves: pd.DataFrame, scale: Scale = ACCURACY) -> Figure:
    """The best of each family after so many of its trials, a panel a family, others in grey.

    ``curves`` as :func:`~analysis.tuning.tuning_curves` makes them; what is expected of independent
    draws is a line with its band, the best so far of others is dotted.
    """
    ranking = family_ranking(trials, scale)
    ranking = ranking[ranking["family"].isin(curves["family"])]
    figure, panels = family_panels(list(ranking["family"]))
    every = [own[["k", "cost"]].to_numpy() for _, own in curves.groupby(["family", "kind"])]
    for family, axes in panels.items():
        axes.add_collection(LineCollection(every, colors="0.9", linewidths=0.7, zorder=1))
        for kind, own in curves[curves["family"] == family].groupby("kind"):
            if kind == "expected":
                axes.fill_between(own["k"], own["low"], own["high"], color=INK, alpha=0.2, lw=0)
            style = "-" if kind == "expected" else ":"
            marker = "o" if len(own) < CROWDED else ""
            axes.plot(own["k"], own["cost"], style, color=INK, lw=1.3, marker=marker, ms=2)
        axes.set_title(short(family))
    first = next(iter(panels.values()))
    if curves["k"].max() > CROWDED:  # where few may have had that many
        scale_rates(first.xaxis, (1, 3))
    else:
        first.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    # What a single draw may come to would leave no room for what tuning brings.
    costs = curves.loc[curves["k"] > int(curves["k"].max() > 1), "cost"]
    scale.limit(first.yaxis, costs)
    figure.supxlabel("trials of the family", size="medium")
    figure.supylabel(f"best validation {scale.name}", size="medium")
    return figure


def forgiveness(trials: pd.DataFrame, ranges: pd.DataFrame) -> Figure:
    """The peak rates at which a family stays within seed noise of its best, the widest on top.

    ``ranges`` as :func:`~analysis.tuning.forgiveness` makes them; ticks are all rates tried,
    crosses those that diverged.
    """
    figure, axes = rows_figure(len(ranges))
    for position, row in enumerate(ranges.to_dict("records")):
        of_family = trials[trials["family"] == row["family"]]
        for status, marker in (("completed", "|"), ("diverged", "x")):
            rates = of_family.loc[of_family["status"] == status, "peak_lr"]
            axes.plot(rates, [position] * len(rates), marker, color="0.3", ms=4.5, mew=0.7)
        ends = [row["low"], row["high"]]
        axes.plot(ends, [position] * 2, "o-", color=INK, lw=3, ms=3, mew=0, alpha=0.7)
        known = row["good"] > 1
        beside(axes, position, f"{row['decades']:.1f} decades" if known else "one rate")
    axes.set(xlabel="peak learning rate")
    axes.set_yticks(range(len(ranges)), list(map(short, ranges["family"])))
    scale_rates(axes.xaxis, (1, 3))
    return figure


def importances(found: pd.DataFrame) -> Figure:
    """Each parameter's share in whether a trial of its family is good, a panel a family.

    ``found`` as :func:`~analysis.importance.importances` makes it; what chance could have given is
    grey, and the tick is how far chance came.
    """
    families = list(dict.fromkeys(found["family"]))
    most = int(found.groupby("family").size().max())
    figure, panels = family_panels(families, 0.3 + 0.16 * most)
    white = {"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5}
    style: dict[str, Any] = {"size": "small", "bbox": white}
    for family, axes in panels.items():
        own = found[found["family"] == family]
        colours = [INK if sure else LOST for sure in own["share"] > own["chance"]]
        axes.barh(range(len(own)), own["share"], color=colours, alpha=0.55, height=0.7)
        axes.plot(own["chance"].clip(upper=1), range(len(own)), "|", color="0.3", ms=6)
        for position, name in enumerate(own["parameter"]):
            axes.annotate(name, (0.98, position), va="center", ha="right", **style)
        axes.set_title(f"{short(family)} ({own['trials'].iloc[0]} trials)")
        axes.set_yticks([])
    first = next(iter(panels.values()))
    first.set(xlim=(0, 1), ylim=(most - 0.5, -0.5))
    first.xaxis.set(major_locator=MaxNLocator(2), major_formatter=PercentFormatter(1, 0))
    figure.supxlabel("share of the importance within the family", size="medium")
    return figure


def rank_by_study(ranks: pd.DataFrame) -> Figure:
    """Each family's rank in each study, with its interval; the best of the last on top.

    ``ranks`` as :func:`~analysis.studies.rank_by_study` makes them.
    """
    studies = list(dict.fromkeys(ranks["study"]))
    last = ranks[ranks["study"] == studies[-1]]
    order = list(last.sort_values(["rank", "family"])["family"])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.2 * len(order) + 0.9))
    colours = sns.color_palette(COLORMAP, len(order))
    for k, (family, colour) in enumerate(zip(order, colours, strict=True)):
        own = ranks[ranks["family"] == family]
        # Beside each other, so that no interval hides another.
        places = [studies.index(one) + 0.3 * (k / len(order) - 0.5) for one in own["study"]]
        axes.plot(places, own["rank"], "o-", color=colour, lw=1.2, ms=3.5)
        axes.vlines(places, own["low"], own["high"], color=colour, lw=0.9, alpha=0.6)
        # At whole ranks, since those that tie would be written over each other.
        axes.annotate(short(family), (len(studies) - 0.7, k + 1), va="center", color=colour)
    axes.set_xticks(range(len(studies)), studies)
    if sum(map(len, studies)) > 70:
        axes.tick_params("x", rotation=15)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    room = 0.25 + 0.1 * len(studies)  # for the names
    axes.set(ylabel="rank", xlim=(-0.5, len(studies) - 0.5 + room), ylim=(len(order) + 0.5, 0.5))
    return figure


def winners(curves: pd.DataFrame) -> Figure:
    """The best trial of each study: its rate against the fraction of training.

    ``curves`` as :func:`~analysis.studies.winning_curves` makes them.
    """
    figure, axes = plt.subplots(figsize=(WIDTH, 2.2))
    studies = list(curves.groupby(["study", "family"], sort=False))
    colours = sns.color_palette(COLORMAP, len(studies))
    for ((study, family), own), colour in zip(studies, colours, strict=True):
        axes.plot(
            own["fraction"],
            own["lr"],
            color=colour,
            lw=1.5,
            label=f"{short(str(family))} in {study}",
        )
    _scale_schedules(axes, curves["lr"])
    axes.set(xlabel="fraction of training", ylabel="learning rate")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


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


def _scale_schedules(axes: Axes, rates: "pd.Series[float]") -> None:
    """The rate above the fraction of training, down to what is as good as zero."""
    top = float(rates.max())
    low = max(float(rates.min()), top / 10**RATE_DECADES)
    scale_rates(axes.yaxis)
    axes.set(xlim=(0, 1), ylim=(low / 1.5, top * 1.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))


def _lines(curves: pd.DataFrame, every: int) -> "list[np.ndarray[Any, Any]]":
    """(points, 2) of fraction and rate for each trial, in the order of the rows."""
    return [
        own[["fraction", "lr"]].to_numpy()[_thinned(len(own), every)]
        for _, own in curves.groupby("trial", sort=False)
    ]


def _thinned(count: int, every: int) -> "np.ndarray[Any, Any]":
    """Every so many, and the last."""
    return np.unique([*range(0, count, every), count - 1])


def _mark_best(axes: Axes, curve: pd.DataFrame, norm: Normalize, of_all: bool) -> None:
    """Draw the best of a family stronger, the best of all strongest."""
    (line,) = axes.plot(
        curve["fraction"],
        curve["lr"],
        color=plt.get_cmap(COLORMAP)(norm(curve["cost"].iloc[0])),
        lw=2 if of_all else 1.3,
        zorder=4 if of_all else 3,
    )
    if of_all:
        line.set_path_effects([Stroke(linewidth=3.4, foreground="white"), Normal()])


def _colour_bar(figure: Figure, panels: Sequence[Axes], norm: Normalize, scale: Scale) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, COLORMAP),
        ax=list(panels),
        label=f"final {scale.name}",
        pad=0.01,
        aspect=9 * figure.get_figheight(),
    )
    bar.outline.set_visible(False)
    assert bar.solids
    bar.solids.set(rasterized=False, edgecolor="face")  # else it is a picture, even in a PDF
    scale.label(bar.ax.yaxis, pd.Series([norm.vmin, norm.vmax]))
