"""Ensembles of several sets of weights of one model: the mean of their outputs."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.tasks.task import Task
from study.tasks.widest import widest
from study.training.batches import Batches

Weights = Mapping[str, Any]
"""As ``model.state_dict()`` gives them, buffers included."""


def outputs(
    model: nn.Module, members: Sequence[Weights], split: Batches
) -> tuple[list[Tensor], Tensor]:
    """Outputs of a model with each of these weights, (samples, ...), and the targets.

    From one pass, since a loader may give another order each time. The model gets its own weights
    back. They are loaded and not called functionally, which a compiled or a captured model does not
    know.
    """
    own = copy.deepcopy(model.state_dict())
    model.eval()
    parts: list[list[Tensor]] = [[] for _ in members]
    every: list[Tensor] = []
    try:
        with torch.no_grad():
            for inputs, targets in split:
                every.append(targets)
                for part, weights in zip(parts, members, strict=True):
                    model.load_state_dict(weights)
                    part.append(model(inputs.clone()))  # a model may work in place
    finally:
        model.load_state_dict(own)
    return [torch.cat(part) for part in parts], torch.cat(every)


def ensemble_metrics(task: Task, members: Iterable[Tensor], targets: Tensor) -> Iterator[float]:
    """The task's metric of the first m members together, for m = 1, 2, ...

    Where the loss is cross entropy, what is averaged is the softmax along dimension 1 (snapshot
    ensembles, Huang et al., arXiv 1704.00109), and its logarithm is measured; elsewhere it is the
    outputs themselves.

    Args:
        task: its loss and metric.
        members: the outputs of each, (samples, ...).
        targets: of the same samples.
    """
    whole = getattr(task.loss, "func", task.loss)  # of a partial, with label smoothing, say
    classes = whole is functional.cross_entropy or isinstance(whole, nn.CrossEntropyLoss)
    total: Tensor | None = None
    for count, member in enumerate(members, 1):
        own = widest(member).softmax(1) if classes else widest(member)
        total = own if total is None else total + own
        mean = total / count
        yield float(task.metric.compute(mean.log() if classes else mean, targets))
