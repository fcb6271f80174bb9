"""The tools that a study's trials can be logged to, by their public interfaces."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from study.training.history import Status

UPLOAD_SECONDS = 60
"""To wait at the end of a search for what is still being sent. The files stay."""


@dataclass(frozen=True)
class LoggedTrial:
    """A trial as people look for it."""

    id: str
    """Identifier: kept when the study is resumed, and no other study's."""
    name: str
    family: str
    parameters: Mapping[str, Any] = field(compare=False)


class Tool(Protocol):
    """A tool that trials are logged to. Methods may raise whatever the tool does."""

    def begin(self, trial: LoggedTrial) -> None:
        """Begin a run, or resume the one that an earlier process began."""

    def log(self, trial: LoggedTrial, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log an epoch."""

    def end(self, trial: LoggedTrial, status: Status) -> None:
        """End a run; one whose status is ``running`` was interrupted."""


class TensorBoard:
    """A folder for each trial, with its hyperparameters."""

    def __init__(self, name: str, folder: Path) -> None:
        import tensorboardX  # which comes with Ray Tune

        self._package, self._folder = tensorboardX, folder
        self._writers: dict[LoggedTrial, Any] = {}
        self._last: dict[LoggedTrial, Mapping[str, float]] = {}

    def begin(self, trial: LoggedTrial) -> None:
        """Open the trial's folder."""
        self._writers[trial] = self._package.SummaryWriter(str(self._folder / trial.name))

    def log(self, trial: LoggedTrial, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write scalars, of what is finite."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._writers[trial].add_scalar(name, value, global_step=epoch)
        self._writers[trial].flush()
        self._last[trial] = finite

    def end(self, trial: LoggedTrial, status: Status) -> None:
        """Write what the page of hyperparameters shows, and close the folder."""
        with self._writers.pop(trial) as writer:
            # SummaryWriter.add_hparams would make a folder, and a run, of its own for them.
            metrics = self._last.pop(trial, {})
            for summary in self._package.summary.hparams(dict(trial.parameters), metrics):
                writer.file_writer.add_summary(summary)


class MLflow:
    """A run for each trial, in the study's experiment."""

    def __init__(self, name: str, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        self._client = MlflowClient(uri)
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id if experiment else self._client.create_experiment(name)
        )
        self._runs: dict[LoggedTrial, str] = {}

    def begin(self, trial: LoggedTrial) -> None:
        """Make the trial's run, or set it to running again."""
        found = self._client.search_runs([self._experiment], f"tags.trial_id = '{trial.id}'")
        if found:
            self._runs[trial] = found[0].info.run_id
            self._client.update_run(self._runs[trial], status="RUNNING")
            return
        run = self._client.create_run(
            self._experiment, tags={"trial_id": trial.id}, run_name=trial.name
        )
        self._runs[trial] = run.info.run_id
        params = [self._param(name, str(value)) for name, value in trial.parameters.items()]
        self._client.log_batch(run.info.run_id, params=params)

    def log(self, trial: LoggedTrial, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log by the epoch."""
        now = int(1000 * time.time())
        each = [self._metric(name, value, now, epoch) for name, value in metrics.items()]
        self._client.log_batch(self._runs[trial], metrics=each)

    def end(self, trial: LoggedTrial, status: Status) -> None:
        """FINISHED are those that count as results."""
        ended = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
        self._client.set_terminated(self._runs.pop(trial), ended.get(status, "KILLED"))


class WandB:
    """A run for each trial, all of them in this process, grouped by family."""

    def __init__(self, name: str, folder: Path) -> None:
        import wandb

        self._wandb, self._folder = wandb, folder
        self._project = os.environ.get("WANDB_PROJECT", name)
        self._runs: dict[LoggedTrial, Any] = {}
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
            raise ValueError("no API key is configured")

    def begin(self, trial: LoggedTrial) -> None:
        """Begin a run, beside those that there are; that of a resumed trial continues."""
        self._runs[trial] = self._wandb.init(
            project=self._project,
            dir=str(self._folder),
            id=trial.id,
            name=trial.name,
            group=trial.family,
            config=dict(trial.parameters),
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(
                console="off", silent=True, finish_timeout=float(UPLOAD_SECONDS)
            ),
        )

    def log(self, trial: LoggedTrial, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log by the epoch."""
        self._runs[trial].log(dict(metrics), step=epoch)

    def end(self, trial: LoggedTrial, status: Status) -> None:
        """Send what is left of a run; only one that completed has not failed."""
        self._runs.pop(trial).finish(exit_code=int(status != "completed"))


TOOLS: Mapping[str, Callable[[str, Path], Tool]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
HINTS = {"wandb": "; with WANDB_MODE=offline it needs no key, and wandb sync sends later"}
