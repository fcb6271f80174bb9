"""The training loop as a Ray Tune trainable: report, checkpoint, restore."""

import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import ObjectRef, tune

from search_spaces import FAMILIES
from study.storage.checkpoint_files import read_checkpoint, write_checkpoint
from study.storage.storage_path import StoragePath
from study.system.atomic_files import locked
from study.system.errors import ChangedTaskError
from study.system.hardware import device_name
from study.system.user_folders import private_folder
from study.tasks.check_data import Load
from study.tasks.data import Split, TrialData
from study.tasks.structure import mapped
from study.tasks.task import Task
from study.tasks.task_source import TaskSource
from study.training.batches import on_device
from study.training.check_task import refuse_difference
from study.training.history import History, RunConfig
from study.training.training_run import TrainingRun


@dataclass(frozen=True)
class WorkerSetup:
    """Everything that all trials of a worker share."""

    source: TaskSource
    shared: "Sequence[ObjectRef[Any]] | None"
    """Splits that lie in the node's object store, by :func:`share`; without them, the task loads
    its data in the worker by ``load``, as much of it at a time as it likes."""
    load: Load
    data_dir: Path
    threads: int
    device: str
    checkpoints: StoragePath
    """The folder of them."""


class ScheduleTrial(tune.Trainable):
    """One training run; the actor is reused for the next, so that only the first pays the imports.

    ``config`` holds the trial's number, its run as a dict, and the folder of the checkpoint from
    which it is to resume, if there is one.

    An exception in the run is reported as a result, with status ``failed``: it would come again, so
    Ray must not retry it. What Ray does retry is a worker that died. A worker whose task does not
    train on what the study began with reports that as ``refused``, and its trial has no end.
    """

    def setup(  # type: ignore[override]  # the rest comes by tune.with_parameters
        self, config: dict[str, Any], *, worker: WorkerSetup
    ) -> None:
        """Keep what all trials of this actor share."""
        torch.set_num_threads(worker.threads)
        gradients = worker.source.gradients
        FAMILIES.measured(gradients.weights if gradients else ())
        self._worker = worker
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial. Nothing is built here, where an exception would cost the actor."""
        self._started = time.monotonic()
        self._run: TrainingRun | None = None
        self._resumed: tuple[dict[str, Any], History] | None = None
        # Read in the first step: where a worker has died since, it is gone, and Ray restores a
        # later one.
        self._resume_point: StoragePath | None = None
        self._failure: History | None = None
        self._refused = ""
        self._seconds_before = 0.0
        self._config = RunConfig(**new_config["run"])
        if checkpoint := new_config["checkpoint"]:
            self._resume_point = self._worker.checkpoints.at(checkpoint)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            run = self._run = self._run or self._build()
            run.run_epoch()
            history = run.history
        except torch.AcceleratorError:
            raise  # the process cannot use its GPU any more: Ray replaces the worker
        except ChangedTaskError as error:
            history, self._refused = History(), str(error)
        except Exception as error:
            history = self._run.history if self._run else History()
            history.status = "failed"
            history.error = f"{type(error).__name__}: {error}"
            self._failure = history
        history.node, history.device = platform.node(), self._device_name
        history.wall_seconds = self._seconds_before + time.monotonic() - self._started
        trained = self._run if self._run and not self._failure else None
        epochs = history.epochs
        return {
            "samples": trained.samples_per_epoch if trained else 0,
            "epoch": len(epochs),
            "metric": epochs[-1].val_metric if epochs else None,
            "status": history.status,
            "refused": self._refused,
            "record": asdict(epochs[-1]) if trained else None,
            "done": history.ended or bool(self._refused),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the run; a failed one without its state, which nothing would resume from."""
        if self._failure or self._refused:
            history = self._failure or History()
            write_checkpoint(Path(checkpoint_dir), None, history, self._config.digest())
        else:
            assert self._run, "Ray saves after a step"
            run = self._run
            write_checkpoint(Path(checkpoint_dir), run.state(), run.history, self._config.digest())

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Read a run that :meth:`step` then resumes."""
        assert isinstance(checkpoint, str), "it was written as a folder"
        self._resume_from(StoragePath.of(checkpoint))

    def _resume_from(self, checkpoint: StoragePath) -> None:
        self._resumed, self._resume_point = read_checkpoint(checkpoint), None
        self._seconds_before = self._resumed[1].wall_seconds

    @cached_property
    def _device_name(self) -> str:
        return device_name(self._worker.device)

    @cached_property
    def _task_and_data(self) -> tuple[Task, TrialData]:
        """Made by the first trial, in :meth:`step`, where an exception is a trial's failure.

        Tensors go to the device here, once for all trials of this actor.
        """
        worker = self._worker
        task = worker.source.make()
        if worker.shared is None:
            # One actor of a node after the other, so that what is fetched is fetched once.
            with locked(_node_lock()):
                data = worker.load(task, worker.data_dir)
        else:
            data = TrialData.of([_shared_split(reference) for reference in worker.shared])
        data = TrialData.of([on_device(split, worker.device) for split in data.splits])
        if worker.source.trace:
            size, trace = self._config.batch_size, worker.source.trace
            refuse_difference(task, data.search, size, worker.device, trace)
        return task, data

    def _build(self) -> TrainingRun:
        task, data = self._task_and_data
        if self._resume_point:
            self._resume_from(self._resume_point)
        run = TrainingRun(task, data.search, self._config, self._worker.device, data.test)
        if self._resumed:
            run.load_state(*self._resumed)
        return run


def _node_lock() -> Path:
    return private_folder() / "load.lock"


def put_split(split: Split) -> "ObjectRef[Any]":
    """Put a split into the object store, as arrays, which workers map; tensors they would copy."""
    return ray.put(mapped(lambda tensor: tensor.cpu().numpy(), split))


def _shared_split(reference: "ObjectRef[Any]") -> Split:
    with warnings.catch_warnings():
        # torch warns that the memory is read-only; nobody writes to it.
        warnings.simplefilter("ignore", UserWarning)
        split: Split = mapped(torch.from_numpy, ray.get(reference), np.ndarray)
        return split
