"""A schedule as lines of plain torch."""

import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pprint import pformat
from typing import Any

from search_spaces import FAMILIES, Parameters
from search_spaces.family import MOMENTUM, WEIGHT_DECAY, Recipe


def code(family: str, parameters: Parameters, total_steps: int, made_by: str = "study") -> str:
    """A snippet that makes ``optimizer`` and ``schedule`` for a ``model``; it imports no study.

    For families that torch lacks it carries the formula, as a class whose objects survive
    ``state_dict``. Schedule-free needs the package schedulefree.

    Args:
        family: its name.
        parameters: of the schedule.
        total_steps: of the run.
        made_by: maker of the optimizer: ``study``, for all parameters alike, or a function of the
            user's, ``parameter_groups`` or ``make_optimizer``, which the snippet calls; all
            optimizers are then in ``optimizers``.
    """
    shape = FAMILIES[family]
    recipes = shape.recipes(parameters, total_steps)
    optimizer, optimizer_arguments = shape.optimizer(parameters, total_steps)
    lines = [f"# {family} over {total_steps} optimizer steps"]
    classes = _own_classes(recipes)
    source = "\n\n".join(map(_source, classes))
    if "math." in source:
        lines.append("import math")
    if "@dataclass" in source:
        lines.append("from dataclasses import dataclass")
    if "Any" in source:
        lines.append("from typing import Any")
    lines.append("")
    if optimizer.__module__.startswith("schedulefree"):
        lines.append("import schedulefree")
    lines.append("import torch")
    if "(ReduceLROnPlateau)" in source:
        lines.append("from torch.optim import Optimizer")
        lines.append("from torch.optim.lr_scheduler import ReduceLROnPlateau")
    if source:
        lines += ["", "", source, "", ""]
    package = "schedulefree" if "import schedulefree" in lines else "torch.optim"
    class_ = f"{package}.{_name(optimizer)}"
    lines += _optimizer_lines(made_by, class_, optimizer_arguments, parameters)
    parts = [
        ("" if recipe.made_by in classes else "torch.optim.lr_scheduler.")
        + f"{recipe.made_by.__name__}(optimizer, {_written(recipe.arguments)})"
        for recipe in recipes
    ]
    if len(parts) == 1:
        lines.append(f"schedule = {parts[0]}")
    else:
        lines += [f"warmup = {parts[0]}", f"rest = {parts[1]}"]
        milestone = recipes[0].arguments["total_iters"]
        sequence = f"SequentialLR(optimizer, [warmup, rest], milestones=[{milestone}])"
        lines.append(f"schedule = torch.optim.lr_scheduler.{sequence}")
    return "\n".join([*lines, *_usage(family, made_by)]) + "\n"


@functools.cache
def _source(own: type) -> str:
    return inspect.getsource(own).rstrip()


def _optimizer_lines(
    made_by: str, class_: str, arguments: Mapping[str, Any], parameters: Parameters
) -> list[str]:
    peak_lr = float(parameters["peak_lr"])
    if made_by == "study":
        return [f"optimizer = {class_}(model.parameters(), {_written(arguments)})"]
    if made_by == "parameter_groups":
        scaled = f'{{**group, "lr": {peak_lr!r} * group.get("lr_scale", 1.0)}}'
        lines = [
            "# parameter_groups(model) is the task's.",
            f"groups = [{scaled} for group in parameter_groups(model)]",
            f"optimizers = [{class_}(groups, {_written(arguments)})]",
        ]
    else:
        momentum = float(parameters.get("momentum", MOMENTUM))
        decay = float(parameters.get("weight_decay", WEIGHT_DECAY))
        lines = [
            "# make_optimizer(model, lr, momentum, weight_decay) is the task's.",
            f"made = make_optimizer(model, {peak_lr!r}, {momentum!r}, {decay!r})",
            "optimizers = [made] if isinstance(made, torch.optim.Optimizer) else [*made]",
        ]
    return [*lines, inspect.cleandoc(_FOLLOW.format(peak_lr=repr(peak_lr)))]


_FOLLOW = """
    # The first group with the peak rate goes by the schedule, all others in proportion to it.
    for one in optimizers:
        one.param_groups.sort(key=lambda group: group["lr"] != {peak_lr})
    optimizers.sort(key=lambda one: one.param_groups[0]["lr"] != {peak_lr})
    optimizer = optimizers[0]
    scales = [[group["lr"] / {peak_lr} for group in one.param_groups] for one in optimizers]


    def follow(one, *_):
        for group, scale in zip(one.param_groups, scales[optimizers.index(one)]):
            group["lr"] = optimizer.param_groups[0]["lr"] * scale


    for one in optimizers:
        one.register_step_pre_hook(follow)
"""


def _usage(family: str, made_by: str) -> Iterator[str]:
    if made_by == "make_optimizer":
        yield "# Step each of optimizers, not the first alone."
    yield _USAGE.get(family, "# After each optimizer.step(): schedule.step()")


_FED = (
    "# After each optimizer.step(): schedule.step()\n"
    "# After each evaluation: schedule.step(validation_loss)"
)
_USAGE = {
    "plateau": _FED,
    "greedy": _FED,
    "schedule_free": "# After each optimizer.step(): schedule.step()\n"
    "# Before training: optimizer.train(); before evaluating or saving: optimizer.eval()\n"
    "# With batch norm, after optimizer.eval(): torch.optim.swa_utils.update_bn(loader, model)",
}


def _own_classes(recipes: Sequence[Recipe]) -> list[type]:
    """The classes in recipes that torch does not have."""
    values = [
        value
        for recipe in recipes
        for value in (recipe.made_by, *map(type, recipe.arguments.values()))
    ]
    return [
        value for value in values if value.__module__.split(".")[0] not in ("torch", "builtins")
    ]


def _written(arguments: Mapping[str, Any]) -> str:
    written = (
        f"{name}={pformat(value, width=80, compact=True)}" for name, value in arguments.items()
    )
    return ", ".join(written)


def _name(made_by: Any) -> str:
    return str(made_by.__name__)
