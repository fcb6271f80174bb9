"""Optuna proposes, Ray Tune executes."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

# Ray reads most of these when it is imported, and its workers inherit them all. A user's own
# setting goes first.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its change of default, announced at every start
    # Tensors in the object store are mapped by every worker, not copied.
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1",
    # A trial killed by the memory monitor ends the whole study, whatever max_failures says.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # CSV, JSON and TensorBoard files of every trial: the tables hold it all.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Its old output is silent when told to be; the new one prints boxes all the same.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C is ours to answer.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The ledger is the truth; Ray's own snapshots are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # glibc otherwise maps and unmaps every large activation: 5-15% of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
for _variable, _setting in _ENVIRONMENT.items():
    os.environ.setdefault(_variable, _setting)

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from study.checkpoint import CheckpointError, newest_checkpoint, read_history, trial_folder
from study.config import StudyConfig
from study.ledger import Ledger, Proposal
from study.results import ResultTables
from study.task import SearchData, Task
from study.training import History
from study.trial import ScheduleTrial

CHECKPOINTS = "checkpoints"
# A string, which Ray's annotation of suggest() leaves out.
_NO_MORE: dict[str, Any] | None = Searcher.FINISHED  # type: ignore[assignment]
WORKER_DEATHS = 3
"""A trial whose worker dies (not: whose code raises) goes on from its checkpoint so many times."""
GPU_SHARE = 0.25
"""Of a GPU, for each trial: a small network leaves most of one idle."""


class Progress(Protocol):
    """Whoever wants to know how the search goes."""

    def started(self, proposal: Proposal) -> None:
        """A trial has begun, or goes on."""

    def advanced(self, samples: int) -> None:
        """A trial has done one more epoch, of so many samples."""

    def finished(self, proposal: Proposal, history: History) -> None:
        """A trial has ended."""


class Interrupt:
    """Counts the interruptions: after one, running epochs are finished; after two, nothing is."""

    count = 0

    @contextmanager
    def listening(self) -> Iterator["Interrupt"]:
        """Answer SIGINT and SIGTERM with counting, as long as the block runs."""

        def count(signum: int, frame: FrameType | None) -> None:
            self.count += 1

        handlers = {
            number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield self
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def search(
    config: StudyConfig,
    task: Task,
    data: SearchData,
    ledger: Ledger,
    tables: ResultTables,
    progress: Progress,
    interrupt: Interrupt,
) -> None:
    """Run trials until the study has ``config.num_trials`` of them, or is interrupted.

    Trials that an earlier process left unfinished go on from their newest checkpoint, and are told
    to the ledger right away where that checkpoint shows them ended.
    """
    checkpoints = (config.folder / CHECKPOINTS).absolute()
    checkpoints.mkdir(exist_ok=True)
    adopted: list[tuple[Proposal, Path | None]] = []
    for proposal in ledger.unfinished():
        folder, history = newest_checkpoint(checkpoints, proposal.number) or (None, History())
        if history.ended:
            _record(proposal, history, ledger, tables, progress)
        else:
            adopted.append((proposal, folder))
    left = config.num_trials - ledger.finished_count
    if left <= 0:
        return

    with _ray(config) as (max_concurrent, gpus_per_trial):
        execution = Execution(checkpoints, ledger, tables, progress, interrupt, adopted)
        trainable = tune.with_resources(
            tune.with_parameters(
                ScheduleTrial,
                task=task,
                data=data,
                epochs=config.epochs,
                batch_size=config.batch_size,
                threads=config.cpus_per_trial,
                device="cuda" if gpus_per_trial else "cpu",
            ),
            {"cpu": config.cpus_per_trial, "gpu": gpus_per_trial},
        )
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=LedgerSearcher(execution),
                num_samples=left,
                max_concurrent_trials=max_concurrent,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                storage_path=str(checkpoints),
                name=f"attempt-{len(list(checkpoints.iterdir())) + 1:03d}",
                checkpoint_config=tune.CheckpointConfig(
                    num_to_keep=1, checkpoint_frequency=1, checkpoint_at_end=True
                ),
                failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                callbacks=[LedgerCallback(execution)],
                stop=InterruptStopper(execution),
                verbose=0,
            ),
        ).fit()
    if execution.error:
        raise execution.error


class Execution:
    """What the three parts that Ray calls share. Ray pickles them; of this, nothing is pickled."""

    def __init__(
        self,
        checkpoints: Path,
        ledger: Ledger,
        tables: ResultTables,
        progress: Progress,
        interrupt: Interrupt,
        adopted: list[tuple[Proposal, Path | None]],
    ) -> None:
        self.checkpoints = checkpoints
        self.ledger = ledger
        self.tables = tables
        self.progress = progress
        self.interrupt = interrupt
        self.adopted = adopted
        self.proposals: dict[int, Proposal] = {}
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def finish(self, trial: RayTrial, history: History) -> None:
        """Record the end of a trial. Ray would swallow an error: it ends the study instead."""
        try:
            _record(
                self.proposals[_number(trial)], history, self.ledger, self.tables, self.progress
            )
        except Exception as error:
            self.error = self.error or error


class LedgerSearcher(Searcher):
    """Ray's way to ask for the next trial. Adopted ones go first."""

    def __init__(self, execution: Execution) -> None:
        super().__init__()
        self._execution = execution

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of :class:`~study.trial.ScheduleTrial`, or that there is no more."""
        execution = self._execution
        if execution.interrupt.count or execution.error:
            return _NO_MORE
        checkpoint: Path | None = None
        try:
            if execution.adopted:
                proposal, checkpoint = execution.adopted.pop(0)
            else:
                proposal = execution.ledger.propose()
        except Exception as error:
            execution.error = error
            return _NO_MORE
        execution.proposals[proposal.number] = proposal
        return {
            "trial": proposal.number,
            "family": proposal.family,
            "parameters": dict(proposal.parameters),
            "seed": proposal.seed,
            "checkpoint": str(checkpoint) if checkpoint else None,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback, which knows the checkpoint, tells the ledger."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a resumed study reads the ledger."""


