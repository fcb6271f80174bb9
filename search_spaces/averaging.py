"""Families that average the weights instead of letting the rate fall."""

from typing import ClassVar

from optuna.distributions import BaseDistribution, FloatDistribution

from search_spaces.decay import Constant
from search_spaces.family import Parameters, steps


class ConstantEma(Constant):
    """``lr(t) = peak_lr``, and the exponential moving average of the weights is evaluated.

    Its memory, 1 / (1 - decay) steps, is ``memory_fraction`` of the horizon. torch.optim.swa_utils.
    """

    name = "constant_ema"
    groups = frozenset({"averaging", "modern"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "memory_fraction": FloatDistribution(0.005, 0.2, log=True)
    }
    defaults: ClassVar = {"memory_fraction": 0.05}

    def average(self, parameters: Parameters, total_steps: int) -> str:
        memory = max(2, steps(parameters["memory_fraction"], total_steps))
        return f"ema:{1 - 1 / memory:.6g}"


class ConstantTail(Constant):
    """``lr(t) = peak_lr``, and the mean of the last weights is evaluated.

    They are those of the last ``tail_fraction`` of the run. Stochastic weight averaging (Izmailov
    et al., arXiv 1803.05407) at every step; torch.optim.swa_utils.
    """

    name = "constant_tail"
    groups = frozenset({"averaging", "modern"})
    space: ClassVar[dict[str, BaseDistribution]] = {
        "tail_fraction": FloatDistribution(0.05, 0.5, log=True)
    }
    defaults: ClassVar = {"tail_fraction": 0.25}

    def average(self, parameters: Parameters, total_steps: int) -> str:
        return f"tail:{float(parameters['tail_fraction']):.6g}"
