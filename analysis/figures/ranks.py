"""The ranks of families in several studies."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.style import (
    COLORMAP,
    WIDTH,
    short,
)


def rank_by_study(ranks: pd.DataFrame) -> Figure:
    """Each family's rank in each study; the best of the last on top.

    ``ranks`` as :func:`~analysis.studies.rank_by_study` makes them.
    """
    studies = list(dict.fromkeys(ranks["study"]))
    last = ranks[ranks["study"] == studies[-1]]
    order = list(last.sort_values(["rank", "family"])["family"])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.2 * len(order) + 0.9))
    colours = sns.color_palette(COLORMAP, len(order))
    for k, (family, colour) in enumerate(zip(order, colours, strict=True)):
        own = ranks[ranks["family"] == family]
        places = list(map(studies.index, own["study"]))
        axes.plot(places, own["rank"], "o-", color=colour, lw=1.2, ms=3.5)
        # At whole ranks, since those that tie would be written over each other.
        axes.annotate(short(family), (len(studies) - 0.7, k + 1), va="center", color=colour)
    axes.set_xticks(range(len(studies)), studies)
    if sum(map(len, studies)) > 70:
        axes.tick_params("x", rotation=15)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = 0.25 + 0.1 * len(studies)  # for the names
    axes.set(ylabel="rank", xlim=(-0.5, len(studies) - 0.5 + room), ylim=(len(order) + 0.5, 0.5))
    return figure
