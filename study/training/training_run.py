"""The training loop, in plain torch: one run of one schedule, one record an epoch.

It knows neither Ray nor Optuna nor files, and of what is trained only the task. A run is a function
of its :class:`RunConfig`, and a run that resumes from :meth:`TrainingRun.state` ends bit for bit as
one that was never interrupted.
"""

import copy
import math
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from search_spaces import FAMILIES
from search_spaces.optimizers import applied_rate, momentum, switch
from search_spaces.preflight import cycle_ends
from study.system.seeding import seed_everything
from study.tasks.data import Data, SearchData
from study.tasks.recipe import average_of
from study.tasks.task import Task
from study.tasks.widest import widest
from study.training.averaging import AveragedWeights, measure_batch_norms
from study.training.batches import Batches, batches
from study.training.ensemble import Weights, ensemble_metrics, outputs
from study.training.evaluation import Evaluation, Values, evaluate, evaluation_batch
from study.training.history import EpochRecord, History, RunConfig
from study.training.optimizers import make_optimizer
from study.training.precision import grad_scaler
from study.training.steps import Steps, steps_an_epoch, training_steps

MAX_CURVE_POINTS = 512
MAX_SNAPSHOTS = 8  # those of the last cycles: every checkpoint holds them, and 4 to 8 work well
NO_BETTER = 0.01
"""Share of a guess's loss by which a run must end below it: a collapsed network still learns how
frequent the targets are, which is a hair better than a guess of any."""


