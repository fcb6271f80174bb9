"""The recipe of a training step as lines of plain torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from study.tasks.recipe import PLAIN, average_of

TYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}
SWA = "torch.optim.swa_utils"


def recipe_code(recipe: Mapping[str, Any], total_steps: int) -> str:
    """A function ``train_step(batches, loss_of)`` for what :func:`search_spaces.as_code.code` made.

    Nothing where the recipe, by the names in :data:`PLAIN`, is a plain one.
    """
    if recipe == PLAIN:
        return ""
    lines = [*_objects(recipe), "", "", *_step(recipe), *_average(recipe, total_steps)]
    return "\n".join(["", *lines, ""])


def _objects(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe["precision"] == "fp16":
        yield "scaler = torch.amp.GradScaler(next(model.parameters()).device.type)"
    if average := average_of(recipe["average"]):
        rule = f", multi_avg_fn={SWA}.get_ema_multi_avg_fn({average.amount!r})"
        yield f"average = {SWA}.AveragedModel(model{rule if average.kind == 'ema' else ''})"
        yield "steps = 0"


def _step(recipe: Mapping[str, Any]) -> Iterator[str]:
    fp16, count = recipe["precision"] == "fp16", recipe["accumulate"]
    yield "def train_step(batches, loss_of):"
    yield f'    """Take an optimizer step, from {count} batch{"es" * (count > 1)}."""'
    yield "    optimizer.zero_grad()"
    yield "    for batch in batches:"
    forward = "loss = loss_of(model, batch) / len(batches)"
    if recipe["precision"] in TYPES:
        device = "next(model.parameters()).device.type"
        yield f"        with torch.autocast({device}, {TYPES[recipe['precision']]}):"
        yield f"            {forward}"
    else:
        yield f"        {forward}"
    yield f"        {'scaler.scale(loss)' if fp16 else 'loss'}.backward()"
    if recipe["clip_norm"] is not None:
        yield from ["    scaler.unscale_(optimizer)"] if fp16 else []
        yield f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {recipe['clip_norm']!r})"
    if fp16:
        yield "    scaler.step(optimizer)"
        yield "    scale = scaler.get_scale()"
        yield "    scaler.update()"
        yield "    if scaler.get_scale() < scale:  # a gradient was not finite: no step was taken"
        yield "        return"
    else:
        yield "    optimizer.step()"
    yield "    schedule.step()"


def _average(recipe: Mapping[str, Any], total_steps: int) -> Iterator[str]:
    if average := average_of(recipe["average"]):
        yield "    global steps"
        yield "    steps += 1"
        yield f"    if steps > {average.first(total_steps)}:"
        yield "        average.update_parameters(model)"
        yield ""
        yield ""
        yield "# Evaluate and save average.module; with batch norm, before that:"
        yield f"# {SWA}.update_bn(loader, average.module)"
