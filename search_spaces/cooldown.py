"""Families that keep the peak rate for most of the run and cool down at its end."""

from dataclasses import dataclass
from typing import ClassVar

from optuna.distributions import BaseDistribution, FloatDistribution

from search_spaces.family import Parameters, Recipe, ScheduleFamily, steps


@dataclass(frozen=True)
class CooldownShape:
    """Flat at 1, in the last steps of the run down to ``end`` along a curve.

    linear: 1 - u; sqrt: 1 - sqrt(u); exponential: 0.5 ** (half_lives * u); u runs from 0 to 1.
    """

    curve: str
    cooldown_steps: int
    total_steps: int
    end: float = 0.0
    half_lives: float = 0.0

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        begin = self.total_steps - self.cooldown_steps
        u = min(1.0, max(0.0, (step - begin) / self.cooldown_steps))
        if self.curve == "linear":
            return 1 - (1 - self.end) * u
        if self.curve == "sqrt":
            return float(1 - (1 - self.end) * u**0.5)
        return float(0.5 ** (self.half_lives * u))


class _Wsd(ScheduleFamily):
    """Warm-up, stable, decay: constant at ``peak_lr``, then down in the last part of the run.

    MiniCPM (Hu et al., arXiv 2404.06395), Haegele et al. (arXiv 2405.18392). The warm-up is not
    part of it here: it is composed before any family. The constant part need not know the horizon,
    so that one long run can be cooled down at several budgets. Records of small language models
    cool down over 0.6 of the run and more, to 0.15 of the peak rate.
    """

    curve: ClassVar[str]
    groups = frozenset({"cooldown"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "cooldown_fraction": FloatDistribution(0.05, 1.0, log=True),
        "end_ratio": FloatDistribution(0.0, 0.3),
    }
    defaults: ClassVar = {"cooldown_fraction": 0.2, "end_ratio": 0.0}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        shape = CooldownShape(
            self.curve,
            steps(parameters["cooldown_fraction"], total_steps),
            total_steps,
            float(parameters.get("end_ratio", 0.0)),
            float(parameters.get("half_lives", 0.0)),
        )
        return Recipe("LambdaLR", {"lr_lambda": shape})


class WsdLinear(_Wsd):
    """WSD with a straight cooldown to ``end_ratio * peak_lr``.

    With its warm-up the trapezoid of Xing et al., A Walk with SGD (arXiv 1802.08770).
    """

    name = "wsd_linear"
    groups = frozenset({"classic", "cooldown", "modern"})
    curve = "linear"


class WsdSqrt(_Wsd):
    """WSD with the cooldown ``1 - sqrt(u)``, reported ahead of the straight one (2405.18392)."""

    name = "wsd_sqrt"
    groups = frozenset({"cooldown", "modern"})
    curve = "sqrt"


class WsdExponential(_Wsd):
    """WSD with an exponential cooldown over ``half_lives`` halvings (MiniCPM's)."""

    name = "wsd_exponential"
    curve = "exponential"
    space: ClassVar[dict[str, BaseDistribution]] = {
        "cooldown_fraction": _Wsd.space["cooldown_fraction"],
        "half_lives": FloatDistribution(2.0, 10.0),
    }
    defaults: ClassVar = {"cooldown_fraction": 0.2, "half_lives": 5.0}
