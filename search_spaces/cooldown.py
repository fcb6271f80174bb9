"""Families that keep the peak rate for most of the run and cool down at its end."""

from dataclasses import dataclass
from typing import ClassVar

from optuna.distributions import BaseDistribution, FloatDistribution
from torch.optim.lr_scheduler import LambdaLR

from search_spaces.family import Parameters, Recipe, ScheduleFamily, steps


@dataclass(frozen=True)
class CooldownShape:
    """Up to 1 in a straight line, flat, in the last steps of the run down along a curve.

    linear: 1 - u; sqrt: 1 - sqrt(u); exponential: 0.5 ** (half_lives * u); u runs from 0 to 1.
    """

    curve: str
    cooldown_steps: int
    total_steps: int
    half_lives: float = 0.0
    rise_steps: int = 1

    def __call__(self, step: int) -> float:
        """The factor on the peak rate at a step."""
        return min(1.0, (step + 1) / self.rise_steps, self._fall(step))

    def _fall(self, step: int) -> float:
        begin = self.total_steps - self.cooldown_steps
        u = min(1.0, max(0.0, (step - begin) / self.cooldown_steps))
        if self.curve == "linear":
            return 1 - u
        if self.curve == "sqrt":
            return float(1 - u**0.5)
        return float(0.5 ** (self.half_lives * u))


class _Wsd(ScheduleFamily):
    """Warm-up, stable, decay: constant at ``peak_lr``, then down in the last part of the run.

    MiniCPM (Hu et al., arXiv 2404.06395), Haegele et al. (arXiv 2405.18392). The warm-up is not
    part of it here: it is composed before any family. The constant part need not know the horizon,
    so that one long run can be cooled down at several budgets.
    """

    curve: ClassVar[str]
    groups = frozenset({"cooldown"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "cooldown_fraction": FloatDistribution(0.05, 0.5, log=True)
    }
    defaults: ClassVar = {"cooldown_fraction": 0.2}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        shape = CooldownShape(
            self.curve,
            steps(parameters["cooldown_fraction"], total_steps),
            total_steps,
            float(parameters.get("half_lives", 0.0)),
        )
        return Recipe(LambdaLR, {"lr_lambda": shape})


class WsdLinear(_Wsd):
    """WSD with a straight cooldown to zero."""

    name = "wsd_linear"
    groups = frozenset({"classic", "cooldown"})
    curve = "linear"


class WsdSqrt(_Wsd):
    """WSD with the cooldown ``1 - sqrt(u)``, reported ahead of the straight one (2405.18392)."""

    name = "wsd_sqrt"
    curve = "sqrt"


class WsdExponential(_Wsd):
    """WSD with an exponential cooldown over ``half_lives`` halvings (MiniCPM's)."""

    name = "wsd_exponential"
    curve = "exponential"
    space: ClassVar[dict[str, BaseDistribution]] = {
        **_Wsd.space,
        "half_lives": FloatDistribution(2.0, 10.0),
    }
    defaults: ClassVar = {"cooldown_fraction": 0.2, "half_lives": 5.0}


class Trapezoid(ScheduleFamily):
    """Up within ``rise_fraction`` of the run, flat, down to zero within ``fall_fraction``.

    Xing et al., A Walk with SGD (arXiv 1802.08770): the straight WSD, with its warm-up built in.
    """

    name = "trapezoid"
    groups = frozenset({"cooldown"})
    warms_up = True
    space: ClassVar = {
        "rise_fraction": FloatDistribution(0.02, 0.3, log=True),
        "fall_fraction": FloatDistribution(0.1, 0.5),
    }
    defaults: ClassVar = {"rise_fraction": 0.2, "fall_fraction": 0.3}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        rise, fall = (
            steps(parameters[name], total_steps) for name in ("rise_fraction", "fall_fraction")
        )
        shape = CooldownShape("linear", fall, total_steps, rise_steps=rise)
        return Recipe(LambdaLR, {"lr_lambda": shape})
