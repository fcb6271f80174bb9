"""Families that start at the peak rate and never rise again."""

from typing import ClassVar

from optuna.distributions import FloatDistribution
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    StepLR,
)

from search_spaces.family import Parameters, ScheduleFamily, steps


class Constant(ScheduleFamily):
    """``lr(t) = peak_lr``. The control that every other family has to beat."""

    name = "constant"
    groups = frozenset({"classic"})

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        return ConstantLR(optimizer, factor=1.0, total_iters=total_steps)


class Step(ScheduleFamily):
    """``lr(t) = peak_lr * gamma ** floor(t / step)``, with ``step = step_fraction * horizon``.

    torch.optim.lr_scheduler.StepLR. Known as step decay; LRBench's STEP (arXiv 1908.06477).
    """

    name = "step"
    groups = frozenset({"classic"})
    space: ClassVar = {
        "step_fraction": FloatDistribution(0.1, 0.5),
        "gamma": FloatDistribution(0.1, 0.7, log=True),
    }

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        step_size = steps(parameters["step_fraction"], total_steps)
        return StepLR(optimizer, step_size=step_size, gamma=float(parameters["gamma"]))


class Linear(ScheduleFamily):
    """A straight line from ``peak_lr`` to ``end_ratio * peak_lr``, then constant.

    The line takes ``decay_fraction`` of the horizon. torch.optim.lr_scheduler.LinearLR, which
    starts *below* its base rate by default and is used for warm-ups too; here it falls.
    """

    name = "linear"
    groups = frozenset({"classic"})
    space: ClassVar = {
        "end_ratio": FloatDistribution(1e-3, 0.3, log=True),
        "decay_fraction": FloatDistribution(0.5, 1.0),
    }

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        return LinearLR(
            optimizer,
            start_factor=1.0,
            end_factor=float(parameters["end_ratio"]),
            total_iters=steps(parameters["decay_fraction"], total_steps),
        )


class Cosine(ScheduleFamily):
    """``lr(t) = low + (peak_lr - low) * (1 + cos(pi * t / horizon)) / 2``.

    ``low = end_ratio * peak_lr``. torch.optim.lr_scheduler.CosineAnnealingLR; from SGDR (Loshchilov
    & Hutter, arXiv 1608.03983) without its restarts.
    """

    name = "cosine"
    groups = frozenset({"classic"})
    space: ClassVar = {"end_ratio": FloatDistribution(1e-4, 0.1, log=True)}

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        # The rate rises again past T_max, so T_max is the whole horizon.
        low = float(parameters["end_ratio"]) * float(parameters["peak_lr"])
        return CosineAnnealingLR(optimizer, T_max=total_steps, eta_min=low)
