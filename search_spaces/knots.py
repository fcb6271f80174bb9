"""Families drawn through knots: a free shape, and the one that a task's own gradients ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from optuna.distributions import BaseDistribution, FloatDistribution

from search_spaces.family import WARMUP, Parameters, Recipe, ScheduleFamily, steps

KNOTS = 41
"""Knots of a refined schedule, evenly over the run."""
DIGITS = 6
"""Decimals of a knot, so that exported code has no more."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class KnotsShape:
    """A cubic from knot to knot, by the values and the slopes that it has there."""

    places: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[float, ...]
    total_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        place = min(1.0, step / self.total_steps)
        k = sum(one <= place for one in self.places[1:-1])
        (left, right), (low, high) = self.places[k : k + 2], self.values[k : k + 2]
        width = right - left
        u = (place - left) / width
        rise, fall = (width * slope for slope in self.slopes[k : k + 2])
        straight = high - low
        cubic = rise + fall - 2 * straight
        value = low + u * (rise + u * (3 * straight - 2 * rise - fall + u * cubic))
        return min(1.0, max(0.0, value))


def through(places: Floats, values: Floats, total_steps: int) -> KnotsShape:
    """The shape that keeps between two knots to what lies between their values.

    scipy.interpolate.PchipInterpolator (Fritsch & Butland, 1984).

    Args:
        places: of the knots, as fractions of the run, from 0 to 1.
        values: there, as shares of the peak rate.
        total_steps: of the run.
    """
    from scipy.interpolate import PchipInterpolator  # here, since few runs need it

    slopes = PchipInterpolator(places, values).derivative()(places)
    rows = (places, values, slopes)
    at, heights, tilts = (tuple(row.round(DIGITS).tolist()) for row in rows)
    return KnotsShape(at, heights, tilts, total_steps)


class Free(ScheduleFamily):
    """Any monotone fall: through three knots, at a third, two thirds and the end of the run.

    Each knot has a share of the one before (``keep_1`` of the peak rate, ``keep_2``, ``keep_3``),
    and a monotone cubic joins them (scipy.interpolate.PchipInterpolator). It comes within 0.03 of
    the peak rate, on average over the run, of the default of every named fall but steps, tanh and
    wsd_exponential, and so shows whether one of these is good enough.
    """

    name = "free"
    groups = frozenset({"modern"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "keep_1": FloatDistribution(0.2, 1.0),
        "keep_2": FloatDistribution(0.1, 1.0),
        "keep_3": FloatDistribution(0.0, 1.0),
    }
    defaults: ClassVar = {"keep_1": 2 / 3, "keep_2": 1 / 2, "keep_3": 0.0}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        shares = [float(parameters[name]) for name in self.space]
        values = np.array([1.0, *shares]).cumprod()
        shape = through(np.linspace(0, 1, 4), values, total_steps)
        return Recipe("LambdaLR", {"lr_lambda": shape})


def refined(weights: Floats, smoothing: float) -> Floats:
    """The refined schedule at as many places as there are weights, 1 at most.

    Args:
        weights: gradient norms to the power of -2, or -1 for AdamW, evenly over the run.
        smoothing: length of the median filter, as a fraction of the run. Before the first weight
            stands that one again; after the last they come back in reverse.
    """
    half = int(smoothing * len(weights)) // 2
    padded = np.pad(np.pad(weights, (half, 0), "edge"), (0, half), "symmetric")
    smooth = np.median(sliding_window_view(padded, 2 * half + 1), axis=1)
    rates: Floats = smooth * (smooth.sum() - np.cumsum(smooth)).clip(min=0)
    highest: float = rates.max()
    return np.divide(rates, highest)


class Refined(ScheduleFamily):
    """The schedule that the gradient norms of a run of the same task ask for.

    ``lr(t)`` is in proportion to ``w(t) * sum(w(s) for s > t)`` with ``w = 1 / norm ** 2``, or 1
    over the sum of absolute values for AdamW, smoothed by a median over ``smoothing`` of the run,
    and times a warm-up over ``warmup_fraction``. One run with the straight line is made before the
    search for the norms; where they stay the same, the schedule is that line. Defazio et al., arXiv
    2310.07831.
    """

    name = "refined"
    groups = frozenset({"adaptive", "modern"})
    warms_up = True
    rises_again = True
    irregular = True
    space: ClassVar[dict[str, BaseDistribution]] = {
        "smoothing": FloatDistribution(0.03, 0.5, log=True),
        "warmup_fraction": FloatDistribution(0.01, 0.3, log=True),
    }
    defaults: ClassVar = {"smoothing": 0.1, "warmup_fraction": WARMUP}

    def __init__(self, weights: Sequence[float] = (1.0,) * KNOTS) -> None:
        """The family of one task, by its weights w, evenly over the run and not yet smoothed."""
        self.weights = np.array(weights)

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        rise = steps(parameters["warmup_fraction"], total_steps) / total_steps
        places = np.union1d(np.linspace(0, 1, KNOTS).round(DIGITS), [round(rise, DIGITS)])
        asked = refined(self.weights, float(parameters["smoothing"]))
        values = np.interp(places, np.linspace(0, 1, len(asked)), asked)
        values *= np.minimum(1, (places + 1 / total_steps) / rise)
        shape = through(places, values / values.max(), total_steps)
        return Recipe("LambdaLR", {"lr_lambda": shape})
