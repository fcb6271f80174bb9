"""Tensors in a few numbers: any change shows, and rounding does not."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from study.tasks.fingerprint import GIVEN, describe_trace, difference, fingerprint


def shuffled(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


PIXELS = torch.randn(5_000, 3, 8, 8, generator=shuffled(0)) * 100
LABELS = torch.randint(10, (5_000,), generator=shuffled(1))


def same(before: Tensor, now: Tensor) -> bool:
    described = [describe_trace([("x", values)], [], "cpu") for values in (before, now)]
    return difference(json.loads(json.dumps(described[0])), described[1]) is None


def changed(values: Tensor, where: Any, value: float) -> Tensor:
    values = values.clone()
    values[where] = value
    return values


@pytest.mark.parametrize("where", [(0, 0, 0, 0), (2_500, 1, 3, 3), (-1, -1, -1, -1)])
def test_one_changed_number_shows(where: tuple[int, ...]) -> None:
    assert not same(PIXELS, changed(PIXELS, where, float(PIXELS[where]) + 100))
    assert not same(LABELS, changed(LABELS, where[0], 11))
    assert not same(LABELS.float(), changed(LABELS.float(), where[0], 11))


def test_an_exchange_of_two_samples_shows() -> None:
    order = torch.arange(5_000)
    order[7], order[4_000] = 4_000, 7
    assert not same(PIXELS, PIXELS[order])
    assert not same(PIXELS, PIXELS.flip(-1))
    assert not same(LABELS, LABELS[torch.randperm(5_000, generator=shuffled(2))])


def test_rounding_does_not_show() -> None:
    assert same(PIXELS, PIXELS * (1 + GIVEN / 10))
    assert same(PIXELS, PIXELS + 1e-5 * torch.randn(PIXELS.shape, generator=shuffled(3)))
    assert not same(PIXELS, PIXELS * (1 + 100 * GIVEN))


def test_it_is_of_the_values_however_they_lie() -> None:
    lying = PIXELS.to(memory_format=torch.channels_last)
    assert same(lying, PIXELS)
    assert same(PIXELS, lying)
    assert fingerprint(LABELS.expand(2, -1).t()) == fingerprint(LABELS[:, None].repeat(1, 2))
    assert fingerprint(PIXELS.requires_grad_()) == fingerprint(PIXELS.detach())


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor(3.0),
        torch.zeros(0, 4),
        torch.zeros(3, 0),
        torch.tensor([True]),
        torch.ones(5, dtype=torch.bfloat16),
        torch.ones(5, dtype=torch.complex64),
        torch.tensor([float("nan"), 1.0]),
        torch.ones(2, 3, dtype=torch.uint8).t(),
    ],
)
def test_of_any_tensor(values: Tensor) -> None:
    assert same(values, values.clone())
    assert not same(values, torch.zeros(7))
    if values.numel():
        assert not same(values, torch.full_like(values, 0))


def test_what_another_kind_of_device_computed_is_not_compared() -> None:
    """It draws other random numbers; what it was given is the same."""
    given, computed = [("inputs", LABELS)], [("outputs", PIXELS)]
    before = describe_trace(given, computed, "cuda:0")
    assert difference(before, describe_trace(given, [("outputs", -PIXELS)], "cpu")) is None
    assert difference(before, describe_trace([("inputs", -LABELS)], computed, "cpu"))
    assert difference(before, describe_trace(given, [("outputs", -PIXELS)], "cuda")) == (
        "outputs: other values"
    )


def test_a_part_that_only_one_of_them_has_is_not_compared() -> None:
    """A worker sees no whole split."""
    whole = describe_trace([("split", LABELS), ("batch", LABELS[:9])], [], "cpu")
    assert difference(whole, describe_trace([("batch", LABELS[:9])], [], "cpu")) is None
    assert difference(whole, describe_trace([("batch", LABELS[1:10])], [], "cpu"))
