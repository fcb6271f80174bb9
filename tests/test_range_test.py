"""The range test finds the edge that theory gives."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.errors import InputError
from study.range_test import RUNS, range_test
from study.task import RMSE, SearchData, Split, Task


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
    tested = range_test(task, data, 128, "sgd", seed=0, device="cpu")
    edge = 2 * 1.9 / (curvature * 2.8)
    low, high = tested.peak_lr
    assert edge / 10 < high < edge
    assert low == pytest.approx(high / 100, rel=0.05)
    assert len(tested.curves) == RUNS


def test_it_repeats_under_its_seed() -> None:
    task, data = least_squares(1.0)
    first, again = (range_test(task, data, 128, "adamw", seed=3, device="cpu") for _ in range(2))
    assert first == again
    assert first.curves != range_test(task, data, 128, "adamw", seed=9, device="cpu").curves


def test_a_loss_that_never_falls_is_refused() -> None:
    task, data = least_squares(1.0, loss=lambda outputs, targets: 1 + 0 * outputs.sum())
    with pytest.raises(
        InputError, match=r"does not fall between 1e-06 and 10; .*--peak-lr LOW,HIGH"
    ):
        range_test(task, data, 128, "sgd", seed=0, device="cpu")
