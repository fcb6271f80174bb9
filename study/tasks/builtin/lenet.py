"""The small LeNet of the tutorial from which this study grew."""

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from study.tasks.builtin.fast_pooling import pooled


class LeNet(nn.Module):
    """Two 3x3 convolutions, each with a 2x2 max pool, then three linear layers.

    Input: float, (batch, in_channels, image_size, image_size). Output: logits, (batch, n_outputs).
    61,482 parameters for 28-pixel images.

    Args:
        in_channels: colour planes of the image.
        n_outputs: classes.
        image_size: height and width in pixels, at least 10.

    Raises:
        ValueError: an image so small that nothing is left of it after the second pool.
    """

    def __init__(self, in_channels: int = 1, n_outputs: int = 10, image_size: int = 28) -> None:
        super().__init__()
        side = ((image_size - 2) // 2 - 2) // 2
        if side < 1:
            raise ValueError(f"image_size must be at least 10 pixels, not {image_size}")
        # What a pool leaves out at the right and lower edge: of 28 pixels, 26 are ever seen.
        self._seen = 4 * side + 6
        self.conv1 = nn.Conv2d(in_channels, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * side * side, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, n_outputs)
        # Twice as fast as the default layout on CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch, n_outputs)."""
        images = images[:, :, : self._seen, : self._seen]
        images = images.contiguous(memory_format=torch.channels_last)
        features = pooled(self.conv1, images)
        # max(relu(x)) = relu(max(x)): after the pool, ReLU has a quarter of the work.
        features = relu(self.pool(self.conv2(features)), inplace=True)
        hidden = relu(self.fc1(torch.flatten(features, 1)), inplace=True)
        hidden = relu(self.fc2(hidden), inplace=True)
        logits: Tensor = self.fc3(hidden)
        return logits
