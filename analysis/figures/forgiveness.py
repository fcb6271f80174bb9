"""The ranges of peak rates that are good enough."""

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import (
    INK,
    beside,
    rows_figure,
    scale_rates,
    short,
)


def forgiveness(trials: pd.DataFrame, ranges: pd.DataFrame) -> Figure:
    """The peak rates at which a family stays within seed noise of its best, the widest on top.

    ``ranges`` as :func:`~analysis.findings.forgiveness.forgiveness` makes them; ticks are all
    rates tried, crosses those that diverged.
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
