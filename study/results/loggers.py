"""The search's trials in TensorBoard, MLflow or Weights & Biases, by Ray Tune's own callbacks.

Imported only where a logger was asked for. What is logged stands in the study's tables too: these
are for watching, and a logger that fails does not end the study.
"""

import hashlib
import io
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.experiment import Trial as RayTrial
from ray.tune.logger import TBXLoggerCallback

from study.settings.study_config import StudyConfig
from study.storage.checkpoints import trial_folder
from study.system.errors import InputError, said

LOGS = "logs"
"""The folder of a study in which the loggers' own are."""
UPLOAD_SECONDS = 60
"""That the end of a search waits for W&B; Ray's own is half an hour. The files stay."""


class LoggedTrial:
    """What Ray's logger callbacks ask of a trial, with what people read instead of our plumbing."""

    def __init__(self, config: StudyConfig, began: str, trial: RayTrial) -> None:
        number, run = trial.config["trial"], dict(trial.config["run"])
        self.number, self.family = number, run["family"]
        parameters = run.pop("parameters")
        head = {"trial": number, "task": config.task, "optimizer": config.optimizer}
        self.config: dict[str, Any] = {**head, **run, **parameters}
        self.evaluated_params = self.config
        self.status = "running"
        self.experiment_dir_name = self.family  # by which W&B groups its runs
        # The same for the same trial of a resumed study, and for no trial of another study.
        self.trial_id = hashlib.sha256(f"{began} {self}".encode()).hexdigest()[:16]
        self.local_path = str(_folder(config))
        if config.logger == "tensorboard":  # for which a folder is a run
            self.local_path = str(_folder(config) / str(self))

    def __str__(self) -> str:
        return re.sub(r"[^\w.-]", "-", f"{trial_folder(self.number)}-{self.family}")

    def init_local_path(self) -> None:
        """Make the folder that the callback writes into."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)


class TrialLogger(tune.Callback):
    """Hands the trials to the callback that a study's ``--logger`` names.

    Args:
        config: the study's.
        began: when it began, by which its trials are told from another study's of the same name.

    Raises:
        InputError: the tool cannot be used.
    """

    def __init__(self, config: StudyConfig, began: str) -> None:
        self._config, self._began = config, began
        self._trials: dict[int, LoggedTrial] = {}
        self._failed = False
        try:
            _folder(config).mkdir(parents=True, exist_ok=True)
            self._callback: Any = _CALLBACKS[config.logger](config)
            # Here, not when Ray does it: before the first trial.
            self._callback.setup()
        except Exception as error:
            raise InputError(
                f"--logger {config.logger} cannot be used: {said(error)}; mend that, or leave the "
                "flag out" + _HINTS.get(config.logger, "")
            ) from error

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # Ray pickles it, and nobody reads that

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Begin a run, or go on with one that an earlier process began."""
        self._safely(self._start, trial)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Log an epoch; the result of a failure brings none."""
        logged = self._trials.get(trial.config["trial"])
        if not logged:
            return
        logged.status = result["status"]
        if result["logged"]:
            metrics = {_allowed(name): value for name, value in result["logged"].items()}
            self._safely(self._callback.log_trial_result, iteration, logged, metrics)

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """End a run."""
        if logged := self._trials.get(trial.config["trial"]):
            self._safely(self._callback.log_trial_end, logged)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """End the run of a trial whose worker died once too often; some never began."""
        if logged := self._trials.get(trial.config["trial"]):
            logged.status = "failed"
            self._safely(self._callback.log_trial_end, logged, True)

    def on_experiment_end(self, trials: list[RayTrial], **info: Any) -> None:
        """Wait for what is still being sent."""
        self._safely(self._callback.on_experiment_end, trials)

    def _start(self, trial: RayTrial) -> None:
        logged = LoggedTrial(self._config, self._began, trial)
        logged.init_local_path()
        # The same object if its worker died: by it, Ray's callbacks find its run again.
        self._callback.log_trial_start(self._trials.setdefault(logged.number, logged))

    def _safely(self, call: Callable[..., None], *arguments: Any) -> None:
        """Ray would take an error for the trial's."""
        if self._failed:
            return
        try:
            call(*arguments)
        except Exception as error:
            self._failed = True
            print(
                f"--logger {self._config.logger} has failed and logs no more: {said(error)}; the "
                "study goes on",
                file=sys.stderr,
            )


