"""A schedule family: a named shape, the ranges of its parameters, and how to build it.

torch is imported by what builds, and not before: whoever reads names and ranges need not wait for
it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

if TYPE_CHECKING:
    from optuna.trial import BaseTrial
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

ParameterValue = float | int | str
Parameters = Mapping[str, ParameterValue]
Weights = Iterable[Any] | Sequence[Mapping[str, Any]]
"""Tensors that an optimizer trains, as ``model.parameters()`` gives them or in groups, which may
have an ``lr_scale``, a factor of the rate."""
Extras = Mapping[str, BaseDistribution]
"""Ranges of what is searched for every family beside its shape: ``warmup_fraction``,
``weight_decay``, ``momentum``, ``optimizer``."""
NO_EXTRAS: Extras = MappingProxyType({})
PeakRange = tuple[float, float]
"""Lowest and highest peak learning rate that is searched, on a log scale."""

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
ADAMW_WEIGHT_DECAY = 1e-2  # torch's default
UPPER = 0.6
"""Place of a default peak rate within its range, by the logarithm: at 0.72 some runs collapse."""
WARMUP = 0.2
"""Default warm-up, as a fraction of the horizon, of families that have none of their own."""


@dataclass(frozen=True)
class Recipe:
    """A schedule as torch makes it: a class and its arguments."""

    schedule: str | type[LRScheduler]
    """The class, or the name of one in ``torch.optim.lr_scheduler``."""
    arguments: Mapping[str, Any]

    @property
    def made_by(self) -> type[LRScheduler]:
        """The class of the schedule."""
        if not isinstance(self.schedule, str):
            return self.schedule
        from torch.optim import lr_scheduler

        made_by: type[LRScheduler] = getattr(lr_scheduler, self.schedule)
        return made_by

    def build(self, optimizer: Optimizer) -> LRScheduler:
        """The schedule of this optimizer."""
        return self.made_by(optimizer, **self.arguments)


class SearchSpace(NamedTuple):
    """All that a study samples from."""

    families: tuple[str, ...]
    peak_lr: PeakRange
    extras: Extras = NO_EXTRAS


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
    defaults: ClassVar[Parameters] = {}
    """Values within :attr:`space` that are in common use: a study's first trial of the family."""
    rises_again: ClassVar[bool] = False
    """True if the rate may rise again after it has fallen."""
    irregular: ClassVar[bool] = False
    """True if it rises where the run asks for it, so that no cycle ends there."""
    warms_up: ClassVar[bool] = False
    """True if the shape begins with a warm-up of its own, so that none is composed before it."""

    def peak_range(self, peak_lr: PeakRange, extras: Extras = NO_EXTRAS) -> PeakRange:
        """The peak rates that are searched for this family where the task's are ``peak_lr``."""
        return peak_lr

    def searched(
        self, peak_lr: PeakRange, extras: Extras = NO_EXTRAS
    ) -> dict[str, BaseDistribution]:
        """The range of every parameter, by its name.

        Args:
            peak_lr: the task's range, of which :meth:`peak_range` makes the family's.
            extras: what is searched beside the shapes, as far as the family :meth:`takes` it.
        """
        low, high = self.peak_range(peak_lr, extras)
        space = {"peak_lr": FloatDistribution(low, high, log=True), **self.space}
        return space | {name: range_ for name, range_ in extras.items() if self.takes(name)}

    def ranges(self, peak_lr: PeakRange, extras: Extras = NO_EXTRAS) -> dict[str, BaseDistribution]:
        """:meth:`searched`, each named ``<family>.<parameter>`` as in an Optuna trial.

        The prefix keeps families apart: a good peak rate for one says nothing about another's.
        """
        searched = self.searched(peak_lr, extras)
        return {f"{self.name}.{name}": range_ for name, range_ in searched.items()}

    def suggest(
        self, trial: BaseTrial, peak_lr: PeakRange, extras: Extras = NO_EXTRAS
    ) -> dict[str, ParameterValue]:
        """Sample parameters, under the names of :meth:`ranges` in the trial."""
        return {
            name.removeprefix(f"{self.name}."): _suggest(trial, name, range_)
            for name, range_ in self.ranges(peak_lr, extras).items()
        }

    def default(self, peak_lr: PeakRange, extras: Extras = NO_EXTRAS) -> dict[str, ParameterValue]:
        """The configuration that needs no tuning, by the names of :meth:`searched`.

        :attr:`defaults` and :data:`WARMUP`, as far as they are within what is searched; the peak
        rate in the upper middle of its range, at :data:`UPPER` of its logarithm; and the middle of
        every other range.
        """
        searched = self.searched(peak_lr, extras)
        low, high = self.peak_range(peak_lr, extras)
        peak = low * (high / low) ** UPPER
        given = {"peak_lr": peak, "warmup_fraction": WARMUP, **self.defaults}
        return {
            name: given[name] if name in given and holds(range_, given[name]) else middle(range_)
            for name, range_ in searched.items()
        }

    def takes(self, extra: str) -> bool:
        """True if a parameter that is not part of the shape means something for this family."""
        return not (extra == "warmup_fraction" and self.warms_up)

    def optimizer(
        self, parameters: Parameters, total_steps: int
    ) -> tuple[Callable[..., Optimizer], dict[str, Any]]:
        """The optimizer's class, and its arguments besides the weights.

        SGD with Nesterov momentum, or AdamW, whose momentum is the first of its betas.
        """
        from torch.optim import SGD, AdamW

        lr, momentum = float(parameters["peak_lr"]), float(parameters.get("momentum", MOMENTUM))
        decay = parameters.get("weight_decay")
        if parameters.get("optimizer", "sgd") == "adamw":
            weight_decay = ADAMW_WEIGHT_DECAY if decay is None else float(decay)
            return AdamW, {"lr": lr, "betas": (momentum, 0.999), "weight_decay": weight_decay}
        weight_decay = WEIGHT_DECAY if decay is None else float(decay)
        arguments = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        return SGD, arguments | {"nesterov": momentum > 0}

    def average(self, parameters: Parameters, total_steps: int) -> str:
        """The average of the weights that is evaluated, ``ema:DECAY`` or ``tail:FRACTION``.

        Empty where the family has none of its own, so that the task's counts.
        """
        return ""

    def make_optimizer(
        self, weights: Weights, parameters: Parameters, total_steps: int, fused: bool = False
    ) -> Optimizer:
        """The optimizer at the peak rate, as :meth:`build` wants it.

        ``fused``: torch's own update all weights in one kernel, if all are floating-point numbers
        with dense gradients.
        """
        from search_spaces.optimizers import UNTRACED, in_proportion

        made_by, arguments = self.optimizer(parameters, total_steps)
        if fused and made_by in UNTRACED:
            arguments = {**arguments, "fused": True}
        groups, peak_lr = [*weights], arguments["lr"]
        if not isinstance(groups[0], Mapping):
            return UNTRACED.get(made_by, made_by)(groups, **arguments)
        scaled = [{**group, "lr": peak_lr * group.get("lr_scale", 1.0)} for group in groups]
        return in_proportion(UNTRACED.get(made_by, made_by)(scaled, **arguments), peak_lr)

    @abstractmethod
    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        """The schedule for one run, its composed warm-up aside.

        Args:
            parameters: as :meth:`suggest` returned them.
            total_steps: the steps that are left after the warm-up.
        """

    def recipes(self, parameters: Parameters, total_steps: int) -> list[Recipe]:
        """The schedule in the one or two parts that follow each other.

        A warm-up of W steps rises in a straight line, 1/(W+1), 2/(W+1), ... of the peak rate, and
        the shape is laid over what is left of the run.
        """
        warmup = warmup_steps(parameters, total_steps) if self.takes("warmup_fraction") else 0
        shape = self.recipe(parameters, total_steps - warmup)
        if not warmup:
            return [shape]
        rise = {"start_factor": 1 / (warmup + 1), "total_iters": warmup}
        return [Recipe("LinearLR", rise), shape]

    def build(self, optimizer: Optimizer, parameters: Parameters, total_steps: int) -> LRScheduler:
        """The schedule for one run, to be stepped once after each optimizer step.

        Args:
            optimizer: as :meth:`make_optimizer` makes it.
            parameters: as :meth:`suggest` returned them.
            total_steps: the horizon, at least :data:`MIN_STEPS`.
        """
        recipes = self.recipes(parameters, total_steps)
        parts = [recipe.build(optimizer) for recipe in recipes]
        if len(parts) == 1:
            return parts[0]
        from torch.optim.lr_scheduler import SequentialLR

        return SequentialLR(optimizer, parts, milestones=[recipes[0].arguments["total_iters"]])