class TrainingRun:
    """One training run, an epoch at a time.

    Args:
        task: makes the model, and says what is trained and measured.
        data: training and validation split.
        config: what to run.
        device: where to run it.
        test: the test split, on which the run is measured once it has completed; no search has it.
            A run that has it keeps a snapshot of its weights at the end of each cycle of the rate.

    Seeds the global random states of torch, NumPy and Python: one run at a time in a process.
    """

    def __init__(
        self,
        task: Task,
        data: SearchData,
        config: RunConfig,
        device: str = "cpu",
        test: Data | None = None,
    ) -> None:
        self.task, self.config = task, config
        self.history = History()
        self._device = device
        self._gpu = None if device == "cpu" else torch.get_device_module(device)
        seed_everything(config.seed)  # first, since a loader may draw when it is made
        self._order = torch.Generator().manual_seed(config.seed)
        self._train = batches(data.train, config.batch_size, self._order, device)
        size = evaluation_batch(config.batch_size)
        self._validation = batches(data.validation, size, None, device)
        self._test = batches(test, size, None, device) if test is not None else None
        self.samples_per_epoch = len(self._train) * config.batch_size
        self.steps_per_epoch = steps_an_epoch(len(self._train), task.accumulate)
        self.total_steps = config.epochs * self.steps_per_epoch
        self._recorded = _thinned(self.total_steps)

        self.model = task.make_model(config.seed).to(device)
        family, parameters = FAMILIES[config.family], config.parameters
        self.optimizer = make_optimizer(task, self.model, family, parameters, self.total_steps)
        self.schedule = family.build(self.optimizer, parameters, self.total_steps)
        self._scaler = grad_scaler(task.precision, device)
        self._steps = self._make_steps()
        average = average_of(family.average(parameters, self.total_steps) or task.average)
        self._average = AveragedWeights(average, self.model, self.total_steps) if average else None
        self.snapshots: list[Weights] = []
        cycles = family.rises_again and not family.irregular
        keeps = test is not None and cycles and not (average or task.evaluate)
        ends = cycle_ends(family, parameters, self.total_steps) if keeps else ()
        self._snapshot_ends = frozenset(ends[-MAX_SNAPSHOTS:])

    def run_epoch(self) -> EpochRecord:
        """Train one epoch, evaluate, and add the record to the history.

        Sets the history's status to ``completed`` after the last epoch and to ``diverged`` where
        the loss is NaN or infinite, or the network has collapsed.
        """
        started = time.perf_counter()
        losses, lr = self._train_epoch()
        step = self.steps_done + len(losses)
        if self.evaluated is not self.model or hasattr(self.optimizer, "eval"):
            switch(self.optimizer, "eval")
            measure_batch_norms(self.task, self.evaluated, self._train)
        evaluation, (train_loss,) = self._measure(self._validation, losses.mean())
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(evaluation.loss)
        record = EpochRecord(
            epoch=len(self.history.epochs) + 1,
            step=step,
            lr=lr,
            train_loss=train_loss,
            val_loss=evaluation.loss,
            val_metric=evaluation.metric,
            others=dict(evaluation.others),
            seconds=time.perf_counter() - started,
        )
        self.history.epochs.append(record)
        if self._diverged(record, evaluation):
            self.history.status = "diverged"
        elif record.epoch == self.config.epochs:
            self.history.status = "completed"
            if self._test:
                self._measure_on_test(self._test)
        return record

    def _measure_on_test(self, split: Batches) -> None:
        """Loss and metric of a completed run, which has diverged all the same if one is no number.

        Neither is kept then: nothing that is not finite is ever averaged over seeds.
        """
        test, _ = self._measure(split)
        if not math.isfinite(test.loss + test.metric):
            self.history.status = "diverged"
            self.history.error = f"on the test split, loss {test.loss} and metric {test.metric}"
            return
        self.history.test_loss, self.history.test_metric = test.loss, test.metric
        self.history.test_others = dict(test.others)
        if self.snapshots:
            members, targets = outputs(self.model, self.snapshots[::-1], split)
            self.history.ensembles = [*ensemble_metrics(self.task, members, targets)]

    def _diverged(self, record: EpochRecord, evaluation: Evaluation) -> bool:
        last, chance = record.epoch == self.config.epochs, self.task.chance_loss
        # Half collapsed, its outputs still differ; at the end, nothing begins to learn any more.
        guess = chance - NO_BETTER * abs(chance) if last and chance else math.inf
        at_chance = min(record.train_loss, record.val_loss) >= guess
        finite = math.isfinite(record.train_loss + record.val_loss + record.val_metric)
        return bool(evaluation.collapsed or at_chance or not finite)

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated: that of the averaged weights, as soon as there are any."""
        return (self._average and self._average.model) or self.model

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the epochs that are done."""
        return self.history.epochs[-1].step if self.history.epochs else 0

    def _train_epoch(self) -> tuple[Tensor, float]:
        """The loss of every step, and the last rate applied; NaN where no step was taken."""
        none = (torch.full((), math.nan, device=self._device), math.nan)
        losses, rates = zip(*([*self.steps()] or [none]), strict=True)
        return torch.stack(losses), rates[-1]

    def steps(self) -> Iterator[tuple[Tensor, float]]:
        """Train one epoch, a step at a time: its loss, on the device, and the rate applied."""
        group = self.optimizer.param_groups[0]
        first_step = self.steps_done
        self.model.train()
        switch(self.optimizer, "train")
        for k, loss in enumerate(self._steps):
            lr = applied_rate(group)
            if first_step + k in self._recorded:
                self.history.curve.append((first_step + k, lr, momentum(group)))
            self.schedule.step()
            if self._average:
                self._average.take(self.model, first_step + k)
            if first_step + k + 1 in self._snapshot_ends:
                self.snapshots.append(copy.deepcopy(self.model.state_dict()))
            yield loss, lr

    def _make_steps(self) -> Steps:
        return training_steps(self.task, self.model, self.optimizer, self._train, self._scaler)

    def _measure(self, split: Batches, *more: Tensor) -> tuple[Evaluation, list[float]]:
        """The evaluation of a split, and the numbers in more scalars.

        One transfer: to read a number from a GPU is to wait for all that it has to do.
        """
        values = self._evaluate(split)
        numbers = torch.stack([*values.values(), *map(widest, more)]).tolist()
        own, rest = numbers[: len(values)], numbers[len(values) :]
        return Evaluation.of(self.task, dict(zip(values, own, strict=True))), rest

    def _evaluate(self, split: Batches) -> Values:
        """The numbers of an :class:`Evaluation`, on the device."""
        model = self.evaluated
        model.eval()
        switch(self.optimizer, "eval")
        return evaluate(self.task, model, split)

    def state(self) -> dict[str, Any]:
        """All that a run needs to resume, besides its history: tensors and plain values only."""
        version, internal, gauss = random.getstate()
        name, keys, *rest = np.random.get_state(legacy=True)
        return {
            "model": self.model.state_dict(),
            "snapshots": self.snapshots,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "order": self._order.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": self._gpu.get_rng_state() if self._gpu else None,
            "numpy": [name, torch.from_numpy(np.asarray(keys)), *rest],
            "python": [version, list(internal), gauss],
        }

    def load_state(self, state: Mapping[str, Any], history: History) -> None:
        """Go on from :meth:`state`, as if there had been no interruption."""
        self.history = history
        self.model.load_state_dict(state["model"])
        self.snapshots = [*state["snapshots"]]
        # The schedule alone would not do: the rates live in the optimizer.
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._steps = self._make_steps()
        self._scaler.load_state_dict(state["scaler"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._order.set_state(state["order"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and self._gpu:
            self._gpu.set_rng_state(state["cuda"])
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy(), *rest))
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))


def _thinned(total_steps: int) -> frozenset[int]:
    """At most 512 of the steps, evenly spread, the first and the last among them."""
    points = np.linspace(0, total_steps - 1, min(total_steps, MAX_CURVE_POINTS))
    return frozenset(points.round().astype(int).tolist())
