"""Families that look at the run itself: at its validation loss, or at its iterates."""

from typing import Any, ClassVar

from optuna.distributions import FloatDistribution
from optuna.trial import BaseTrial
from schedulefree import SGDScheduleFree
from torch.optim.lr_scheduler import ConstantLR, ReduceLROnPlateau

from search_spaces.family import (
    MOMENTUM,
    WEIGHT_DECAY,
    Parameters,
    ParameterValue,
    PeakRange,
    Recipe,
    ScheduleFamily,
    steps,
)


class PlateauLR(ReduceLROnPlateau):
    """torch's ReduceLROnPlateau with its patience in optimizer steps.

    torch counts calls, that is evaluations, and so means another thing at every number of epochs.
    Here :meth:`step` is called after each optimizer step as any schedule's is, and once more with
    the loss after each evaluation.
    """

    steps_since_evaluation = 0

    def step(  # type: ignore[override]  # torch overrides its own base in the same way
        self, metrics: Any = None, epoch: int | None = None
    ) -> None:
        """Count a step, or judge a validation loss by torch's rule."""
        if metrics is None:
            self.steps_since_evaluation += 1
            return
        if not self._is_better(float(metrics), self.best):  # type: ignore[no-untyped-call]
            self.num_bad_epochs += self.steps_since_evaluation - 1  # torch adds the last one
        self.steps_since_evaluation = 0
        super().step(metrics, epoch)


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

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        patience = steps(parameters["patience_fraction"], total_steps) - 1
        return Recipe(PlateauLR, {"factor": float(parameters["factor"]), "patience": patience})


class ScheduleFree(ScheduleFamily):
    """No decay at all: the optimizer averages its iterates instead.

    Linear warm-up within ``warmup_fraction`` of the horizon, then constant. Its rates are 10 to 50
    times those of SGD, so the task's range is searched ten times higher. Defazio et al., The Road
    Less Scheduled (arXiv 2405.15682); package schedulefree, whose ``train()`` and ``eval()`` are
    called around training and evaluation.
    """

    name = "schedule_free"
    groups = frozenset({"adaptive"})
    optimizer = SGDScheduleFree
    space: ClassVar = {"warmup_fraction": FloatDistribution(0.01, 0.2, log=True)}

    def suggest(self, trial: BaseTrial, peak_lr: PeakRange) -> dict[str, ParameterValue]:
        low, high = peak_lr
        return super().suggest(trial, (10 * low, 10 * high))

    def optimizer_arguments(self, parameters: Parameters, total_steps: int) -> dict[str, Any]:
        return {
            "lr": float(parameters["peak_lr"]),
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "warmup_steps": steps(parameters["warmup_fraction"], total_steps),
        }

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(ConstantLR, {"factor": 1.0, "total_iters": total_steps})