def warmup_steps(parameters: Parameters, total_steps: int) -> int:
    """Steps of the warm-up that is composed before a family, none by default."""
    fraction = float(parameters.get("warmup_fraction", 0.0))
    return steps(fraction, total_steps) if fraction else 0


MIN_STEPS = 10
"""The shortest horizon (steps): with fewer, phases of a schedule would have no step at all."""


def steps(fraction: ParameterValue, total_steps: int) -> int:
    """A fraction of the horizon in whole steps, never none."""
    return max(1, round(float(fraction) * total_steps))


def check_range(name: str, range_: object) -> None:
    """Refuse a range whose values cannot be sampled, written into a table and read back.

    Raises:
        TypeError: with the parameter's name. None is among what cannot be a choice, since a table
            has it for a parameter that there is not.
    """
    match range_:
        case FloatDistribution() | IntDistribution():
            return
        case CategoricalDistribution(choices=choices):
            if all(isinstance(choice, (float, int, str)) for choice in choices):
                return
    raise TypeError(
        f"{name}: a range is a FloatDistribution, an IntDistribution or a CategoricalDistribution "
        f"of numbers, booleans and strings, not {range_!r}"
    )


def holds(range_: BaseDistribution, value: ParameterValue) -> bool:
    """True if a value is one of a range's."""
    if isinstance(range_, CategoricalDistribution):
        return value in range_.choices
    return not isinstance(value, str) and range_._contains(range_.to_internal_repr(value))


def _suggest(trial: BaseTrial, name: str, range_: BaseDistribution) -> ParameterValue:
    match range_:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
    check_range(name, range_)
    assert isinstance(range_, CategoricalDistribution)
    value = trial.suggest_categorical(name, range_.choices)
    assert isinstance(value, (float, int, str))
    return value


def middle(range_: BaseDistribution) -> ParameterValue:
    """The value around which a range is laid; of choices the first.

    Raises:
        TypeError: a kind of range that no family has.
    """
    match range_:
        case FloatDistribution(low=low, high=high, step=float() as step):
            return low + round((high - low) / step) // 2 * step
        case FloatDistribution(low=low, high=high, log=log):
            return math.sqrt(low * high) if log else (low + high) / 2
        case IntDistribution(low=low, high=high, log=True):
            return round(math.sqrt(low * high))
        case IntDistribution(low=low, high=high, step=step):
            return low + (high - low) // step // 2 * step
        case CategoricalDistribution(choices=(str() | int() | float() as first, *_)):
            return first
    raise TypeError(f"a range is a Float-, Int- or CategoricalDistribution, not {range_!r}")
