"""Trial schedulers: one takes the next trial, the other stops some early, too."""

from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.execution.not_pickled import NotPickled
from study.search.early_stopping import EarlyStopping
from study.storage.checkpoint_store import trial_folder


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


class StopsEarly(NotPickled, FirstComeFirstServed):
    """Ends the trials that early stopping prunes.

    Ray's own ASHA neither saves its rungs nor knows what an earlier process saw.
    """

    def __init__(self, early_stopping: EarlyStopping) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._early_stopping = early_stopping

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        """CONTINUE, or STOP for a trial that falls behind its family."""
        stops = self._early_stopping.stops(*_news(trial, result))
        return str(TrialScheduler.STOP if stops else TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]
    ) -> None:
        """Take in the last result of one that diverged; nothing else comes as news."""
        if result.get("epoch"):
            self._early_stopping.falls_behind(*_news(trial, result))


def _news(trial: RayTrial, result: dict[str, Any]) -> tuple[str, int, int, float]:
    """Family, number, epoch and metric."""
    family = trial.config["run"]["family"]
    return family, trial_number(trial), result["epoch"], result["metric"]


def trial_number(trial: RayTrial) -> int:
    """Optuna's number of a trial of Ray's."""
    return int(trial.config["trial"])


def trial_name(trial: RayTrial) -> str:
    """The name of a trial and of its folder."""
    return trial_folder(trial_number(trial))
