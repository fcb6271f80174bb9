"""A small U-Net that finds discs in noise, by cross entropy and Dice together, ranked by IoU.

lr-study run --task examples/segmentation.py:make_task --batch-size 32 --epochs 4
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.task import Metric, SearchData, Split, Task

PIXELS, WIDTH = 24, 8


def discs(count: int, seed: int) -> Split:
    """Noisy images, (count, 1, PIXELS, PIXELS), and the masks of the discs in them."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.meshgrid(*[torch.arange(PIXELS)] * 2, indexing="ij")
    middle = PIXELS * (0.25 + 0.5 * torch.rand(count, 2, 1, 1, 1, generator=generator))
    radius = 3 + 4 * torch.rand(count, 1, 1, 1, generator=generator)
    inside = (x - middle[:, 0]) ** 2 + (y - middle[:, 1]) ** 2 < radius**2
    noise = torch.randn(inside.shape, generator=generator)
    return Split(inside + noise, inside.float())


class UNet(nn.Module):
    """Down once and up again, with a connection across."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.below = nn.Conv2d(1, WIDTH, 3, 1, 1), nn.Conv2d(WIDTH, 2 * WIDTH, 3, 1, 1)
        self.up, self.out = nn.ConvTranspose2d(2 * WIDTH, WIDTH, 2, 2), nn.Conv2d(2 * WIDTH, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """A logit for each pixel."""
        high = self.down(images).relu()
        low = self.up(self.below(functional.max_pool2d(high, 2)).relu())
        logits: Tensor = self.out(torch.cat([high, low], 1))
        return logits


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy and the soft Dice loss."""
    found = logits.sigmoid()
    dice = 1 - 2 * (found * masks).sum() / (found + masks).sum()
    return functional.binary_cross_entropy_with_logits(logits, masks) + dice


def iou(logits: Tensor, masks: Tensor) -> Tensor:
    """Intersection over union of all pixels."""
    return ((logits > 0) & (masks > 0)).sum() / ((logits > 0) | (masks > 0)).sum()


def make_task() -> Task:
    """The task."""
    search, test = SearchData(discs(1_500, 0), discs(300, 1)), discs(300, 2)
    metric = Metric("IoU", "maximize", percent=True, compute=iou)
    return Task("segmentation", lambda _: search, lambda _: test, lambda seed: UNet(), loss, metric)
