"""The searcher, callback and stopper that Ray Tune calls."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from study.execution.active_trials import ActiveTrials
from study.execution.trial_schedulers import trial_number
from study.search.interfaces import NothingYetError
from study.storage.checkpoint_files import CheckpointError, read_history
from study.storage.storage_path import StoragePath
from study.system.errors import ChangedTaskError
from study.training.history import EpochRecord, History

# A string, which Ray's annotation of suggest() leaves out.
_NO_MORE: dict[str, Any] | None = Searcher.FINISHED  # type: ignore[assignment]


class TuneSearcher(Searcher):
    """Ray's way to ask for the next trial."""

    def __init__(self, active: ActiveTrials) -> None:
        super().__init__()
        self._active = active

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of a ScheduleTrial; none for now, or that there is no more."""
        if self._active.stopping:
            return _NO_MORE
        with self._active.first_error_ends_the_study():
            try:
                proposal, checkpoint = self._active.next_trial()
            except NothingYetError:
                return None if self._active.in_flight else _NO_MORE
            return {
                "trial": proposal.number,
                "run": asdict(proposal.run_config(self._active.config)),
                "checkpoint": checkpoint.path if checkpoint else None,
            }
        return _NO_MORE

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback, which knows the checkpoint, tells the Optuna study."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the Optuna study is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed study reads the Optuna study."""


class TuneCallback(tune.Callback):
    """Ray's way to say how trials go."""

    def __init__(self, active: ActiveTrials) -> None:
        self._active = active

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Pass it on."""
        self._active.started(trial_number(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Pass it on."""
        if result["record"]:  # else it failed in the middle of an epoch
            record = EpochRecord(**result["record"])
            self._active.advanced(trial_number(trial), record, result["samples"])

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        checkpoint: tune.Checkpoint,
        **info: Any,
    ) -> None:
        """Keep only the newest."""
        self._active.keep_newest(trial_number(trial), self._at(checkpoint))

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Look at what has come."""
        self._active.check_ray()
        with self._active.first_error_ends_the_study():
            self._active.look_around()

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record how the trial ended, unless it was only interrupted, or has not even begun."""
        self._active.running.discard(trial_number(trial))
        with self._active.first_error_ends_the_study():
            if refused := trial.last_result.get("refused"):
                if trial.checkpoint:  # of a run without an epoch, which nothing could go on from
                    self._at(trial.checkpoint).rmtree()
                raise ChangedTaskError(refused)
            history = self._last_history(trial)
            if self._active.early_stopping:
                self._active.early_stopping.mark(trial_number(trial), history)
            if history.ended:
                self._active.finish(trial_number(trial), history)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record a trial whose worker died once too often."""
        self._active.check_ray()  # whose end says nothing of the trial
        self._active.running.discard(trial_number(trial))
        with self._active.first_error_ends_the_study():
            history = self._active.history_of(trial_number(trial))
            history.status = "failed"
            history.error = _last_line(trial.error_file) or "its worker died"
            self._active.finish(trial_number(trial), history)

    def _at(self, checkpoint: tune.Checkpoint) -> StoragePath:
        return self._active.checkpoints.root.at(checkpoint.path)

    def _last_history(self, trial: RayTrial) -> History:
        """The history that a trial's last checkpoint has; of a failed trial where that is lost.

        Raises:
            OSError: the storage does not answer, which says nothing of the trial.
        """
        try:
            if trial.checkpoint is None:
                raise CheckpointError("it was never written")
            return read_history(self._at(trial.checkpoint))
        except CheckpointError as error:
            return History(status="failed", error=f"its last checkpoint is lost: {error}")


class InterruptStopper(Stopper):
    """Ray's way to ask whether to go on."""

    def __init__(self, active: ActiveTrials) -> None:
        self._active = active

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """True if this trial is to stop, after its checkpoint."""
        return self._active.stopping

    def stop_all(self) -> bool:
        """True if everything is to stop at once."""
        active = self._active
        # A trial that waits for an actor when the interruption comes would be waited for.
        return active.interrupt.count > 1 or (active.stopping and not active.running)


def _last_line(file: str | None) -> str:
    """Last line of Ray's record of an error; Trial.get_error() looks for it where it is not yet."""
    lines = (
        Path(file).read_text(encoding="utf-8").split("\n") if file and Path(file).exists() else []
    )
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
