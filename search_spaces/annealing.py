"""Families that fall along a smooth curve, beside those that torch has."""

import math
from dataclasses import dataclass
from typing import ClassVar

from optuna.distributions import FloatDistribution

from search_spaces.family import Parameters, Recipe, ScheduleFamily, steps


@dataclass(frozen=True)
class BentCosineShape:
    """Flat at first, then half a cosine down to 0 over time to the power of ``k``."""

    flat_steps: int
    total_steps: int
    k: float = 1.0

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        u = max(0, step - self.flat_steps) / (self.total_steps - self.flat_steps)
        return (1 + math.cos(math.pi * min(1.0, u) ** self.k)) / 2


class FlatCosine(ScheduleFamily):
    """``peak_lr`` for ``flat_fraction`` of the horizon, then half a cosine down to zero.

    fastai's ``fit_flat_cos``, which is flat for 0.75 of the run.
    """

    name = "flat_cosine"
    groups = frozenset({"cooldown"})
    space: ClassVar = {"flat_fraction": FloatDistribution(0.2, 0.9)}
    defaults: ClassVar = {"flat_fraction": 0.75}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        # At least a step is left for the cosine.
        flat = min(steps(parameters["flat_fraction"], total_steps), total_steps - 1)
        return Recipe("LambdaLR", {"lr_lambda": BentCosineShape(flat, total_steps)})


class KDecay(ScheduleFamily):
    """``lr(t) = peak_lr * (1 + cos(pi * (t / horizon) ** k)) / 2``.

    With ``k`` above 1 a cosine that stays high for longer, below 1 one that falls at once. k-decay
    (Zhang & Li, arXiv 2004.05909), as timm's CosineLRScheduler has it.
    """

    name = "k_decay"
    groups = frozenset({"decay"})
    space: ClassVar = {"k": FloatDistribution(0.5, 3.0, log=True)}
    defaults: ClassVar = {"k": 1.5}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        shape = BentCosineShape(0, total_steps, float(parameters["k"]))
        return Recipe("LambdaLR", {"lr_lambda": shape})


@dataclass(frozen=True)
class TanhShape:
    """(1 - tanh(x)) / 2 as x runs from lower to upper."""

    lower: float
    upper: float
    total_steps: int

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        u = min(1.0, step / self.total_steps)
        return (1 - math.tanh(self.lower * (1 - u) + self.upper * u)) / 2


class Tanh(ScheduleFamily):
    """``lr(t) = peak_lr * (1 - tanh(x)) / 2``, x from ``lower`` to ``upper`` over the horizon.

    Hyperbolic-tangent decay (Hsueh et al., arXiv 1806.01593), as timm's TanhLRScheduler has it.
    """

    name = "tanh"
    groups = frozenset({"decay"})
    space: ClassVar = {
        "lower": FloatDistribution(-8.0, -4.0),
        "upper": FloatDistribution(1.0, 4.0),
    }
    defaults: ClassVar = {"lower": -7.0, "upper": 3.0}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        lower, upper = float(parameters["lower"]), float(parameters["upper"])
        return Recipe("LambdaLR", {"lr_lambda": TanhShape(lower, upper, total_steps)})
