"""The network is the tutorial's, mended for images of any size."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.tasks.builtin.fast_pooling import pooled
from study.tasks.builtin.lenet import LeNet


def test_it_has_the_tutorials_layers() -> None:
    model = LeNet()
    assert [name for name, _ in model.named_children()] == [
        *("conv1", "conv2", "pool", "fc1", "fc2", "fc3")
    ]
    assert sum(parameter.numel() for parameter in model.parameters()) == 61_482


@pytest.mark.parametrize(("channels", "outputs", "size"), [(1, 10, 28), (3, 100, 32), (1, 2, 10)])
def test_it_fits_any_image(channels: int, outputs: int, size: int) -> None:
    model = LeNet(channels, outputs, size)
    assert model(torch.zeros(4, channels, size, size)).shape == (4, outputs)


def test_pooling_first_changes_nothing() -> None:
    model = LeNet()
    images = torch.randn(8, 1, 28, 28)
    features = model.pool(functional.relu(model.conv1(images)))
    features = model.pool(functional.relu(model.conv2(features)))
    hidden = functional.relu(model.fc2(functional.relu(model.fc1(features.flatten(1)))))
    torch.testing.assert_close(model(images), model.fc3(hidden))


def test_too_small_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 pixels, not 9"):
        LeNet(image_size=9)


def test_the_first_of_equals_gets_the_gradient_as_in_a_pool() -> None:
    """Where all outputs of a window are the same, and what they see is not."""
    model = LeNet()
    weights = list(model.conv1.parameters())
    nn.init.zeros_(weights[0])
    nn.init.ones_(weights[1])
    images = torch.randn(2, 1, 26, 26)
    plain = functional.relu(model.pool(model.conv1(images)))
    upstream = torch.randn(plain.shape)
    expected = torch.autograd.grad(plain, weights, upstream)
    ours = torch.autograd.grad(pooled(model.conv1, images), weights, upstream)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 10), (2, 13)])
def test_every_gradient_is_the_plain_networks(channels: int, size: int) -> None:
    fast = LeNet(channels, 10, size).double()
    images = torch.randn(6, channels, size, size, dtype=torch.double)
    features = fast.pool(functional.relu(fast.conv1(images)))
    features = fast.pool(functional.relu(fast.conv2(features)))
    hidden = functional.relu(fast.fc2(functional.relu(fast.fc1(features.flatten(1)))))
    upstream = torch.randn(6, 10, dtype=torch.double)
    plain = torch.autograd.grad(fast.fc3(hidden), list(fast.parameters()), upstream)
    ours = torch.autograd.grad(fast(images), list(fast.parameters()), upstream)
    torch.testing.assert_close(ours, plain)
