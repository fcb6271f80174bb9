"""The gradient norms of a run, and the schedule that they ask for."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis.figures.style import COLUMN, INK, QUIET, scale_rates
from search_spaces.knots import Refined, refined
from study.tasks.gradients import GradientNorms


def refined_schedule(gradients: Mapping[str, Any]) -> Figure:
    """Norms over the run above, and below them the refined schedule at its default smoothing."""
    found = GradientNorms(**gradients)
    fraction = np.linspace(0, 1, len(found.norms))
    asked = refined(np.array(found.weights), float(Refined.defaults["smoothing"]))
    figure, (norms, rates) = plt.subplots(2, 1, figsize=(COLUMN, 2.6), sharex=True)
    norms.plot(fraction, found.norms, color=INK, lw=0.8)
    scale_rates(norms.yaxis, (1, 2, 5))
    norms.set_ylabel("gradient norm")
    rates.plot(fraction, 1 - fraction, color=QUIET, lw=0.8, ls=":")
    rates.plot(fraction, asked, color=INK)
    rates.xaxis.set_major_formatter(PercentFormatter(1))
    rates.set(
        xlim=(0, 1), ylim=(0, 1.05), ylabel="share of the peak", xlabel="fraction of training"
    )
    return figure
