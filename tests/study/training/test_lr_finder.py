"""The range test finds the edge that theory gives."""

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.utils.data import DataLoader

from study.system.errors import InputError
from study.task import RMSE, SearchData, Split, Task
from study.training.batches import endless
from study.training.history import RunConfig
from study.training.lr_finder import HIGHEST, LOWEST, RUNS, SMOOTHING, STEPS, RangeTest, range_test


def run(optimizer: str, seed: int) -> RunConfig:
    return RunConfig("constant", {"optimizer": optimizer}, seed, epochs=1, batch_size=128)


def least_squares(curvature: float, **changes: object) -> tuple[Task, SearchData]:
    """A linear model on white inputs: the loss's second derivative is the curvature all over."""
    generator = torch.Generator().manual_seed(0)
    inputs = math.sqrt(curvature / 2) * torch.randn(4_000, 10, generator=generator)
    noise = torch.randn(4_000, 1, generator=generator)
    targets = inputs.sum(1, keepdim=True) / math.sqrt(curvature / 2) + noise
    data = SearchData(
        Split(inputs[:3_000], targets[:3_000]), Split(inputs[3_000:], targets[3_000:])
    )
    fields = {
        "name": "least squares",
        "load_search_data": lambda data_dir: data,
        "load_test_data": lambda data_dir: data.validation,
        "make_model": lambda seed: nn.Linear(10, 1, bias=False),
        "loss": functional.mse_loss,
        "metric": RMSE,
    }
    return Task(**{**fields, **changes}), data  # type: ignore[arg-type]


@pytest.mark.parametrize("curvature", [1.0, 10.0, 100.0])
def test_the_highest_rate_is_just_below_where_sgd_diverges(curvature: float) -> None:
    """With Nesterov momentum m that is 2 (1 + m) / (curvature (1 + 2 m))."""
    task, data = least_squares(curvature)
    tested = range_test(task, data, run("sgd", 0), "cpu")
    edge = 2 * 1.9 / (curvature * 2.8)
    low, high = tested.peak_lr
    assert edge / 10 < high < edge
    assert low == pytest.approx(high / 100, rel=0.05)
    assert len(tested.curves) == RUNS


def test_the_curve_is_a_geometric_sweep_and_its_smoothed_loss() -> None:
    """The mean is pandas' own; the highest rate is the median of the runs' best."""
    raw: list[float] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        found = functional.mse_loss(outputs, targets)
        raw.append(found.item())
        return found

    task, data = least_squares(10.0, loss=loss)
    tested = range_test(task, data, run("sgd", 0), "cpu")
    for curve in tested.curves:
        rates, losses = np.array(curve).T
        own, raw = raw[: len(curve)], raw[len(curve) :]
        if len(curve) < STEPS:
            raw = raw[1:]  # the first that is no finite number
        np.testing.assert_allclose(rates, np.geomspace(LOWEST, HIGHEST, STEPS)[: len(curve)])
        mean = pd.Series(own).ewm(alpha=1 - SMOOTHING).mean()
        np.testing.assert_allclose(losses, mean)
    best = [min(curve, key=lambda point: point[1])[0] for curve in tested.curves]
    assert tested.peak_lr[1] == pytest.approx(np.median(best), rel=0.05)


def test_it_trains_on_what_the_transform_makes() -> None:
    """Twice the inputs are four times the curvature."""
    quarter, data = least_squares(1.0, transform=lambda inputs, targets: (2 * inputs, targets))
    whole = SearchData(*(Split(2 * split[0], split[1]) for split in data))  # type: ignore[index]
    tested = range_test(quarter, data, run("sgd", 0), "cpu")
    assert tested == range_test(least_squares(1.0)[0], whole, run("sgd", 0), "cpu")


def test_it_repeats_under_its_seed() -> None:
    task, data = least_squares(1.0)
    first, again = (range_test(task, data, run("adamw", 3), "cpu") for _ in range(2))
    assert first == again
    assert first.curves != range_test(task, data, run("adamw", 9), "cpu").curves


def test_a_loss_that_never_falls_is_refused() -> None:
    task, data = least_squares(1.0, loss=lambda outputs, targets: 1 + 0 * outputs.sum())
    with pytest.raises(
        InputError, match=r"does not fall between 1e-06 and 10; .*--peak-lr LOW,HIGH"
    ):
        range_test(task, data, run("sgd", 0), "cpu")


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_run_has_a_seed_of_its_own(seed: int) -> None:
    """Under any seed of a study, and none that a study with the next seed has."""
    given: list[int] = []

    def make_model(own_seed: int) -> nn.Module:
        given.append(own_seed)
        drawn.append((torch.rand(1).item(), float(np.random.rand()), random.random()))
        return nn.Linear(10, 1, bias=False)

    drawn: list[tuple[float, ...]] = []
    task, data = least_squares(1.0, make_model=make_model)
    for study_seed in (seed, seed + 1 if seed == 0 else seed - 1):
        range_test(task, data, run("sgd", study_seed), "cpu")
    assert len(set(given)) == len(set(drawn)) == 2 * RUNS


class Loader(DataLoader[tuple[Tensor, Tensor]]):
    """Gives what it is told to, epoch by epoch; the last of them again and again."""

    def __init__(self, *epochs: list[tuple[Tensor, Tensor]]) -> None:
        self.epochs, self.promised = list(epochs), len(epochs[0])

    def __len__(self) -> int:
        return self.promised

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:  # type: ignore[override]
        return iter(self.epochs.pop(0) if len(self.epochs) > 1 else self.epochs[0])


