"""The options of what a study is: the same when it is resumed."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)

from search_spaces import PeakRange, select
from study.settings.choices import (
    Allocation,
    Optimizer,
    Sampler,
    TrialScheduler,
    check_choices,
    families_help,
    task_help,
)
from study.settings.values import at_least, ranged, rates
from study.system.command_line import Location
from study.system.errors import InputError
from study.tasks.recipe import PLAIN, Precision, check_recipe
from study.tasks.task_name import origin_and_function


@dataclass(frozen=True)
class TrainingOptions:
    """Options of every training run: the same when a study is resumed."""

    task: Annotated[Location, tyro.conf.arg(help=task_help())] = "mnist"
    """Model and data to train."""
    task_args: tuple[str, ...] = ()
    """Arguments of the task's function, each key=value."""
    epochs: int = 3
    """Epochs a trial: the budget that the schedule is chosen for."""
    batch_size: int = 128
    """Samples a batch."""
    accumulate: int | None = None
    """Batches a step. Default: the task's, one for most."""
    clip_norm: float | None = None
    """Norm to which gradients are clipped; 0 for no clipping. Default: the task's."""
    precision: Precision | None = None
    """Automatic mixed precision, or fp32. Default: the task's, fp32 for most."""
    average: str | None = None
    """Average of the weights to evaluate: none, ema:DECAY, or tail:FRACTION, the mean over the last
    steps of a run. Default: the task's, none for most."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        origin_and_function(self.task)
        at_least("epochs", self.epochs, 1)
        at_least("batch_size", self.batch_size, 1)
        try:
            check_recipe({**PLAIN, **self.recipe})
        except ValueError as error:
            raise InputError(f"--{str(error).replace('_', '-', 1)}") from error

    @property
    def recipe(self) -> dict[str, Any]:
        """The values that were typed in place of the task's, by the names of its fields."""
        typed = {name: getattr(self, name) for name in PLAIN if getattr(self, name) is not None}
        return typed | {"clip_norm": None} if self.clip_norm == 0 else typed


@dataclass(frozen=True)
class SearchOptions:
    """Options of the search: the same when a study is resumed."""

    num_trials: int = 27
    """Trials in all, a resumed study's earlier ones included."""
    families: Annotated[str, tyro.conf.arg(help=families_help())] = "classic"
    allocation: Allocation = "balanced"
    """Who gets the trials, after a first one for each family: all the same number, or those that
    the sampler likes."""
    sampler: Sampler = "tpe"
    """Optuna's TPE, or random draws."""
    trial_scheduler: TrialScheduler = "fifo"
    """Let every trial end, or stop those that fall behind their own family's."""
    warmup: str = "search"
    """Warm-up before families that have none: search, none, or a fraction of the run."""
    optimizer: Optimizer = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    momentum: str = "0.9"
    """Momentum, or the first beta of AdamW: search, or a number."""
    weight_decay: str = "default"
    """Weight decay: search, a number, or default (0.0005 for SGD, 0.01 for AdamW)."""
    peak_lr: str = "task"
    """Peak rates to search: those of the task, auto (a learning-rate range test), or LOW,HIGH."""
    seed: int = 0
    """Seed of everything random. Repeats a study exactly with --max-concurrent 1."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        check_choices(self)
        at_least("num_trials", self.num_trials, 1)
        at_least("seed", self.seed, 0)
        if self.seed >= 2**32:
            raise InputError(f"--seed must be below 2**32, not {self.seed}")
        self.extras()
        self.peak_range()
        try:
            select(self.families)
        except ValueError as error:
            raise InputError(str(error)) from error

    def extras(self) -> dict[str, BaseDistribution]:
        """The ranges of what is searched, or fixed otherwise than by default, beside the shapes.

        Raises:
            InputError: a value that is neither a word nor a number within its bounds.
        """
        ranges: dict[str, BaseDistribution | None] = {
            "warmup_fraction": ranged(
                "--warmup", self.warmup, "none", FloatDistribution(0.0, 0.3), (1e-6, 0.9)
            ),
            "momentum": ranged(
                "--momentum", self.momentum, "0.9", FloatDistribution(0.8, 0.99), (0.0, 0.9999)
            ),
            "weight_decay": ranged(
                "--weight-decay",
                self.weight_decay,
                "default",
                FloatDistribution(1e-5, 1e-1, log=True),
                (0.0, 1.0),
            ),
            "optimizer": CategoricalDistribution(("adamw",)) if self.optimizer != "sgd" else None,
        }
        return {name: range_ for name, range_ in ranges.items() if range_ is not None}

    def peak_range(self) -> PeakRange | None:
        """The peak rates that were typed, or None where ``peak_lr`` is a word.

        Raises:
            InputError: neither.
        """
        return None if self.peak_lr in ("task", "auto") else rates(self.peak_lr)


@dataclass(frozen=True)
class ConfirmOptions:
    """Options of the finalists: the same when a study is resumed."""

    finalists: int = 4
    """Configurations trained again when the search is done, the constant rate among them; 0 for
    none."""
    replicates: int = 20
    """Fresh seeds for each finalist, at most: it ends when they can be told apart."""

    def __post_init__(self) -> None:
        """Raise InputError, naming the first value that cannot be."""
        at_least("replicates", self.replicates, 2)
        if self.finalists != 0 and self.finalists < 2:
            raise InputError(f"--finalists must be 0, or at least 2, not {self.finalists}")
