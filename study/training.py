"""The training loop, in plain torch: one run of one schedule, one record an epoch.

It knows neither Ray nor Optuna nor files. A run is a function of its :class:`RunConfig`, and a run
that goes on from :meth:`TrainingRun.state` ends bit for bit as one that was never interrupted.
"""

import math
import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from search_spaces import FAMILIES, Parameters
from search_spaces.family import applied_rate, momentum, switch
from study.task import SearchData, Split, Task, accuracy, loss

Status = Literal["running", "completed", "diverged", "failed", "stopped"]

MAX_CURVE_POINTS = 512
EVALUATION_BATCH = 256  # larger ones leave the processor's cache and are slower


@dataclass(frozen=True)
class RunConfig:
    """All that a run depends on, besides the task and the hardware."""

    family: str
    parameters: Parameters
    seed: int
    """Of initialisation and data order."""
    epochs: int
    batch_size: int


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch came to."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimizer steps done since the run began."""
    lr: float
    """As applied at the last of them."""
    train_loss: float
    """Mean over the epoch's batches, taken while training."""
    val_loss: float
    val_accuracy: float
    seconds: float


@dataclass
class History:
    """What is known of a run so far; it travels with the run's checkpoint."""

    status: Status = "running"
    epochs: list[EpochRecord] = field(default_factory=list)
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """(step, rate, momentum) as the optimizer really used them, at most 512 of the steps."""
    wall_seconds: float = 0.0
    """From the start of the run to its latest checkpoint, without the gaps between sessions."""
    node: str = ""
    error: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to run."""
        return self.status != "running"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "History":
        """The inverse of :meth:`to_json`.

        Raises:
            TypeError, KeyError: something is missing or has another name.
        """
        epochs = [EpochRecord(**record) for record in content["epochs"]]
        curve = [(step, lr, momentum) for step, lr, momentum in content["curve"]]
        return cls(**{**content, "epochs": epochs, "curve": curve})


class _Evaluation(NamedTuple):
    loss: float
    accuracy: float
    collapsed: bool
    chance_loss: float
    """Of a guess, ln(classes)."""


class TrainingRun:
    """One training run, an epoch at a time.

    Args:
        task: makes the model.
        data: training and validation split; moved to ``device`` if they are elsewhere.
        config: what to run.
        device: where to run it.

    Seeds the global random states of torch, NumPy and Python: one run at a time in a process.
    """

    def __init__(
        self, task: Task, data: SearchData, config: RunConfig, device: str = "cpu"
    ) -> None:
        self.config = config
        self.history = History()
        self.train, self.validation = (
            Split(split.inputs.to(device), split.targets.to(device)) for split in data
        )
        self.steps_per_epoch = len(self.train.targets) // config.batch_size
        self.total_steps = config.epochs * self.steps_per_epoch
        self._recorded = _thinned(self.total_steps)

        _seed_everything(config.seed)
        # Twice as fast as the default layout on CPU; tensors that are no images keep theirs.
        self._layout = torch.channels_last if data.train.inputs.dim() == 4 else None
        self.model = task.make_model().to(device)
        if self._layout:
            self.model = self.model.to(memory_format=self._layout)
        family, parameters = FAMILIES[config.family], config.parameters
        self.optimizer = family.make_optimizer(
            self.model.parameters(), parameters, self.total_steps
        )
        self.schedule = family.build(self.optimizer, parameters, self.total_steps)
        self._order = torch.Generator().manual_seed(config.seed)

    def run_epoch(self) -> EpochRecord:
        """Train one epoch, evaluate, and add the record to the history.

        Sets the history's status to ``completed`` after the last epoch and to ``diverged`` where
        the loss is no number any more or the network has collapsed.
        """
        started = time.perf_counter()
        losses, lr = self._train_epoch()
        evaluation = self._evaluate()
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(evaluation.loss)
        record = EpochRecord(
            epoch=len(self.history.epochs) + 1,
            step=(len(self.history.epochs) + 1) * self.steps_per_epoch,
            lr=lr,
            train_loss=float(losses.mean()),
            val_loss=evaluation.loss,
            val_accuracy=evaluation.accuracy,
            seconds=time.perf_counter() - started,
        )
        self.history.epochs.append(record)
        last = record.epoch == self.config.epochs
        # Half collapsed, its outputs still differ; at the end, nothing begins to learn any more.
        at_chance = last and min(record.train_loss, record.val_loss) >= evaluation.chance_loss
        finite = math.isfinite(record.train_loss + record.val_loss)
        if evaluation.collapsed or at_chance or not finite:
            self.history.status = "diverged"
        elif last:
            self.history.status = "completed"
        return record

    def _train_epoch(self) -> tuple[Tensor, float]:
        """The loss of every step, and the last rate applied.

        The incomplete last batch is left out; every epoch has another order, so that no sample is
        left out for good.
        """
        model, optimizer, schedule = self.model, self.optimizer, self.schedule
        device = self.train.targets.device
        group = optimizer.param_groups[0]
        order = torch.randperm(len(self.train.targets), generator=self._order)
        batches = order[: self.steps_per_epoch * self.config.batch_size].to(device)
        losses = torch.empty(self.steps_per_epoch, device=device)
        first_step = len(self.history.epochs) * self.steps_per_epoch
        lr = math.nan

        model.train()
        switch(optimizer, "train")
        for k, batch in enumerate(batches.view(self.steps_per_epoch, -1)):
            inputs = self._laid_out(self.train.inputs[batch])
            batch_loss = loss(model(inputs), self.train.targets[batch])
            optimizer.zero_grad()
            torch.autograd.backward(batch_loss)
            optimizer.step()
            lr = applied_rate(group)
            if first_step + k in self._recorded:
                self.history.curve.append((first_step + k, lr, momentum(group)))
            schedule.step()
            losses[k] = batch_loss.detach()
        return losses.cpu(), lr

    def _laid_out(self, inputs: Tensor) -> Tensor:
        return inputs.contiguous(memory_format=self._layout) if self._layout else inputs

    @torch.inference_mode()
    def _evaluate(self) -> "_Evaluation":
        """Look at the validation split, and whether the network has collapsed.

        It has where it puts out the same for every input, as too high a rate leaves it. Its loss is
        finite then, so that no check for NaN finds it, and about that of a network which has not
        begun to learn: of the two, only the collapsed one's outputs do not differ at all.
        """
        self.model.eval()
        switch(self.optimizer, "eval")
        batches = zip(
            torch.split(self.validation.inputs, EVALUATION_BATCH),
            torch.split(self.validation.targets, EVALUATION_BATCH),
            strict=True,
        )
        sums, lowest, highest = [], [], []
        for inputs, targets in batches:
            outputs = self.model(self._laid_out(inputs))
            means = torch.stack([loss(outputs, targets).double(), accuracy(outputs, targets)])
            sums.append(means * len(targets))
            lowest.append(outputs.amin(0))
            highest.append(outputs.amax(0))
        val_loss, val_accuracy = torch.stack(sums).sum(0) / len(self.validation.targets)
        low, high = torch.stack(lowest).amin(0), torch.stack(highest).amax(0)
        return _Evaluation(
            float(val_loss),
            float(val_accuracy),
            collapsed=bool((high - low).max() <= 1e-6 * high.abs().max()),
            chance_loss=math.log(len(high)),
        )

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on, besides its history: tensors and plain values only."""
        version, internal, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)
        cuda = torch.cuda.get_rng_state() if self.train.inputs.is_cuda else None
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "order": self._order.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": cuda,
            "numpy": [name, torch.from_numpy(np.asarray(keys)), *rest],
            "python": [version, list(internal), gauss],
        }

    def load_state(self, state: Mapping[str, Any], history: History) -> None:
        """Go on from :meth:`state`, as if there had been no interruption."""
        self.history = history
        self.model.load_state_dict(state["model"])
        # The schedule alone would not do: the rates live in the optimizer.
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._order.set_state(state["order"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self.train.inputs.is_cuda:
            torch.cuda.set_rng_state(state["cuda"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy(), *rest))
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


def _seed_everything(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _thinned(total_steps: int) -> frozenset[int]:
    """At most 512 of the steps, evenly spread, the first and the last among them."""
    points = np.linspace(0, total_steps - 1, min(total_steps, MAX_CURVE_POINTS))
    return frozenset(points.round().astype(int).tolist())
