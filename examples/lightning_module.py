"""A LightningModule as it is: its training_step and its configure_optimizers are used.

lr-study run --task examples/lightning_module.py:make_task --peak-lr 0.0003,0.03 --epochs 20
"""

from typing import Any

from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from study.task import Task
from study.tasks.builtin import digits


class Classifier(LightningModule):
    """As one would hand it to a Trainer."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr, self.net = lr, nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels: Tensor) -> Any:
        """Logits, by which the study evaluates."""
        return self.net(pixels)

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Cross entropy with label smoothing."""
        pixels, labels = batch
        return functional.cross_entropy(self(pixels), labels, label_smoothing=0.1)

    def configure_optimizers(self) -> Optimizer:
        """AdamW."""
        return AdamW(self.parameters(), self.lr, weight_decay=0.01)


def step(model: Any, batch: Any) -> Tensor:
    """The module's own."""
    loss: Tensor = model.training_step(batch, 0)
    return loss


def make_optimizer(model: Any, lr: float, momentum: float, decay: float) -> Any:
    """The module's own, at the rate that is to be tried."""
    model.lr = lr
    return model.configure_optimizers()


def make_task() -> Task:
    """The task."""
    return Task(
        name="lightning module",
        load_search_data=digits.load_search_data,
        load_test_data=digits.load_test_data,
        make_model=lambda seed: Classifier(),
        step=step,
        make_optimizer=make_optimizer,
    )
