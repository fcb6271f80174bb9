"""A schedule as lines of plain torch."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import FAMILIES, Parameters
from search_spaces.family import Recipe


def code(family: str, parameters: Parameters, total_steps: int) -> str:
    """A snippet that makes ``optimizer`` and ``schedule`` for a ``model``; it imports no study.

    For families that torch lacks it carries the formula, as a class whose objects survive
    ``state_dict``. Schedule-free needs the package schedulefree.
    """
    shape = FAMILIES[family]
    recipes = shape.recipes(parameters, total_steps)
    optimizer, optimizer_arguments = shape.optimizer(parameters, total_steps)
    lines = [f"# {family} over {total_steps} optimizer steps"]
    classes = _own_classes(recipes)
    source = "\n\n".join(inspect.getsource(own).rstrip() for own in classes)
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
    arguments = _written(optimizer_arguments)
    lines.append(f"optimizer = {package}.{_name(optimizer)}(model.parameters(), {arguments})")
    parts = [
        ("" if recipe.schedule in classes else "torch.optim.lr_scheduler.")
        + f"{recipe.schedule.__name__}(optimizer, {_written(recipe.arguments)})"
        for recipe in recipes
    ]
    if len(parts) == 1:
        lines.append(f"schedule = {parts[0]}")
    else:
        lines += [f"warmup = {parts[0]}", f"rest = {parts[1]}"]
        milestone = recipes[0].arguments["total_iters"]
        sequence = f"SequentialLR(optimizer, [warmup, rest], milestones=[{milestone}])"
        lines.append(f"schedule = torch.optim.lr_scheduler.{sequence}")
    lines.append(_USAGE.get(family, "# After each optimizer.step(): schedule.step()"))
    return "\n".join(lines) + "\n"


_USAGE = {
    "plateau": "# After each optimizer.step(): schedule.step()\n"
    "# After each evaluation: schedule.step(validation_loss)",
    "schedule_free": "# After each optimizer.step(): schedule.step()\n"
    "# Before training: optimizer.train(); before evaluating or saving: optimizer.eval()\n"
    "# With batch norm, after optimizer.eval(): torch.optim.swa_utils.update_bn(loader, model)",
}


def _own_classes(recipes: Sequence[Recipe]) -> list[type]:
    """The classes in recipes that torch does not have."""
    values = [
        value
        for recipe in recipes
        for value in (recipe.schedule, *map(type, recipe.arguments.values()))
    ]
    return [
        value for value in values if value.__module__.split(".")[0] not in ("torch", "builtins")
    ]


def _written(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _name(made_by: Any) -> str:
    return str(made_by.__name__)