def of_batches(task: Task, data: SearchData, *counts: int) -> tuple[Task, SearchData]:
    """The same, with so many batches in each epoch of a loader."""
    assert isinstance(data.train, Split)
    pairs = list(zip(*(torch.split(part, 128) for part in data.train), strict=True))

    def train(size: int, order: Generator | None) -> Loader:
        return Loader(*(pairs[:count] for count in counts))

    return task, SearchData(train, data.validation)


def test_one_batch_is_gone_through_again_and_again() -> None:
    task, data = of_batches(*least_squares(1.0), 1)
    tested = range_test(task, data, run("sgd", 0), "cpu")
    assert min(map(len, tested.curves)) > STEPS / 2


class AtStep(nn.Linear):
    """Does something else from a step on."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(10, 1, bias=False)
        self.left, self.what = step, what

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= 1
        if self.left >= 0:
            return super().forward(inputs)
        if self.what == "raise":
            raise ValueError("this layer\nis broken")
        return super().forward(inputs) * float(self.what)


def strict(outputs: Tensor, targets: Tensor) -> Tensor:
    """As binary_cross_entropy does."""
    if outputs.isnan().any():
        raise RuntimeError("all elements of input should be between 0 and 1")
    return functional.mse_loss(outputs, targets)


@pytest.mark.parametrize(
    ("make", "counts", "message"),
    [
        (
            lambda seed: AtStep(30, "raise"),
            (23,),
            r"^task 'least squares': step 31 of --peak-lr auto, at rate 1.1e-05, raised "
            "ValueError: is broken$",
        ),
        (lambda seed: 1 / 0, (23,), r"^task 'least squares': making a model .*ZeroDivisionError"),
        (lambda seed: AtStep(0, "nan"), (23,), "no finite number at the first step"),
        (lambda seed: AtStep(0, "inf"), (23,), "no finite number at the first step"),
        (lambda seed: AtStep(999, ""), (23, 0), "step 24 .* says it has 23 batches has 0$"),
        (lambda seed: AtStep(999, ""), (23, 5), "step 29 .* says it has 23 batches has 5$"),
    ],
)
def test_what_goes_wrong_is_one_line(make: object, counts: tuple[int, ...], message: str) -> None:
    task, data = of_batches(*least_squares(1.0, make_model=make), *counts)
    with pytest.raises(InputError, match=message):
        range_test(task, data, run("sgd", 0), "cpu")


def test_outputs_that_are_no_numbers_any_more_end_a_run_as_such_a_loss_does() -> None:
    """Since some losses refuse them."""
    task, data = least_squares(1.0, make_model=lambda seed: AtStep(150, "nan"), loss=strict)
    tested = range_test(task, data, run("sgd", 0), "cpu")
    assert {len(curve) for curve in tested.curves} == {150}


def test_epochs_without_a_batch_are_not_waited_for_for_ever() -> None:
    epochs = iter([[1, 2], [3], []])
    assert [*endless(lambda: next(epochs))] == [1, 2, 3]


def test_the_recipe_holds_in_the_range_test() -> None:
    """Two batches a step; and steps so short that nothing is learned."""
    batches_seen = 0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal batches_seen
        batches_seen += 1
        return functional.mse_loss(outputs, targets)

    task, data = least_squares(10.0, loss=loss, accumulate=2)
    tested = range_test(task, data, run("sgd", 0), "cpu")
    steps = sum(len(curve) + (len(curve) < STEPS) for curve in tested.curves)
    assert 1.9 * steps < batches_seen <= 2 * steps, "the last of an epoch's 23 batches is alone"
    clipped, data = least_squares(10.0, clip_norm=1e-9)
    assert fallen(tested) < 0.5 < fallen(range_test(clipped, data, run("sgd", 0), "cpu"))


def fallen(tested: RangeTest) -> float:
    """The lowest loss as a share of the first."""
    return min(min(loss for _, loss in curve) / curve[0][1] for curve in tested.curves)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_range_is_found_in_half_precision_too(precision: str) -> None:
    whole, data = least_squares(10.0)
    expected = range_test(whole, data, run("sgd", 0), "cpu").peak_lr[1]
    half, data = least_squares(10.0, precision=precision)
    assert range_test(half, data, run("sgd", 0), "cpu").peak_lr[1] == pytest.approx(expected, rel=1)


def test_the_groups_of_a_task_go_up_together() -> None:
    seen: list[tuple[float, float]] = []

    def make_optimizer(model: nn.Module, lr: float, momentum: float, decay: float) -> SGD:
        first, second = model.parameters()
        groups: list[dict[str, Any]] = [{"params": [first]}, {"params": [second], "lr": lr / 2}]
        optimizer = SGD(groups, lr, momentum)
        optimizer.register_step_post_hook(
            lambda one, *_: seen.append(tuple(group["lr"] for group in one.param_groups))
        )
        return optimizer

    task, data = least_squares(
        1.0, make_model=lambda seed: nn.Linear(10, 1), make_optimizer=make_optimizer
    )
    range_test(task, data, run("sgd", 0), "cpu")
    assert seen[0] == pytest.approx((LOWEST, LOWEST / 2))
    assert all(second == pytest.approx(first / 2) for first, second in seen)
