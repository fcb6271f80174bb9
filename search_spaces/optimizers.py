"""The optimizers of a run: their defaults, their rate and momentum, and their switch."""

from collections.abc import Mapping
from typing import Any, Literal

from torch.optim import Optimizer

MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
ADAMW_WEIGHT_DECAY = 1e-2  # torch's default


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
