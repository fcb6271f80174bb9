"""What a schedule family is: a named shape, the ranges of its parameters, and how to build it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

ParameterValue = float | int | str
Parameters = Mapping[str, ParameterValue]
Weights = Iterable[Tensor]
"""What an optimizer trains, as ``model.parameters()`` gives it."""
PeakRange = tuple[float, float]
"""Lowest and highest peak learning rate that is searched, on a log scale."""


@dataclass(frozen=True)
class Recipe:
    """A schedule as torch makes it: a class of ``torch.optim.lr_scheduler`` and its arguments."""

    schedule: type[LRScheduler]
    arguments: Mapping[str, Any]

    def build(self, optimizer: Optimizer) -> LRScheduler:
        """The schedule of this optimizer."""
        return self.schedule(optimizer, **self.arguments)


class ScheduleFamily(ABC):
    """One family of learning-rate schedules, e.g. cosine annealing.

    Every length among the parameters is a fraction of the horizon (the total number of optimizer
    steps), and every rate is a ratio to ``peak_lr``, the highest rate of the run: so a family means
    the same at any budget and for any model.
    """

    name: ClassVar[str]
    groups: ClassVar[frozenset[str]]
    """The names under which the command line selects this family together with others."""
    space: ClassVar[Mapping[str, BaseDistribution]] = {}
    """The range of every parameter but the peak rate, which belongs to the task."""
    cycles: ClassVar[bool] = False
    """Whether the rate may rise again after it has fallen."""
    optimizer: ClassVar[Callable[..., Optimizer]] = SGD

    def suggest(self, trial: BaseTrial, peak_lr: PeakRange) -> dict[str, ParameterValue]:
        """Sample parameters, each named ``<family>.<parameter>`` in the Optuna trial.

        The prefix keeps families apart: TPE's ``group`` option then models each family's parameters
        together, and a good peak rate for one says nothing about another's.
        """
        low, high = peak_lr
        space = {"peak_lr": FloatDistribution(low, high, log=True), **self.space}
        return {name: _suggest(trial, f"{self.name}.{name}", space[name]) for name in space}

    def optimizer_arguments(self, parameters: Parameters, total_steps: int) -> dict[str, Any]:
        """Of :attr:`optimizer`, at the peak rate."""
        return {
            "lr": float(parameters["peak_lr"]),
            "momentum": MOMENTUM,
            "nesterov": True,
            "weight_decay": WEIGHT_DECAY,
        }

    def make_optimizer(
        self, weights: Weights, parameters: Parameters, total_steps: int
    ) -> Optimizer:
        """SGD with Nesterov momentum, or the optimizer that the family needs."""
        return self.optimizer(weights, **self.optimizer_arguments(parameters, total_steps))

    @abstractmethod
    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        """The schedule for one run.

        Args:
            parameters: as :meth:`suggest` returned them.
            total_steps: the horizon, at least :data:`MIN_STEPS`.
        """

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        """The schedule for one run, to be stepped once after each optimizer step.

        Args:
            optimizer: as :meth:`make_optimizer` makes it.
            parameters: as :meth:`suggest` returned them.
            total_steps: the horizon, at least :data:`MIN_STEPS`.
        """
        return self.recipe(parameters, total_steps).build(optimizer)


MIN_STEPS = 10
"""The shortest horizon (steps): with fewer, phases of a schedule would have no step at all."""


MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


def applied_rate(group: Mapping[str, Any]) -> float:
    """The learning rate that the optimizer's last step used with a parameter group."""
    return float(group.get("scheduled_lr", group["lr"]))  # schedulefree warms up by itself


def steps(fraction: ParameterValue, total_steps: int) -> int:
    """A fraction of the horizon in whole steps, never none."""
    return max(1, round(float(fraction) * total_steps))


def _suggest(trial: BaseTrial, name: str, range_: BaseDistribution) -> ParameterValue:
    match range_:
        case FloatDistribution():
            return trial.suggest_float(name, range_.low, range_.high, log=range_.log)
        case IntDistribution():
            return trial.suggest_int(name, range_.low, range_.high, log=range_.log)
        case CategoricalDistribution():
            value = trial.suggest_categorical(name, range_.choices)
            assert isinstance(value, (float, int, str))
            return value
        case _:
            raise TypeError(f"{name}: a range is a Float-, Int- or CategoricalDistribution")
