"""The gradient norms of a run, against a plain loop."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LinearLR

from search_spaces import Parameters
from study.system.errors import InputError
from study.task import SearchData, Split, Task
from study.tasks.gradients import GradientNorms
from study.training.gradient_norms import POINTS, gradient_norms
from study.training.history import RunConfig
from study.training.training_run import TrainingRun

BATCHES, BATCH, EPOCHS, PEAK = 50, 4, 5, 0.02
PARAMETERS: dict[str, Parameters] = {
    "sgd": {"peak_lr": PEAK},
    "adamw": {"peak_lr": PEAK, "optimizer": "adamw"},
}


def splits() -> SearchData:
    inputs = torch.randn(BATCHES * BATCH, 3, generator=torch.Generator().manual_seed(0))
    targets = inputs @ torch.tensor([[1.0], [2.0], [3.0]])
    return SearchData(Split(inputs, targets), Split(inputs[:40] + 1, targets[:40]))


def task(**fields: Any) -> Task:
    made = {
        "make_model": lambda seed: nn.Linear(3, 1),
        "loss": functional.mse_loss,
        "evaluate": lambda model, batches: {"accuracy": torch.tensor(1.0)},
        "capturable": True,
        **fields,
    }
    return Task("lines", lambda data_dir: splits(), lambda data_dir: splits().validation, **made)


def config(optimizer: str) -> RunConfig:
    return RunConfig("linear_to_zero", PARAMETERS[optimizer], 3, EPOCHS, BATCH)


def by_hand(model: nn.Module, batches: list[Any], optimizer: Optimizer, power: int) -> list[float]:
    """The norms of a run with the straight line, whose batches are known."""
    line = LinearLR(optimizer, 1.0, 0.0, len(batches))
    norms = []
    for inputs, targets in batches:
        optimizer.zero_grad()
        functional.mse_loss(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        norms.append(float(gradient.square().sum().sqrt() if power == 2 else gradient.abs().sum()))
        optimizer.step()
        line.step()
    return norms


@pytest.mark.parametrize(("optimizer", "power"), [("sgd", 2), ("adamw", 1)])
def test_they_are_those_of_a_plain_loop(optimizer: str, power: int) -> None:
    seeds: list[int] = []

    def make_model(seed: int) -> nn.Module:
        seeds.append(seed)
        return nn.Linear(3, 1)

    found = gradient_norms(task(make_model=make_model), splits(), config(optimizer), "cpu")
    assert seeds[0] != 3, "no trial has this seed"
    assert (found.power, found.peak_lr, len(found.norms)) == (power, PEAK, POINTS)
    torch.manual_seed(seeds[0])
    model, order = nn.Linear(3, 1), torch.Generator().manual_seed(seeds[0])
    (inputs, targets), steps = splits().train, []  # type: ignore[misc]
    for _ in range(EPOCHS):
        indices = torch.randperm(BATCHES * BATCH, generator=order).view(BATCHES, -1)
        steps += [(inputs[one], targets[one]) for one in indices]
    sgd = SGD(model.parameters(), PEAK, 0.9, weight_decay=5e-4, nesterov=True)
    made = sgd if power == 2 else AdamW(model.parameters(), PEAK, (0.9, 0.999))
    norms = by_hand(model, steps, made, power)
    expected = [np.median(part) for part in np.array_split(norms, POINTS)]
    np.testing.assert_allclose(found.norms, expected, rtol=1e-4)


def test_they_are_of_the_gradient_as_the_optimizer_gets_it() -> None:
    clipped = gradient_norms(task(clip_norm=0.1), splits(), config("sgd"), "cpu")
    assert max(clipped.norms) == pytest.approx(0.1, rel=1e-4)
    halved = gradient_norms(task(accumulate=2), splits(), config("sgd"), "cpu")
    assert len(halved.norms) == EPOCHS * BATCHES // 2


def test_a_run_that_diverges_is_refused() -> None:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return 1e9 * functional.mse_loss(outputs, targets)

    with pytest.raises(InputError, match=r"which diverged at peak rate 0.02; lower --peak-lr"):
        gradient_norms(task(loss=loss), splits(), config("sgd"), "cpu")


def test_weights_are_finite_for_any_norms() -> None:
    assert GradientNorms([2.0, 0.5], 2, 0.1).weights == [0.25, 4.0]
    assert GradientNorms([2.0, 0.0], 1, 0.1).weights == [0.5, 0.5]
    assert GradientNorms([0.0, 0.0], 2, 0.1).weights == [1.0, 1.0]


@pytest.mark.parametrize(
    ("family", "parameters", "average"),
    [
        ("constant_ema", {"memory_fraction": 0.04}, "ema:0.9"),
        ("constant_tail", {"tail_fraction": 0.3}, "tail:0.3"),
    ],
)
def test_a_family_that_averages_is_the_constant_rate_with_that_average(
    family: str, parameters: dict[str, float], average: str
) -> None:
    given = {"peak_lr": PEAK, **parameters}
    one = TrainingRun(task(), splits(), RunConfig(family, given, 3, EPOCHS, BATCH))
    plain = replace(config("sgd"), family="constant")
    other = TrainingRun(task(average=average), splits(), plain)
    for run in (one, other):
        while not run.history.ended:
            run.run_epoch()
    assert one.evaluated is not one.model
    for own, theirs in zip(one.evaluated.parameters(), other.evaluated.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert one.history.epochs[-1].val_loss == other.history.epochs[-1].val_loss
