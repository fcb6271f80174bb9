"""The choices that flags offer."""

from typing import Literal, get_args

from search_spaces import GROUPS
from study.system.errors import InputError
from study.tasks import TASKS

Allocation = Literal["balanced", "joint"]
Sampler = Literal["tpe", "random"]
DrawnBy = Literal["fixed", "random", "tpe"]
TrialScheduler = Literal["fifo", "asha-within-family"]
Logger = Literal["none", "tensorboard", "mlflow", "wandb"]
Optimizer = Literal["sgd", "adamw"]
Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]
CHOICES = {
    "allocation": Allocation,
    "sampler": Sampler,
    "trial_scheduler": TrialScheduler,
    "logger": Logger,
    "optimizer": Optimizer,
    "device": Device,
}
"""By the names of the options."""


def check_choices(options: object) -> None:
    """Check them as a command line does; a file may hold a choice that is none any more.

    Args:
        options: with an attribute for some of :data:`CHOICES`.

    Raises:
        InputError: one is not among those that its option offers.
    """
    for name, choices in CHOICES.items():
        if hasattr(options, name) and getattr(options, name) not in get_args(choices):
            raise InputError(
                f"--{name.replace('_', '-')} must be one of {', '.join(get_args(choices))}, "
                f"not {getattr(options, name)!r}"
            )


def task_help() -> str:
    """Help of --task, with the names that there are."""
    return (
        f"What to train: {', '.join(TASKS)}, or a function of yours that returns a "
        "study.task.Task: path/to/file.py:function or package.module:function."
    )


def families_help() -> str:
    """Help of --families, with the groups and names that there are."""
    return (
        "Schedule families to try: groups, names or import paths (module:Class), separated by "
        f"commas. Groups: {', '.join(GROUPS)}. Names: {', '.join(GROUPS['all'])}."
    )
