"""What the recipes share: the LeNet, the data and the loop as most people write them.

They train what the study trains, so that only the ways differ.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from benchmarks.processes import PEAK_RATES
from study.settings.study_config import StudyConfig

LOW, HIGH = PEAK_RATES
ENDED = "ended"
"""The file in which a recipe leaves when its trials ended, wherever below its folder it is."""
BATCH, EVALUATION_BATCH = 128, 1_000
Batches = Iterable[tuple[Tensor, Tensor]]
AfterEpoch = Callable[[nn.Module, Optimizer, float], None]
"""Hears of an epoch's accuracy, and writes a checkpoint."""


@dataclass(frozen=True)
class Recipe:
    """Trials of MNIST by a recipe."""

    out: Path
    """Folder for what it writes."""
    trials: int = 8
    epochs: int = 2
    samples: int = 50_000
    """Of the training split; a fifth as many of the validation split."""
    workers: int = 2
    """Trials at a time."""
    device: str = "cpu"


class PlainLeNet(nn.Module):
    """The network of :class:`study.tasks.builtin.lenet.LeNet`, without what makes that fast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * 5 * 5, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (batch, 10)."""
        features = self.pool(functional.relu(self.conv1(images)))
        features = self.pool(functional.relu(self.conv2(features)))
        hidden = functional.relu(self.fc1(torch.flatten(features, 1)))
        logits: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return logits


def loaders(samples: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """The first of MNIST's training file to train, and of its last 10,000 to validate."""
    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    images = datasets.MNIST(StudyConfig().machine.data_dir, transform=transforms.Compose(steps))
    validation = Subset(images, range(50_000, 50_000 + samples // 5))
    return (
        DataLoader(Subset(images, range(samples)), batch_size=BATCH, shuffle=True),
        DataLoader(validation, batch_size=EVALUATION_BATCH),
    )


def optimizer_and_schedule(
    model: nn.Module, peak_lr: float, total_steps: int
) -> tuple[Optimizer, LRScheduler]:
    """SGD as the study's default is, and a cosine from the peak rate to 0."""
    sgd = SGD(model.parameters(), lr=peak_lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    return sgd, CosineAnnealingLR(sgd, total_steps)


def train_epoch(
    model: nn.Module, batches: Batches, optimizer: Optimizer, schedule: LRScheduler
) -> None:
    """One epoch."""
    model.train()
    for images, labels in batches:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches) -> float:
    """Accuracy; the loss as well, since the study has it."""
    model.eval()
    loss, correct, seen = 0.0, 0, 0
    for images, labels in batches:
        outputs = model(images)
        loss += functional.cross_entropy(outputs, labels, reduction="sum").item()
        correct += int((outputs.argmax(1) == labels).sum())
        seen += len(labels)
    return correct / seen


def train(recipe: Recipe, peak_lr: float, after_epoch: AfterEpoch) -> float:
    """One trial, on one thread; gives its last accuracy."""
    torch.set_num_threads(1)
    train_batches, validation = loaders(recipe.samples)
    model = PlainLeNet().to(recipe.device)
    parts = optimizer_and_schedule(model, peak_lr, recipe.epochs * len(train_batches))
    accuracy = 0.0
    for _ in range(recipe.epochs):
        train_epoch(model, moved(train_batches, recipe.device), *parts)
        accuracy = evaluate(model, moved(validation, recipe.device))
        after_epoch(model, parts[0], accuracy)
    with (recipe.out / ENDED).open("a") as file:
        file.write(f"{time.time()}\n")
    return accuracy


def moved(batches: Batches, device: str) -> Batches:
    """To the device, one by one."""
    return ((images.to(device), labels.to(device)) for images, labels in batches)


def save(model: nn.Module, optimizer: Optimizer, path: Path) -> None:
    """A checkpoint."""
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)


def tell(trials: int) -> None:
    """Say how many have been completed."""
    print(json.dumps({"trials": trials}))
