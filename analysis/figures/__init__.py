"""The figures: each a function of DataFrames, whose numbers are computed by functions elsewhere.

Families are ordered by their best trial, best first; what is good is dark, since it is what should
be seen. Every figure takes the :class:`~analysis.scale.Scale` of the study's metric, accuracy by
default, and is made inside :func:`~analysis.figures.style.house_style`.
"""

from analysis.figures.finalists import finalists
from analysis.figures.forgiveness import forgiveness
from analysis.figures.importances import importances
from analysis.figures.learning_curves import learning_curves
from analysis.figures.overview import overview
from analysis.figures.peak_rates import result_by_peak_lr
from analysis.figures.range_test import range_test
from analysis.figures.ranks import rank_by_study
from analysis.figures.refined import refined_schedule
from analysis.figures.schedules import schedules_by_result
from analysis.figures.tuning_budget import tuning_budget
from analysis.figures.winners import winners

__all__ = [
    "finalists",
    "forgiveness",
    "importances",
    "learning_curves",
    "overview",
    "range_test",
    "rank_by_study",
    "refined_schedule",
    "result_by_peak_lr",
    "schedules_by_result",
    "tuning_budget",
    "winners",
]
