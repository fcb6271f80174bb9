"""The optimizers of a run: their classes, defaults, groups, rate and momentum, and their switch."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim import SGD, AdamW, Optimizer


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


class Several(Untraced):
    """Several optimizers of one model as one: a schedule drives the groups of all, in their order.

    A momentum that the schedule moves is that of SGD or Muon, and the first beta of Adam.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        """Take their groups over as they are."""
        self.optimizers = optimizers
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        for group in self.param_groups:
            group.setdefault("momentum", momentum(group))
        # Where torch's schedules look for what they may move.
        self.defaults = {"momentum": self.param_groups[0]["momentum"]}

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step each."""
        for group in self.param_groups:
            if "betas" in group:
                group["betas"] = (group["momentum"], *group["betas"][1:])
        for one in self.optimizers:
            one.step()

    def state_dict(self) -> dict[str, Any]:
        """The state of each."""
        return {"optimizers": [one.state_dict() for one in self.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for one, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            one.load_state_dict(state)
        self.param_groups = [group for one in self.optimizers for group in one.param_groups]
        _unscaled_first(self)


def in_proportion(optimizer: Optimizer, peak_lr: float) -> Optimizer:
    """The optimizer, all of whose groups go by one schedule, each at its own scale.

    That is, at the ratio of its rate to the peak rate, which is written into it as ``lr_scale``.
    The groups that have the peak rate itself come first: torch's schedules write rates into some
    groups that know nothing of a scale, so before each step the others follow the first.

    Raises:
        ValueError: no group has the peak rate.
    """
    for group in optimizer.param_groups:
        group["lr_scale"] = float(group["lr"]) / peak_lr
    _unscaled_first(optimizer)
    if (first := optimizer.param_groups[0]["lr"]) != peak_lr:
        raise ValueError(f"one group must have the peak rate itself, {peak_lr:g}, not {first:g}")
    if len(optimizer.param_groups) > 1:
        optimizer.register_step_pre_hook(_follow)
    return optimizer


def _unscaled_first(optimizer: Optimizer) -> None:
    optimizer.param_groups.sort(key=lambda group: bool(group["lr_scale"] != 1))


def _follow(optimizer: Optimizer, *_: object) -> None:
    first, *others = optimizer.param_groups
    for group in others:
        group["lr"] = first["lr"] * group["lr_scale"]


def switch(optimizer: Optimizer, mode: Literal["train", "eval"]) -> None:
    """Schedule-free optimizers keep two sets of weights; torch's own have no such switch."""
    if change := getattr(optimizer, mode, None):
        change()


def applied_rate(group: Mapping[str, Any]) -> float:
    """The learning rate that the optimizer's last step used with a parameter group."""
    return float(group.get("scheduled_lr", group["lr"]))  # schedulefree warms up by itself


def momentum(group: Mapping[str, Any]) -> float:
    """SGD's momentum of a parameter group, or what Adam has in its place; 0 without any."""
    return float(group["momentum"] if "momentum" in group else group.get("betas", (0.0,))[0])
