"""The winning curves of several studies."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.figures.parts import scale_schedules
from analysis.figures.style import (
    COLORMAP,
    WIDTH,
    short,
)


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
    scale_schedules(axes, curves.groupby(["study", "family"])["lr"].max())
    axes.set(xlabel="fraction of training", ylabel="learning rate")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
