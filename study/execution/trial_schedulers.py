"""Trial schedulers: one takes the next trial, the other stops some early, too."""

import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from study.search.optuna_trials import OptunaTrials
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.storage.checkpoints import trial_folder
from study.training.history import History

KEPT = 3
"""One in so many goes on after a ninth and after a third of its horizon."""
SPARED = 10
"""One in so many of the condemned goes on, too."""


class FirstComeFirstServed(FIFOScheduler):
    """Ray's, which goes through all trials that ever were, twice, whenever it looks for one."""

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """The first that waits."""
        live: list[RayTrial] = sorted(tune_controller.get_live_trials(), key=trial_number)
        for status in (RayTrial.PENDING, RayTrial.PAUSED):
            for trial in live:
                if trial.status == status:
                    return trial
        return None


class WithinFamily(FirstComeFirstServed):
    """Ray's ASHA, one for each family, so that a trial is compared with its own kind only.

    Among all families, schedules that anneal late would be stopped while those that anneal early
    shine (arXiv 1803.02021, 2405.18392). Ray neither saves its rungs nor knows what an earlier
    process saw, so they are filled from the Optuna study; that a trial was condemned is on record
    there before it is stopped. One in ten goes on all the same, to see how many were condemned
    wrongly.
    """

    def __init__(self, optuna_trials: OptunaTrials, config: StudyConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._optuna_trials, self._config = optuna_trials, config
        self._condemned = optuna_trials.condemned()
        self._families: dict[str, Any] = {}
        for proposal, history in optuna_trials.finished():
            self.recall(proposal, history)

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()  # Ray pickles it, and nobody reads that

    def recall(self, proposal: Proposal, history: History) -> None:
        """Take in what an earlier process saw of a trial."""
        for record in history.epochs:
            self._falls_behind(proposal.family, proposal.number, record.epoch, record.val_metric)
        self.mark(proposal.number, history)

    def mark(self, number: int, history: History) -> None:
        """Write on a history whether its trial was condemned, and that it was stopped for it."""
        history.condemned = self._condemned.get(number)
        if history.condemned and not history.ended and not self._spared(number):
            history.status = "stopped"

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """CONTINUE, or STOP for a trial that falls behind its family."""
        number, epoch = trial_number(trial), result["epoch"]
        family = trial.config["run"]["family"]
        behind = self._falls_behind(family, number, epoch, result["metric"])
        if behind and number not in self._condemned:
            self._optuna_trials.condemn(number, epoch)
            self._condemned[number] = epoch
        stop = number in self._condemned and not self._spared(number)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]
    ) -> None:
        """Take in the last result of one that diverged; nothing else comes as news."""
        if result.get("epoch"):
            family = trial.config["run"]["family"]
            self._falls_behind(family, trial_number(trial), result["epoch"], result["metric"])

    def _falls_behind(self, family: str, number: int, epoch: int, metric: float) -> bool:
        """True if a trial is not among the best third of its family after the same epoch."""
        if family not in self._families:
            self._families[family] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="metric",
                mode="max" if self._optuna_trials.ranking.direction == "maximize" else "min",
                grace_period=max(1, round(self._config.training.epochs / KEPT**2)),
                reduction_factor=KEPT,
                max_t=self._config.training.epochs,
                stop_last_trials=False,
            )
        asha = self._families[family]
        # By our number: what Ray calls a trial changes from one process to the next.
        trial = SimpleNamespace(trial_id=number)
        asha.on_trial_add(None, trial)
        result = {"epoch": epoch, "metric": metric}
        return bool(asha.on_trial_result(None, trial, result) == TrialScheduler.STOP)

    def _spared(self, number: int) -> bool:
        entropy = (self._config.search.seed, number, zlib.crc32(b"spared"))
        return bool(np.random.SeedSequence(entropy).generate_state(1)[0] % SPARED == 0)


def trial_number(trial: RayTrial) -> int:
    """Optuna's number of a trial of Ray's."""
    return int(trial.config["trial"])


def trial_name(trial: RayTrial) -> str:
    """The name of a trial and of its folder."""
    return trial_folder(trial_number(trial))