class TensorBoard(TBXLoggerCallback):
    """Ray's, with the metrics under their own names, which Ray begins with ``ray/tune/``."""

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """Write an epoch."""
        finite = {name: value for name, value in result.items() if math.isfinite(value)}
        for name, value in finite.items():
            self._trial_writer[trial].add_scalar(name, value, global_step=result["epoch"])
        self._trial_writer[trial].flush()
        self._trial_result[trial] = finite  # from which Ray writes the hyperparameters' page


class MLflow(MLflowLoggerCallback):
    """Ray's, with a run for each trial, which Ray begins anew in each process."""

    def log_trial_start(self, trial: Any) -> None:
        """Go on with the run that there is, or begin one."""
        client = self.mlflow_util._get_client()
        experiments = [str(self.mlflow_util.experiment_id)]
        runs = client.search_runs(experiments, f"tags.trial_id = '{trial.trial_id}'")
        if runs:
            self._trial_runs[trial] = runs[0].info.run_id
            client.update_run(runs[0].info.run_id, status="RUNNING")
        else:
            self.tags = {"trial_id": trial.trial_id}
        super().log_trial_start(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """By the epoch, which Ray counts as training_iteration and logs as a metric of its own."""
        self.mlflow_util.log_metrics(
            run_id=self._trial_runs[trial], metrics_to_log=result, step=result["epoch"]
        )

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """FINISHED are those that count as results; Ray knows no other ends than errors."""
        ended = {"completed": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}
        status = ended.get(trial.status, "KILLED")
        self.mlflow_util.end_run(run_id=self._trial_runs[trial], status=status)


def _mlflow(config: StudyConfig) -> MLflow:
    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{_folder(config) / 'mlflow.db'}")
    return MLflow(uri, experiment_name=config.name)


def _wandb(config: StudyConfig) -> tune.Callback:
    from ray.air.integrations.wandb import WandbLoggerCallback  # which imports wandb, if it can

    class WandB(WandbLoggerCallback):
        """Ray's, with the epoch for the step, which it looks for as ``training_iteration``."""

        def setup(self, *arguments: Any, **keywords: Any) -> None:
            with redirect_stderr(io.StringIO()):  # W&B warns of how Ray looks for the user's key
                super().setup(*arguments, **keywords)  # type: ignore[no-untyped-call]
            # As Ray's, but without restarts, against which Ray itself warns on the terminal.
            self._remote_logger_class: Any = ray.remote(num_cpus=0)(self._logger_actor_cls)

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            step = {"training_iteration": result["epoch"]}
            super().log_trial_result(iteration, trial, {**result, **step})

        def _cleanup_logging_actor(self, trial: Any) -> None:
            future = self._trial_logging_futures[trial]
            super()._cleanup_logging_actor(trial)
            ray.get(future, timeout=0)  # raises what Ray does not look at: how the process ended

    project = os.environ.get("WANDB_PROJECT", config.name)
    # With resume, the run of a resumed trial goes on.
    return WandB(project, resume="allow", upload_timeout=UPLOAD_SECONDS)


_CALLBACKS: Mapping[str, Callable[[StudyConfig], tune.Callback]] = {
    "tensorboard": lambda _: TensorBoard(),  # type: ignore[no-untyped-call]
    "mlflow": _mlflow,
    "wandb": _wandb,
}
_HINTS = {"wandb": "; with WANDB_MODE=offline it needs no key, and wandb sync sends later"}


def _folder(config: StudyConfig) -> Path:
    # Absolute, since W&B's processes run in another folder.
    return (config.folder / LOGS / config.logger).absolute()


def _allowed(name: str) -> str:
    """The name of a metric in the letters that all three allow."""
    return re.sub(r"[^\w./ -]", "_", name)
