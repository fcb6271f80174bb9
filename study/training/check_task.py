"""Checks of a task before any trial: a few batches through all of its functions, and a resume.

Whatever is wrong is said in one line that names the function of the user's in which it is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from study.system.errors import ChangedTaskError, InputError, summary
from study.system.seeding import seed_everything
from study.tasks.check_data import call, wrong
from study.tasks.data import Data, SearchData, Split
from study.tasks.fingerprint import Trace, describe_trace, difference
from study.tasks.structure import named_tensors, sample_count
from study.tasks.task import Task
from study.training.batches import batches, last_batch, moved
from study.training.check_functions import (
    LOSS,
    MODEL,
    STEP,
    backward,
    checked_loss,
    each_batch,
    fresh_model,
    gradient_of,
    measured,
    transformed,
)
from study.training.check_metric import same
from study.training.check_optimizer import check_optimizer
from study.training.check_resume import tolerance
from study.training.steps import steps_an_epoch


class FirstBatch(NamedTuple):
    """A batch forward and backward through a fresh model: what each function gave, in order."""

    model: nn.Module
    given: Trace
    """Weights and data."""
    computed: Trace

    def describe(self, given: Trace, computed: Trace, device: str) -> dict[str, Any]:
        """For study.json: data seen before it, this batch, and what was computed after it."""
        return describe_trace([*given, *self.given], [*self.computed, *computed], device)


def steps_per_epoch(task: Task, data: SearchData, batch_size: int) -> int:
    """Optimizer steps of an epoch.

    Raises:
        InputError: there is no batch, fewer than a step takes, or they cannot be counted.
    """
    train = call(task, "the training split", batches, data.train, batch_size, Generator())
    count: int = call(task, "len() of the training split's loader", len, train)
    if not count:
        raise InputError(
            f"--batch-size {batch_size} is more than the training samples of {task.name}; lower it"
        )
    if task.accumulate > count:
        raise InputError(
            f"--accumulate {task.accumulate} is more than the {count} batches of an epoch of "
            f"{task.name}; lower it, or --batch-size"
        )
    return steps_an_epoch(count, task.accumulate)


def check_task(task: Task, data: SearchData, batch_size: int, device: str) -> dict[str, Any]:
    """Description of what the task trains on, for study.json, once its functions are tried.

    The first training batch goes forward and backward, twice, and a loader's last one once; the
    validation split goes through the metric.

    Raises:
        InputError: something raises, does not fit, is not finite, or differs from one time to the
            next under the same seed.
    """
    check_optimizer(task, device)
    first = _first_batch(task, data, batch_size, device)
    again = _first_batch(task, data, batch_size, device)
    for part, other in zip(first[1:], again[1:], strict=True):
        _check_repeats(task, part, other, tolerance(device))
    _check_last_batch(task, again.model, data.train, batch_size, device)
    targets, results = measured(task, again.model, "validation", data.validation, batch_size)
    splits = {"training": data.train, "validation": data.validation}
    given = [
        (f"the {name} {part}", values)
        for name, split in splits.items()
        if isinstance(split, Split)
        for part, values in named_tensors(split)
    ]
    return first.describe([*given, *targets], results, device)


def check_test_split(task: Task, split: Data, batch_size: int, device: str) -> None:
    """Send the test split through a fresh model, the loss and the metric.

    Raises:
        InputError: something raises, does not fit or is not finite.
    """
    seed_everything(0)
    measured(task, fresh_model(task, device), "test", split, batch_size)


def refuse_difference(
    task: Task, data: SearchData, batch_size: int, device: str, before: Mapping[str, Any]
) -> None:
    """Hold a first batch, made here, against the one that the study began with.

    Raises:
        ChangedTaskError: it differs, with the first part that does.
        InputError: something of the task raises.
    """
    here = _first_batch(task, data, batch_size, device)
    refuse_other(task, before, here.describe([], [], device))


def refuse_other(task: Task, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Hold what a task trains on against what the study began with.

    Raises:
        ChangedTaskError: it differs, with the first part that does.
        InputError: the record of it is damaged.
    """
    try:
        found = difference(before, now)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"study.json is damaged: trace: {summary(error)}") from error
    if found:
        raise ChangedTaskError(
            f"task {task.name!r} does not train on what this study began with: {found}; put its "
            "data and the modules that it imports back (and let nothing follow from the order of "
            "a set), or start another study with another --name"
        )


def _check_repeats(task: Task, first: Trace, again: Trace, tolerance: float) -> None:
    for (what, one), (_, other) in zip(first, again, strict=True):
        if not same(one, other, tolerance):
            raise wrong(
                task,
                f"{what} gives something else each time under the same seed; draw what is random "
                "from torch's, NumPy's or Python's global state, and make everything anew",
            )


def _first_batch(task: Task, data: SearchData, batch_size: int, device: str) -> FirstBatch:
    seed_everything(0)
    model = fresh_model(task, device)
    weights = [parameter.detach().flatten() for parameter in model.parameters()]
    given: list[tuple[str, Tensor]] = [(MODEL, call(task, MODEL, torch.cat, weights))]
    order = Generator().manual_seed(0)
    train = each_batch(task, "training", lambda: batches(data.train, batch_size, order, device))
    batch = next(train)
    given += _copied("the first training", batch)
    every = data.train.targets if isinstance(data.train, Split) else None
    computed: list[tuple[str, Tensor]] = []
    if task.transform:
        batch = transformed(task, batch)
        every = None
        computed += [("transform", tensor) for _, tensor in _copied("", batch)]
    loss, outputs = checked_loss(task, model, batch, every)
    what, loss = STEP if task.step else LOSS, backward(task, loss)
    computed += [*outputs, (what, loss), ("the backward pass", gradient_of(task, model))]
    return FirstBatch(model, given, computed)


def _copied(what: str, batch: Any) -> list[tuple[str, Tensor]]:
    """Copies of a batch's tensors, since a model may work in place, behind what they are."""
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    parts = Split(*batch) if pair else batch
    return [(f"{what} {name}", tensor.clone()) for name, tensor in named_tensors(parts)]


def _check_last_batch(
    task: Task, model: nn.Module, train: Data, batch_size: int, device: str
) -> None:
    """The last batch of a loader of one's own, which may be a small one."""
    if isinstance(train, Split | Dataset):  # of which every batch is a whole one
        return
    last = call(task, "the training split", lambda: last_batch(train(batch_size, Generator())))
    batch = moved(last, device)
    model.train()
    try:
        backward(task, checked_loss(task, model, transformed(task, batch), None)[0])
    except InputError as error:
        raise InputError(
            f"{error}, with the training split's last batch (samples: {sample_count(batch)}); "
            "drop_last=True leaves an incomplete one out"
        ) from error
