"""The check that a run, written and read as a checkpoint is, resumes as if it had not stopped."""

import io
import re
from typing import Any

import torch

from study.system.errors import InputError, summary
from study.tasks.check_data import call, wrong
from study.tasks.data import SearchData
from study.tasks.task import Task
from study.training.check_functions import MODEL
from study.training.check_metric import same
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun


def check_resume(task: Task, data: SearchData, config: RunConfig, device: str) -> None:
    """Take two steps of a training run, and the second again after a resume from a checkpoint.

    Args:
        task: once :func:`check_task` has passed it.
        data: its training and validation split.
        config: of a run as a trial's.
        device: where to try.

    Raises:
        InputError: something raises, as the optimizer's step may; or the step after the resume is
            not the one that comes without an interruption.
    """
    first, second = "the first training step", "the second training step"
    run = call(task, "a training run", TrainingRun, task, data, config, device)
    try:
        call(task, first, next, run.steps())
    except InputError as error:
        if any(w.grad is not None and w.grad.is_sparse for w in run.model.parameters()):
            raise wrong(
                task,
                f"{MODEL} gives sparse gradients, which the optimizer does not take ({error}); "
                "make its layers with sparse=False",
            ) from error
        raise
    state = _through_a_file(task, run)
    loss, _ = call(task, second, next, run.steps())
    resumed = call(task, "a training run", TrainingRun, task, data, config, device)
    call(task, "load_state_dict(state)", resumed.load_state, state, History())
    again, _ = call(task, f"{second}, after a resume,", next, resumed.steps())
    pairs = [(loss, again), *zip(run.model.parameters(), resumed.model.parameters(), strict=True)]
    if not all(same(one, other, tolerance(device)) for one, other in pairs):
        raise wrong(
            task,
            f"{second} is another one after a resume (loss {again.item():.6g}, and "
            f"{loss.item():.6g} without an interruption): something is kept between steps that no "
            "checkpoint holds; keep it in a buffer of the model, and make loaders without "
            "persistent_workers",
        )


def tolerance(device: str) -> float:
    """Relative differences of what is computed twice, here and now."""
    # Elsewhere, sums may come in another order.
    return 0.0 if device == "cpu" and torch.get_num_threads() == 1 else 1e-3


def _through_a_file(task: Task, run: TrainingRun) -> dict[str, Any]:
    """The state of a run, written and read as a checkpoint is."""
    file = io.BytesIO()
    call(task, "saving a checkpoint", torch.save, call(task, "state_dict()", run.state), file)
    file.seek(0)
    try:
        state: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises what its parts happen to raise
        held = re.search(r"GLOBAL (\S+)", str(error))
        raise wrong(
            task,
            f"state_dict() of {MODEL}'s model holds {held[1] if held else summary(error)}, which "
            "torch.load(weights_only=True) refuses; let get_extra_state() return tensors, numbers, "
            "strings, lists and dicts",
        ) from error
    return state