class LedgerCallback(tune.Callback):
    """Ray's way to say how trials go."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def on_trial_start(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Pass it on."""
        self._execution.progress.started(self._execution.proposals[_number(trial)])

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Pass it on."""
        self._execution.progress.advanced(result["samples"])

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record how the trial ended, unless it was only interrupted."""
        try:
            if trial.checkpoint is None:
                raise CheckpointError("it was never written")
            history = read_history(Path(trial.checkpoint.path))
        except CheckpointError as error:
            history = History(status="failed", error=f"its last checkpoint is lost: {error}")
        if history.ended:
            self._execution.finish(trial, history)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record a trial whose worker died once too often."""
        found = newest_checkpoint(self._execution.checkpoints, _number(trial))
        history = found[1] if found else History()
        history.status = "failed"
        history.error = str(trial.get_error() or "its worker died").strip().splitlines()[-1]
        self._execution.finish(trial, history)


class InterruptStopper(Stopper):
    """Ray's way to ask whether to go on."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop this trial, after its checkpoint."""
        return bool(self._execution.interrupt.count)

    def stop_all(self) -> bool:
        """Whether to stop everything at once."""
        return self._execution.interrupt.count > 1 or self._execution.error is not None


@contextmanager
def _ray(config: StudyConfig) -> Iterator[tuple[int, float]]:
    """A Ray of our own; yields how many trials run side by side and each one's share of a GPU."""
    # "local": without it, a stale address file makes this join somebody else's cluster.
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus, cpus = resources.get("GPU", 0.0), resources["CPU"]
        share = config.gpus_per_trial
        if share is None:
            share = GPU_SHARE if gpus else 0.0
        slots = int(cpus // config.cpus_per_trial)
        if share:
            slots = min(slots, int(gpus / share))
        yield config.max_concurrent or max(1, slots), share
    finally:
        ray.shutdown()


def _record(
    proposal: Proposal,
    history: History,
    ledger: Ledger,
    tables: ResultTables,
    progress: Progress,
) -> None:
    ledger.finish(proposal.number, history)
    tables.add(proposal, history)
    progress.finished(proposal, history)


def _number(trial: RayTrial) -> int:
    return int(trial.config["trial"])


def _name(trial: RayTrial) -> str:
    return trial_folder(_number(trial))
