"""Families that look at the run itself: at its validation loss, or at its iterates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from optuna.distributions import FloatDistribution

from search_spaces.family import (
    NO_EXTRAS,
    Extras,
    Parameters,
    PeakRange,
    Recipe,
    ScheduleFamily,
    steps,
    warmup_steps,
)

if TYPE_CHECKING:
    from torch.optim import Optimizer


class Plateau(ScheduleFamily):
    """``peak_lr``, times ``factor`` whenever the validation loss has stopped to fall.

    That is, after ``patience_fraction`` of the horizon without a loss 0.01% below the best. Judged
    once an epoch: a run of one epoch is one at a constant rate.
    torch.optim.lr_scheduler.ReduceLROnPlateau.
    """

    name = "plateau"
    groups = frozenset({"adaptive"})
    space: ClassVar = {
        "factor": FloatDistribution(0.1, 0.7, log=True),
        "patience_fraction": FloatDistribution(0.05, 0.4),
    }
    defaults: ClassVar = {"factor": 0.1, "patience_fraction": 0.1}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        from search_spaces.feedback import PlateauLR

        factor = float(parameters["factor"])
        patience = steps(parameters["patience_fraction"], total_steps) - 1
        rise = warmup_steps(parameters, total_steps)
        return Recipe(PlateauLR, {"warmup_steps": rise, "factor": factor, "patience": patience})

    def recipes(self, parameters: Parameters, total_steps: int) -> list[Recipe]:
        return [self.recipe(parameters, total_steps)]


class Greedy(ScheduleFamily):
    """Up by ``1 / factor`` while the validation loss improves, else down by ``factor``.

    Each after ``patience_fraction`` of the horizon of the one or the other, from ``start_ratio *
    peak_lr`` on and never above ``peak_lr``. Judged once an epoch. GreedyLR (arXiv 2512.14527), as
    Hugging Face's transformers has it, without its lower bound.
    """

    name = "greedy"
    groups = frozenset({"adaptive"})
    warms_up = True
    rises_again = True
    irregular = True
    space: ClassVar = {
        "factor": FloatDistribution(0.5, 0.95),
        "patience_fraction": FloatDistribution(0.02, 0.4),
        "start_ratio": FloatDistribution(0.1, 1.0, log=True),
    }
    defaults: ClassVar = {"factor": 0.7, "patience_fraction": 0.1, "start_ratio": 0.3}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        from search_spaces.feedback import GreedyLR

        factor, start = float(parameters["factor"]), float(parameters["start_ratio"])
        patience = steps(parameters["patience_fraction"], total_steps) - 1
        return Recipe(GreedyLR, {"factor": factor, "patience": patience, "start": start})


class ScheduleFree(ScheduleFamily):
    """No decay at all: the optimizer averages its iterates instead.

    Linear warm-up within ``warmup_fraction`` of the horizon, then constant. Its rates are 10 to 50
    times those of SGD, and 1 to 10 times those of AdamW, so the task's range is searched 10 or 3
    times higher. Defazio et al., The Road Less Scheduled (arXiv 2405.15682); package schedulefree,
    whose ``train()`` and ``eval()`` are called around training and evaluation.
    """

    name = "schedule_free"
    groups = frozenset({"adaptive", "averaging", "modern"})
    warms_up = True
    space: ClassVar = {"warmup_fraction": FloatDistribution(0.01, 0.2, log=True)}
    defaults: ClassVar = {"warmup_fraction": 0.05}

    def peak_range(self, peak_lr: PeakRange, extras: Extras = NO_EXTRAS) -> PeakRange:
        low, high = peak_lr
        times = 3 if "optimizer" in extras else 10  # AdamW, the only one that is an extra
        return times * low, times * high

    def takes(self, extra: str) -> bool:
        return extra in ("momentum", "weight_decay", "optimizer")

    def optimizer(
        self, parameters: Parameters, total_steps: int
    ) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
        from schedulefree import AdamWScheduleFree, SGDScheduleFree
        from torch.optim import AdamW

        torchs, given = super().optimizer(parameters, total_steps)
        given["warmup_steps"] = steps(parameters["warmup_fraction"], total_steps)
        if torchs is AdamW:
            return AdamWScheduleFree, given
        del given["nesterov"]
        return SGDScheduleFree, given

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe("ConstantLR", {"factor": 1.0, "total_iters": total_steps})
