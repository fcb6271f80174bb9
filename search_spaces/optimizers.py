"""The optimizers of a run: their classes, defaults, rate and momentum, and their switch."""

import inspect
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch.optim import SGD, AdamW, Optimizer

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
ADAMW_WEIGHT_DECAY = 1e-2  # torch's default


class Untraced(Optimizer):
    """An optimizer that does not import torch's compiler.

    torch's own import it with their first parameter, to tell it not to trace them: most of a second
    and 150 MB in every process, and nobody compiles an optimizer here. Their methods are the same.
    """

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)


class UntracedSGD(Untraced, SGD):
    """torch.optim.SGD."""

    step = torch.no_grad()(inspect.unwrap(SGD.step))


class UntracedAdamW(Untraced, AdamW):
    """torch.optim.AdamW."""

    step = torch.no_grad()(inspect.unwrap(AdamW.step))


UNTRACED: Mapping[Any, type[Untraced]] = {SGD: UntracedSGD, AdamW: UntracedAdamW}


def switch(optimizer: Optimizer, mode: Literal["train", "eval"]) -> None:
    """Schedule-free optimizers keep two sets of weights; torch's own have no such switch."""
    if change := getattr(optimizer, mode, None):
        change()


def applied_rate(group: Mapping[str, Any]) -> float:
    """The learning rate that the optimizer's last step used with a parameter group."""
    return float(group.get("scheduled_lr", group["lr"]))  # schedulefree warms up by itself


def momentum(group: Mapping[str, Any]) -> float:
    """SGD's momentum of a parameter group, or what Adam has in its place."""
    return float(group["momentum"] if "momentum" in group else group["betas"][0])
