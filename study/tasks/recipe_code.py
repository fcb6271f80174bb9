"""The recipe of a training step as lines of plain torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from study.tasks.recipe import PLAIN, MadeBy, average_of

TYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}
SWA = "torch.optim.swa_utils"


def recipe_code(recipe: Mapping[str, Any], total_steps: int, made_by: MadeBy) -> str:
    """A function ``train_step(batches, loss_of)`` for what :func:`search_spaces.as_code.code` made.

    Nothing where the recipe is a plain one.

    Args:
        recipe: by the names in :data:`PLAIN`.
        total_steps: of the run.
        made_by: maker of the optimizer; a task's own may be several.
    """
    if recipe == PLAIN:
        return ""
    steps = _step(recipe, made_by == "make_optimizer")
    lines = [*_objects(recipe), "", "", *steps, *_average(recipe, total_steps)]
    return "\n".join(["", *lines, ""])


def _objects(recipe: Mapping[str, Any]) -> Iterator[str]:
    if recipe["precision"] == "fp16":
        yield "scaler = torch.amp.GradScaler(next(model.parameters()).device.type)"
    if average := average_of(recipe["average"]):
        rule = f", multi_avg_fn={SWA}.get_ema_multi_avg_fn({average.amount!r})"
        yield f"average = {SWA}.AveragedModel(model{rule if average.kind == 'ema' else ''})"
        yield "steps = 0"


def _step(recipe: Mapping[str, Any], several: bool) -> Iterator[str]:
    fp16, count = recipe["precision"] == "fp16", recipe["accumulate"]
    yield "def train_step(batches, loss_of):"
    yield f'    """Take an optimizer step, from {count} batch{"es" * (count > 1)}."""'
    yield "    model.zero_grad()"
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
        yield from _each("scaler.unscale_({})", several) if fp16 else []
        yield f"    torch.nn.utils.clip_grad_norm_(model.parameters(), {recipe['clip_norm']!r})"
    if fp16:
        yield from _each("scaler.step({})", several)
        yield "    scale = scaler.get_scale()"
        yield "    scaler.update()"
        yield "    if scaler.get_scale() < scale:  # a gradient was not finite: no step was taken"
        yield "        return"
    else:
        yield from _each("{}.step()", several)
    yield "    schedule.step()"


def _each(call: str, several: bool) -> Iterator[str]:
    """A call with the optimizer, or with each of them."""
    if several:
        yield "    for one in optimizers:"
    yield f"    {'    ' * several}{call.format('one' if several else 'optimizer')}"


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
