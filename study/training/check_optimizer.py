"""Checks of a task's precision and optimizer, and of the families that are to drive it."""

from collections import Counter
from collections.abc import Iterable

from torch import nn
from torch.optim import Optimizer

from search_spaces import FAMILIES, Parameters, SearchSpace
from search_spaces.family import MIN_STEPS, ScheduleFamily
from search_spaces.optimizers import UNTRACED
from study.system.errors import InputError
from study.tasks.check_data import call, wrong
from study.tasks.task import Task
from study.training.check_functions import fresh_model
from study.training.optimizers import make_optimizer
from study.training.precision import lacks

GROUPS = "parameter_groups(model)"
OPTIMIZER = "make_optimizer(model, lr, momentum, weight_decay)"


def check_optimizer(task: Task, device: str) -> None:
    """Try the precision, and the optimizer where the task has a say in it.

    Raises:
        InputError: the device lacks the precision, or the optimizer leaves a parameter out.
    """
    if lacks(task.precision, device):
        raise InputError(
            f"precision {task.precision}: the GPU here has no arithmetic of it; choose fp16 or fp32"
        )
    if task.make_optimizer or task.parameter_groups:
        model = fresh_model(task, device)
        family = FAMILIES["constant"]
        optimizer = _made(task, model, family, family.default(task.peak_lr))
        _check_groups(task, model, optimizer)
        if task.average != "none" and hasattr(optimizer, "eval"):
            raise wrong(
                task,
                f"the optimizer of {_function(task)} averages the weights by itself, so that "
                f"average must be none, not {task.average}",
            )


def check_families(task: Task, space: SearchSpace, device: str) -> None:
    """Try the schedule of each family on the optimizer that it will drive.

    Raises:
        InputError: they do not go together.
    """
    if task.make_optimizer and "optimizer" in space.extras:
        raise InputError(f"--optimizer: task {task.name!r} makes its own; leave the flag out")
    for name in space.families:
        family = FAMILIES[name]
        parameters = family.default(space.peak_lr, space.extras)
        made_by, _ = family.optimizer(parameters, MIN_STEPS)
        averages = hasattr(made_by, "eval") or family.average(parameters, MIN_STEPS)
        if task.average != "none" and averages:
            raise InputError(
                f"--average {task.average}: {name} averages the weights by itself; leave it out of "
                "--families, or choose --average none"
            )
        if task.make_optimizer and made_by not in UNTRACED:
            raise InputError(
                f"--families: {name} brings an optimizer of its own, and so does task "
                f"{task.name!r}; leave {name} out"
            )
    if task.make_optimizer or task.parameter_groups:
        _check_schedules(task, space, fresh_model(task, device))


def _check_schedules(task: Task, space: SearchSpace, model: nn.Module) -> None:
    for name in space.families:
        family = FAMILIES[name]
        parameters = family.default(space.peak_lr, space.extras)
        optimizer = _made(task, model, family, parameters)
        what = f"the schedule {name} on the optimizer of {_function(task)}"
        call(task, what, family.build, optimizer, parameters, MIN_STEPS)
        if hasattr(optimizer, "eval") and family.average(parameters, MIN_STEPS):
            raise InputError(
                f"--families: {name} averages the weights, and so does the optimizer of task "
                f"{task.name!r}; leave {name} out"
            )


def _made(
    task: Task, model: nn.Module, family: ScheduleFamily, parameters: Parameters
) -> Optimizer:
    made: Optimizer = call(
        task, _function(task), make_optimizer, task, model, family, parameters, MIN_STEPS
    )
    return made


def _function(task: Task) -> str:
    return OPTIMIZER if task.make_optimizer else GROUPS


def _check_groups(task: Task, model: nn.Module, optimizer: Optimizer) -> None:
    times = Counter(id(one) for group in optimizer.param_groups for one in group["params"])
    named = [(name, times[id(one)], one.requires_grad) for name, one in model.named_parameters()]
    missing = [name for name, count, trained in named if trained and not count]
    repeated = [name for name, count, _ in named if count > 1]
    if missing:
        raise wrong(
            task,
            f"{_function(task)} leaves out {_some(missing)}, which would never be trained; put "
            "every parameter into one group, or freeze it by requires_grad_(False)",
        )
    if repeated:
        raise wrong(task, f"{_function(task)} has {_some(repeated)} twice; put each into one group")


def _some(names: Iterable[str]) -> str:
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first
