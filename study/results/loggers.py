"""The search's trials in TensorBoard, MLflow or Weights & Biases, while they run.

What is logged stands in the study's tables too: these are for watching. A tool, or its server, that
is slow is waited for by nobody but a thread of its own, and one that fails does not end the study.
"""

import hashlib
import os
import queue
import re
import sys
import threading
from collections.abc import Callable
from typing import Any, Self

from study.results.logging_tools import HINTS, TOOLS, UPLOAD_SECONDS, LoggedTrial
from study.search.interfaces import TrialObserver
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_store import trial_folder
from study.system.errors import InputError, summary
from study.training.history import EpochRecord, History

LOGS = "logs"
"""The folder of a study in which the loggers' own are."""
_ENVIRONMENT = {
    # They would report home what is done with them.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # it tells of every table of its database
}


class TrialLogger(TrialObserver):
    """Tells trials to the tool that a study's ``--logger`` names; a context that sends all of it.

    Args:
        config: the study's.
        began: when it began, by which its trials are told from another study's of the same name.
        metric: its name.

    Raises:
        InputError: the tool cannot be used.
    """

    def __init__(self, config: StudyConfig, began: str, metric: str) -> None:
        self._config, self._began, self._metric = config, began, metric
        self._open: dict[int, LoggedTrial] = {}
        self._calls: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None]
        self._calls = queue.SimpleQueue()
        # A daemon: what hangs in a tool must not keep the process.
        self._thread = threading.Thread(target=self._tell, daemon=True)
        for variable, setting in _ENVIRONMENT.items():
            os.environ.setdefault(variable, setting)
        try:
            self._folder = (config.location.folder / LOGS / config.machine.logger).absolute()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._tool = TOOLS[config.machine.logger](config.location.name, self._folder)
        except Exception as error:
            logger = config.machine.logger
            raise InputError(
                f"--logger {logger} cannot be used: {summary(error)}; mend that, or leave "
                "the flag out" + HINTS.get(logger, "")
            ) from error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for trial in self._open.values():
            self._calls.put((self._tool.end, (trial, "running")))
        self._calls.put(None)
        self._thread.join(UPLOAD_SECONDS)

    def on_trial_start(self, proposal: Proposal) -> None:
        """Begin a run, unless it is one whose worker has died."""
        if proposal.number not in self._open:
            self._open[proposal.number] = trial = self._logged(proposal)
            self._calls.put((self._tool.begin, (trial,)))

    def on_epoch(self, proposal: Proposal, record: EpochRecord, samples: int) -> None:
        """Log it, by the names that people know."""
        metrics = {
            "epoch": record.epoch,
            "lr": record.lr,
            "train_loss": record.train_loss,
            "val_loss": record.val_loss,
            # In the letters that all three allow.
            re.sub(r"[^\w./ -]", "_", f"val_{self._metric}"): record.val_metric,
        }
        if trial := self._open.get(proposal.number):
            self._calls.put((self._tool.log, (trial, record.epoch, metrics)))

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """End its run, if it ever began."""
        if trial := self._open.pop(proposal.number, None):
            self._calls.put((self._tool.end, (trial, history.status)))

    def _logged(self, proposal: Proposal) -> LoggedTrial:
        run = proposal.run_config(self._config)
        parameters = {
            "trial": proposal.number,
            "task": self._config.training.task,
            "optimizer": self._config.search.optimizer,
            "family": run.family,
            "seed": run.seed,
            "epochs": run.epochs,
            "batch_size": run.batch_size,
            **run.parameters,
        }
        name = re.sub(r"[^\w.-]", "-", f"{trial_folder(proposal.number)}-{run.family}")
        digest = hashlib.sha256(f"{self._began} {name}".encode()).hexdigest()
        return LoggedTrial(digest[:16], name, run.family, parameters)

    def _tell(self) -> None:
        while call := self._calls.get():
            function, arguments = call
            try:
                function(*arguments)
            except Exception as error:
                print(
                    f"--logger {self._config.machine.logger} has failed and logs no more: "
                    f"{summary(error)}; the study continues",
                    file=sys.stderr,
                )
                return
