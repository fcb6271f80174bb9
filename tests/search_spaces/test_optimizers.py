"""Optimizers without torch's compiler are torch's own in all that they do."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from search_spaces.optimizers import UNTRACED

ARGUMENTS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (SGD, {"momentum": 0.9, "fused": True}),
    (AdamW, {"betas": (0.8, 0.99), "weight_decay": 0.1}),
    (AdamW, {"amsgrad": True, "foreach": True}),
]


class Trained:
    """A layer and its optimizer, with two groups of which one came later."""

    def __init__(self, made_by: Any, arguments: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.optimizer: Optimizer = made_by([self.layer.weight], 0.1, **arguments)
        self.optimizer.add_param_group({"params": [self.layer.bias], "lr": 0.3})

    def step(self, times: int) -> None:
        generator = torch.Generator().manual_seed(times)
        for _ in range(times):
            self.optimizer.zero_grad()
            loss = self.layer(torch.randn(5, 3, generator=generator)).square().sum()
            torch.autograd.backward(loss)
            self.optimizer.step()

    def by_closure(self) -> float:
        def loss() -> float:
            self.optimizer.zero_grad()
            found = self.layer(torch.ones(1, 3)).square().sum()
            torch.autograd.backward(found)
            return float(found.detach())

        found = self.optimizer.step(loss)
        assert found is not None
        return found

    def state(self) -> list[torch.Tensor]:
        kept = [*self.optimizer.state_dict()["state"].values()]
        return [
            *self.layer.parameters(),
            *(x for one in kept for x in one.values() if x is not None),
        ]


@pytest.mark.parametrize(("made_by", "arguments"), ARGUMENTS)
def test_every_step_and_state_is_torchs(
    made_by: type[Optimizer], arguments: dict[str, Any]
) -> None:
    theirs, ours = Trained(made_by, arguments), Trained(UNTRACED[made_by], arguments)
    for one in (theirs, ours):
        one.step(7)
    assert theirs.by_closure() == ours.by_closure()
    assert all(map(torch.equal, theirs.state(), ours.state()))
    assert theirs.optimizer.state_dict().keys() == ours.optimizer.state_dict().keys()
    # Each goes on from the other's state.
    states = theirs.optimizer.state_dict(), ours.optimizer.state_dict()
    theirs.optimizer.load_state_dict(states[1])
    ours.optimizer.load_state_dict(states[0])
    for one in (theirs, ours):
        one.step(3)
    assert all(map(torch.equal, theirs.state(), ours.state()))
    assert torch.is_grad_enabled()
