"""A task: data, model, loss and metric, behind one small seam."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from search_spaces import PeakRange
from study.tasks.data import Data, SearchData
from study.tasks.metric import ACCURACY, Metric, not_given
from study.tasks.recipe import PLAIN, MadeBy, Precision, check_recipe

Step = Callable[[nn.Module, Any], Tensor]
Evaluate = Callable[[nn.Module, Iterable[Any]], Mapping[str, Any]]
MakeOptimizer = Callable[[nn.Module, float, float, float], Optimizer | Sequence[Optimizer]]
Transform = Callable[[Any, Any], tuple[Any, Any]]
LOSS = "loss"
"""Name of the loss among the values of :attr:`Task.evaluate`."""


@dataclass(frozen=True)
class Task:
    """A model, the data that it is trained on, and what counts as good.

    Every function may draw from the global random states of torch, NumPy and Python: they are
    seeded for each trial, kept in its checkpoints, and so repeat.
    """

    name: str
    load_search_data: Callable[[Path], SearchData]
    """Training and validation split. What has to be downloaded goes into the given folder."""
    load_test_data: Callable[[Path], Data]
    """The test split, which no search opens."""
    make_model: Callable[[int], nn.Module]
    """A fresh model. The seed is for those who need one: the global states have it already."""

    loss: Callable[[Any, Any], Tensor] = functional.cross_entropy
    """From a batch's outputs and targets to its mean loss, a scalar. Lower is better. The loss of
    a split is the mean over its batches, each with the weight of its samples."""
    metric: Metric = ACCURACY
    """Metric that trials are ranked by, on the validation split."""
    transform: Transform | None = None
    """Augmentation: from a training batch's inputs and targets to those to train with."""
    step: Step | None = None
    """The loss of a training batch, a scalar, from the model and the whole batch, in place of
    ``loss(model(inputs), targets)``: for several losses, masks, batches of any structure."""
    evaluate: Evaluate | None = None
    """Values by their names from the model and the batches of a split, in place of ``metric`` over
    its outputs: the metric's name is among them; the others are kept in the tables. The loss is
    that called ``loss``, or the mean over all batches as in training. Called in evaluation mode
    without gradients."""

    parameter_groups: Callable[[nn.Module], Sequence[Mapping[str, Any]]] | None = None
    """The model's parameters in groups, as torch's optimizers take them: with a ``weight_decay`` of
    their own, say, or an ``lr_scale``, a factor of the rate that the schedule gives."""
    make_optimizer: MakeOptimizer | None = None
    """The optimizer, or several for parts of the model, from the model, the peak rate, the momentum
    and the weight decay, in place of the study's. One group has the peak rate itself; the rates of
    the others keep their proportion to it."""

    clip_norm: float | None = None
    """Norm to which the gradient of all parameters together is clipped."""
    accumulate: int = 1
    """Batches a step, whose gradients are averaged; an epoch's last step takes what is left."""
    precision: Precision = "fp32"
    """``bf16`` and ``fp16`` by torch.autocast; ``fp16`` with torch's GradScaler."""
    average: str = "none"
    """Average of the weights that is evaluated in their place: ``ema:DECAY`` or ``tail:FRACTION``,
    the mean over the last steps of a run; torch.optim.swa_utils."""

    peak_lr: PeakRange = (3e-3, 0.3)
    """The range of peak rates worth searching for this model with SGD, or its own optimizer."""
    adamw_peak_lr: PeakRange = (1e-4, 1e-2)
    """The range of peak rates with AdamW."""
    chance_loss: float | None = None
    """The loss of a guess, ln(classes) for cross entropy: a run that does not end at least 1% below
    has diverged. None where no such loss is known."""
    samples_recur: bool = False
    """True if different samples may be equal, so that equal ones in two splits are no leak."""
    capturable: bool = False
    """True if a training step is the same work on the device every time: model and loss draw
    nothing on the host, look at no values (``.item()``, a mask that picks) and keep no state but
    in buffers. Steps with SGD on tensors in memory are then replayed as one CUDA graph on a GPU."""

    def loss_of(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch, as training takes it."""
        if self.step:
            return self.step(model, batch)
        inputs, targets = batch
        return self.loss(model(inputs), targets)

    def peak_range(self, optimizer: str) -> PeakRange:
        """The peak rates to search with an optimizer: ``sgd`` or ``adamw``."""
        return self.adamw_peak_lr if optimizer == "adamw" else self.peak_lr

    @property
    def recipe(self) -> dict[str, Any]:
        """Clipping, accumulation, precision and averaging, by the names of their fields."""
        return {name: getattr(self, name) for name in PLAIN}

    @property
    def optimizer_from(self) -> MadeBy:
        """Maker of the optimizer: ``study``, ``parameter_groups`` or ``make_optimizer``."""
        if self.make_optimizer:
            return "make_optimizer"
        return "parameter_groups" if self.parameter_groups else "study"

    def __post_init__(self) -> None:
        """Check what can be checked without data.

        Raises:
            TypeError: a metric that is no :class:`~study.metric.Metric`.
            ValueError: a range of rates that is none, or fields that do not go together.
        """
        if not isinstance(self.metric, Metric):
            raise TypeError(f"metric must be a study.task.Metric, not {self.metric!r}")
        for field in ("peak_lr", "adamw_peak_lr"):
            low, high = getattr(self, field)
            if not 0 < low < high:
                raise ValueError(f"{field} must be two rates, 0 < low < high, not {low}, {high}")
        if self.metric.compute is not_given and not self.evaluate:
            raise ValueError(
                f"metric {self.metric.name!r} needs compute(outputs, targets), or the task evaluate"
            )
        if self.metric.name == LOSS and not self.evaluate:
            raise ValueError(f"a metric beside the loss cannot be called {LOSS!r} too; rename it")
        if self.parameter_groups and self.make_optimizer:
            raise ValueError("parameter_groups and make_optimizer exclude each other; give one")
        check_recipe(self.recipe)
