"""Optuna proposes, Ray Tune executes."""

import math
import os
import re
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from study.system.user_folders import settle_home

# Ray reads most of these when it is imported, and its workers inherit them all. A user's own
# setting goes first.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # its change of default, announced at every start
    # A trial killed by the memory monitor ends the whole study, whatever max_failures says.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Under `uv run` it packs the folder and starts the workers by that command again, in another
    # environment, which is empty or another one than this process has.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # A Ray of our own listens on 127.0.0.1, as on macOS and Windows: the machine's address may
    # change while it runs, and nobody else is to reach it. One that is joined keeps its addresses.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # What it asks then is shown nowhere, and where Ray's head has died, it would wait for ever.
    "TUNE_STATE_REFRESH_PERIOD": "1000000000",
    # CSV, JSON and TensorBoard files of every trial: the tables hold it all.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # They would report home what is done with them; the loggers need it no more than Ray.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # it tells of every table of its database
    # Its old output is silent when told to be; the new one prints boxes all the same.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C is ours to answer.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Ray's own snapshots of the experiment: the ledger is the truth, and they are never read.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # glibc otherwise maps and unmaps every large activation: 5-15% of a training step.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
for _variable, _setting in _ENVIRONMENT.items():
    os.environ.setdefault(_variable, _setting)
settle_home()
# Of these, what the workers of a cluster need that somebody else has started.
_OF_WORKERS = ("RAY_CHDIR_TO_TRIAL_DIR", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

import numpy as np
import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper
from rich.console import Console

from study.cluster import LOCAL, Connection, Nodes, connect, fitted, slots
from study.search.interfaces import Agenda, Progress, Tables
from study.search.optuna_trials import Ledger
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_files import MANIFEST, CheckpointError, read_history
from study.storage.checkpoints import (
    attempts,
    delete,
    discard_superseded,
    find_checkpoint,
    trial_folder,
)
from study.storage.mirror import Mirror
from study.storage.storage_path import Place, RemotePath, absolute, native
from study.system.errors import ChangedTaskError, CutShortError, StudyError
from study.system.interrupt import Interrupt
from study.tasks.check_data import Load
from study.tasks.task import Data, Split
from study.tasks.task_source import TaskSource
from study.training.history import History
from study.trial import ScheduleTrial, share

KEPT = 3
"""One in so many goes on after a ninth and after a third of its horizon."""
SPARED = 10
"""One in so many of the condemned goes on, too."""
EQUAL_FAILURES = 3
"""So many equal ones, one after the other and before anything else, and the rest would fail too."""
WORKER_SECONDS = 60
"""That a job waits for its first worker before it says so."""
STUCK_SECONDS = 10
"""That the main thread has to see that Ray has died."""

# A string, which Ray's annotation of suggest() leaves out.
_NO_MORE: dict[str, Any] | None = Searcher.FINISHED  # type: ignore[assignment]


class RayLost(BaseException):
    """The Ray that runs the trials has died under them.

    Not an Exception: after one, Ray Tune would tidy up, and wait for what is gone.
    """


@dataclass(frozen=True)
class Job:
    """A number of training runs, what they train on, and everything that is told of them."""

    agenda: Agenda
    total: int
    """Runs in all, those of earlier processes included."""
    checkpoints: Place
    data: Sequence[Data]
    load: Load
    tables: Tables
    progress: Progress
    mirror: Mirror
    """Of the study: nothing is proposed or recorded for one that somebody else writes."""
    condemning: Ledger | None = None
    """Whose trials may be stopped early, by comparison within their family."""
    callbacks: Sequence[tune.Callback] = ()
    """Who else is told, by Ray."""


class Machine:
    """Executes jobs, on a Ray of our own or on a cluster.

    Args:
        config: the study's.
        source: of its task.
        interrupt: what may end it.
        again: what to type to go on with what was cut short.
    """

    def __init__(
        self,
        config: StudyConfig,
        source: TaskSource,
        interrupt: Interrupt,
        again: str = "the same command",
    ) -> None:
        self._config, self._source, self._interrupt = config, source, interrupt
        self._again = again
        # A thread that stays, since Ray's processes die with the one that started them.
        self._thread = ThreadPoolExecutor(1)
        self._started: Future[Connection] | None = None
        self._nodes: Nodes | None = None
        self._shared: dict[Split, ray.ObjectRef[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start or join Ray, in the background; :meth:`run` waits for it."""
        environment = {name: os.environ[name] for name in _OF_WORKERS}
        address = self._config.address
        self._started = self._started or self._thread.submit(connect, address, environment)

    def join(self) -> StudyConfig:
        """Join the cluster, now; returns the configuration that fits it.

        Raises:
            InputError: there is none, or it has no room for a trial.
        """
        self.start()
        assert self._started
        self._started.result()
        self._config = fitted(self._config)
        return self._config

    def stop(self) -> None:
        """End Ray, or leave the cluster."""
        if self._started:
            wait([self._started])
            ray.shutdown()
        self._started = None
        self._thread.shutdown()

    def run(self, job: Job) -> None:
        """Run a job until it is done or interrupted.

        What an earlier process left unfinished goes on from its newest checkpoint.

        Raises:
            StudyError: Ray does not start or has died, or the first runs failed alike, so that the
                rest would; or a node is not fit, or somebody else has taken the study over.
        """
        try:
            self._run(job)
        except CutShortError as error:
            raise StudyError(f"{error}; go on with: {self._again}") from error

    def _run(self, job: Job) -> None:
        execution = Execution(self._config, job, self._interrupt)
        with execution.cleaner:
            execution.adopt_unfinished()
            left = job.total - job.agenda.finished_count
            if left > 0 and not self._interrupt.stopping:
                self._execute(job, execution, left)
        if execution.error:
            raise execution.error

    def _execute(self, job: Job, execution: "Execution", left: int) -> None:
        self.start()
        assert self._started
        execution.connection = self._started.result()
        if self._config.address != LOCAL:
            execution.config = self.join()
        if self._config.address != LOCAL or self._config.storage:
            self._nodes = self._nodes or Nodes(absolute(self._config.place))
            self._nodes.prove(wait=True)
            execution.nodes = self._nodes
        # Listening anew, since Ray's core has put its own handler of SIGTERM into our place.
        with self._interrupt.listening(), self._watching(execution):
            try:
                _tuner(self._trainable(job), execution, left).fit()
            except RayLost as lost:
                raise CutShortError(str(lost)) from lost

    @contextmanager
    def _watching(self, execution: "Execution") -> Iterator[None]:
        """End this process where Ray has died and its core waits for it, in the main thread.

        Nothing can interrupt that. After a minute the core itself would end the process, in words
        of its own. Nothing is lost: a resume writes the tables from the ledger.
        """
        left = threading.Event()

        def watch() -> None:
            while not left.wait(1):
                try:
                    execution.check_ray()
                except RayLost as lost:
                    if not left.wait(STUCK_SECONDS):
                        console = Console(stderr=True, soft_wrap=True, highlight=False)
                        console.show_cursor()  # which the live display has hidden
                        console.print(f"error: {lost}; go on with: {self._again}", markup=False)
                        os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            left.set()

    def _trainable(self, job: Job) -> type[tune.Trainable]:
        config = self._config
        trainable = tune.with_parameters(
            ScheduleTrial,
            source=self._source,
            data=self._references(job.data),
            load=job.load,
            data_dir=config.data_dir.absolute(),
            threads=config.cpus_per_trial,
            device=config.device,
            storage=job.checkpoints if isinstance(job.checkpoints, RemotePath) else None,
        )
        resources = {"cpu": config.cpus_per_trial, "gpu": config.gpu_share}
        with_resources: type[tune.Trainable] = tune.with_resources(trainable, resources)
        return with_resources

    def _references(self, data: Sequence[Data]) -> list[ray.ObjectRef[Any]] | None:
        """The splits in the object store, where each is put once; None if one is no tensors."""
        splits = [split for split in data if isinstance(split, Split)]
        if len(splits) < len(data):
            return None
        for split in splits:
            if split not in self._shared:
                self._shared[split] = share(split)
        return [self._shared[split] for split in splits]


class Execution:
    """What the three parts that Ray calls share. Ray pickles them; of this, nothing is pickled."""

    def __init__(self, config: StudyConfig, job: Job, interrupt: Interrupt) -> None:
        self.config = config
        self.checkpoints = absolute(job.checkpoints)
        if isinstance(self.checkpoints, Path):
            self.checkpoints.mkdir(exist_ok=True)
        self.mirror = job.mirror
        # A storage is slow: nobody waits for what is deleted there.
        self.cleaner = ThreadPoolExecutor(8)
        self.agenda, self.tables, self.progress = job.agenda, job.tables, job.progress
        self._total = job.total
        self.callbacks = job.callbacks
        self.scheduler = WithinFamily(job.condemning, config) if job.condemning else None
        self.interrupt = interrupt
        self.nodes: Nodes | None = None
        self.connection: Connection | None = None
        self._next_look = 0.0
        self._worker_due = math.inf
        self._failures: list[str] | None = []
        self.adopted: list[tuple[Proposal, Place | None]] = []
        self.proposals: dict[int, Proposal] = {}
        self.running: set[int] = set()
        self.error: Exception | None = None

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    @property
    def stopping(self) -> bool:
        """Whether no trial is to begin any more."""
        return self.interrupt.stopping or self.error is not None

    def adopt_unfinished(self) -> None:
        """Queue the trials that an earlier process left, but those whose checkpoint is the last."""
        for proposal in self.agenda.unfinished():
            digest = self.digest(proposal)
            found, _ = find_checkpoint(self.checkpoints, proposal.number, digest, to_go_on=True)
            if found and self.scheduler:
                self.scheduler.recall(proposal, found.history)
            self.progress.adopted(len(found.history.epochs) if found else 0)
            if found and found.history.ended:
                self._record(proposal, found.history)
            else:
                self.adopted.append((proposal, found.folder if found else None))

    def next_trial(self) -> tuple[Proposal, Place | None]:
        """A proposal and the checkpoint to go on from; adopted ones go first."""
        self.mirror.check()
        proposal, found = self.adopted.pop(0) if self.adopted else (self.agenda.propose(), None)
        self.mirror.upload()
        if not self.proposals:
            self._worker_due = time.monotonic() + WORKER_SECONDS
        self.proposals[proposal.number] = proposal
        if isinstance(found, RemotePath) and not (found / MANIFEST).exists():
            # Whoever had the study before may have gone on with it until now.
            digest = self.digest(proposal)
            newest, _ = find_checkpoint(self.checkpoints, proposal.number, digest, to_go_on=True)
            found = newest.folder if newest else None
        return proposal, found

    def check_ray(self) -> None:
        """End Ray Tune at once where the Ray of our own has died: no epoch can be finished.

        Raises:
            RayLost: it has.
        """
        if self.connection and (lost := self.connection.lost()):
            raise RayLost(
                f"Ray has ended in the middle of the study: its {lost} is gone, maybe for lack of "
                f"memory; its logs are in {self.connection.logs}"
            )

    def started(self, number: int) -> None:
        """A worker has begun with a trial."""
        self._worker_due = math.inf
        self.running.add(number)
        self.progress.started(self.proposals[number])

    def look_around(self) -> None:
        """Prove nodes that have come, now and then, and write what came too soon after the last.

        And say, once, that no worker comes.
        """
        if self.connection and time.monotonic() >= self._worker_due:
            self._worker_due = math.inf
            self.progress.note(
                f"no worker has started after {WORKER_SECONDS} s: the machine is busy, or Ray "
                f"cannot start one; its logs are in {self.connection.logs}"
                + ("" if self.config.address == LOCAL else "; ray status says what it waits for")
            )
        if self.nodes and time.monotonic() >= self._next_look:
            self.nodes.prove(wait=False)
            self._next_look = time.monotonic() + 1
        self.tables.write_in_time()

    def finish(self, number: int, history: History) -> None:
        """Record the end of a trial. Ray would swallow an error: it ends the study instead."""
        try:
            self._record(self.proposals[number], history)
            self._check_failures(history)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the study with the first error, once the running epochs are finished."""
        self.error = self.error or error

    def at(self, path: str) -> Place:
        """What Ray calls so where it keeps the checkpoints."""
        if isinstance(self.checkpoints, RemotePath):
            return self.checkpoints.at(path)
        return Path(path)

    def digest(self, proposal: Proposal) -> str:
        """Of the run that the proposal stands for, to tell its checkpoints from another's."""
        return proposal.run_config(self.config).digest()

    def keep_newest(self, number: int, reported: Place) -> None:
        """Delete a running trial's earlier checkpoints."""
        self._discard(number, self.digest(self.proposals[number]), reported)

    def history_of(self, number: int) -> History:
        """How far a trial has come."""
        found, _ = find_checkpoint(self.checkpoints, number, self.digest(self.proposals[number]))
        return found.history if found else History()

    def _record(self, proposal: Proposal, history: History) -> None:
        self.mirror.check()
        self.agenda.finish(proposal.number, history)
        self._discard(proposal.number, self.digest(proposal))
        self.tables.add(proposal, history)
        self.progress.finished(proposal, history)

    def _check_failures(self, history: History) -> None:
        """End the study where the first runs of this process have all failed, and all alike.

        Raises:
            CutShortError: so it is, and there are more.
        """
        if self._failures is None or history.status != "failed":
            self._failures = None  # there was one that did not fail
            return
        # What may differ from one to the next: numbers, addresses, processes.
        reason = re.sub(r"\w*\d\w*", "#", history.error)
        self._failures = [one for one in self._failures if one == reason] + [reason]
        if len(self._failures) >= EQUAL_FAILURES and self.agenda.finished_count < self._total:
            raise CutShortError(
                f"the first {EQUAL_FAILURES} failed alike, with: {history.error}; mend that (a "
                "change of the task's own file needs another study, by another --name)"
            )

    def _discard(self, number: int, digest: str, reported: Place | None = None) -> None:
        if isinstance(self.checkpoints, RemotePath):
            self.cleaner.submit(discard_superseded, self.checkpoints, number, digest, reported)
        else:
            discard_superseded(self.checkpoints, number, digest, reported)


def _tuner(trainable: type[tune.Trainable], execution: Execution, num_trials: int) -> tune.Tuner:
    checkpoints = execution.checkpoints
    before = [int(folder.name.removeprefix("attempt-")) for folder in attempts(checkpoints)]
    filesystem = checkpoints.filesystem if isinstance(checkpoints, RemotePath) else None
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=LedgerSearcher(execution),
            num_samples=num_trials,
            # Without a limit, Ray asks a searcher of one's own for one trial at a time.
            max_concurrent_trials=slots(execution.config),
            scheduler=execution.scheduler or FirstComeFirstServed(),  # type: ignore[no-untyped-call]
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            storage_path=native(checkpoints),
            storage_filesystem=filesystem,
            name=f"attempt-{max(before, default=0) + 1:03d}",
            # Ray's own num_to_keep writes a snapshot of the whole experiment at every checkpoint.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=execution.config.max_failures),
            callbacks=[LedgerCallback(execution), *execution.callbacks],
            stop=InterruptStopper(execution),
            verbose=0,
        ),
    )


class LedgerSearcher(Searcher):
    """Ray's way to ask for the next trial."""

    def __init__(self, execution: Execution) -> None:
        super().__init__()
        self._execution = execution

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of :class:`~study.trial.ScheduleTrial`, or that there is no more."""
        if self._execution.stopping:
            return _NO_MORE
        try:
            proposal, checkpoint = self._execution.next_trial()
        except Exception as error:  # Ray would swallow it: it ends the study instead
            self._execution.fail(error)
            return _NO_MORE
        return {
            "trial": proposal.number,
            "run": asdict(proposal.run_config(self._execution.config)),
            "checkpoint": native(checkpoint) if checkpoint else None,
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
        self._execution.started(_number(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Pass it on."""
        if result["status"] != "failed":  # in the middle of an epoch
            self._execution.progress.advanced(result["samples"])

    def on_checkpoint(
        self,
        iteration: int,
        trials: list[RayTrial],
        trial: RayTrial,
        checkpoint: tune.Checkpoint,
        **info: Any,
    ) -> None:
        """Keep only the newest."""
        self._execution.keep_newest(_number(trial), self._execution.at(checkpoint.path))

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        """Look at what has come."""
        self._execution.check_ray()
        try:
            self._execution.look_around()
        except Exception as error:  # Ray would cut the running epochs off
            self._execution.fail(error)

    def on_trial_complete(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record how the trial ended, unless it was only interrupted, or has not even begun."""
        self._execution.running.discard(_number(trial))
        if refused := trial.last_result.get("refused"):
            self._execution.fail(ChangedTaskError(refused))
            if trial.checkpoint:  # of a run without an epoch, which nothing could go on from
                delete(self._execution.at(trial.checkpoint.path))
            return
        try:
            if trial.checkpoint is None:
                raise CheckpointError("it was never written")
            history = read_history(self._execution.at(trial.checkpoint.path))
        except CheckpointError as error:
            history = History(status="failed", error=f"its last checkpoint is lost: {error}")
        except OSError as error:  # a storage that does not answer says nothing of the trial
            self._execution.fail(error)
            return
        if self._execution.scheduler:
            self._execution.scheduler.mark(_number(trial), history)
        if history.ended:
            self._execution.finish(_number(trial), history)

    def on_trial_error(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any
    ) -> None:
        """Record a trial whose worker died once too often."""
        self._execution.check_ray()  # whose end says nothing of the trial
        self._execution.running.discard(_number(trial))
        try:
            history = self._execution.history_of(_number(trial))
        except OSError as error:
            self._execution.fail(error)
            return
        history.status = "failed"
        history.error = _last_line(trial.error_file) or "its worker died"
        self._execution.finish(_number(trial), history)


class FirstComeFirstServed(FIFOScheduler):
    """Ray's, which goes through all trials that ever were, twice, whenever it looks for one."""

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """The first that waits."""
        live: list[RayTrial] = sorted(tune_controller.get_live_trials(), key=_number)
        for status in (RayTrial.PENDING, RayTrial.PAUSED):
            for trial in live:
                if trial.status == status:
                    return trial
        return None


class WithinFamily(FirstComeFirstServed):
    """Ray's ASHA, one for each family, so that a trial is compared with its own kind only.

    Among all families, schedules that anneal late would be stopped while those that anneal early
    shine (arXiv 1803.02021, 2405.18392). Ray neither saves its rungs nor knows what an earlier
    process saw, so they are filled from the ledger; that a trial was condemned is on record there
    before it is stopped. One in ten goes on all the same, to see how many were condemned wrongly.
    """

    def __init__(self, ledger: Ledger, config: StudyConfig) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ledger, self._config = ledger, config
        self._condemned = ledger.condemned()
        self._families: dict[str, Any] = {}
        for proposal, history in ledger.finished():
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
        """Whether the trial goes on."""
        number, epoch = _number(trial), result["epoch"]
        family = trial.config["run"]["family"]
        behind = self._falls_behind(family, number, epoch, result["metric"])
        if behind and number not in self._condemned:
            self._ledger.condemn(number, epoch)
            self._condemned[number] = epoch
        stop = number in self._condemned and not self._spared(number)
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(
        self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]
    ) -> None:
        """Take in the last result of one that diverged; nothing else comes as news."""
        if result.get("epoch"):
            family = trial.config["run"]["family"]
            self._falls_behind(family, _number(trial), result["epoch"], result["metric"])

    def _falls_behind(self, family: str, number: int, epoch: int, metric: float) -> bool:
        """Whether a trial is not among the best third of its family after the same epoch."""
        if family not in self._families:
            self._families[family] = AsyncHyperBandScheduler(
                time_attr="epoch",
                metric="metric",
                mode="max" if self._ledger.ranking.direction == "maximize" else "min",
                grace_period=max(1, round(self._config.epochs / KEPT**2)),
                reduction_factor=KEPT,
                max_t=self._config.epochs,
                stop_last_trials=False,
            )
        asha = self._families[family]
        # By our number: what Ray calls a trial changes from one process to the next.
        trial = SimpleNamespace(trial_id=number)
        asha.on_trial_add(None, trial)
        result = {"epoch": epoch, "metric": metric}
        return bool(asha.on_trial_result(None, trial, result) == TrialScheduler.STOP)

    def _spared(self, number: int) -> bool:
        entropy = (self._config.seed, number, zlib.crc32(b"spared"))
        return bool(np.random.SeedSequence(entropy).generate_state(1)[0] % SPARED == 0)


class InterruptStopper(Stopper):
    """Ray's way to ask whether to go on."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop this trial, after its checkpoint."""
        return self._execution.stopping

    def stop_all(self) -> bool:
        """Whether to stop everything at once."""
        execution = self._execution
        # A trial that waits for an actor when the interruption comes would be waited for.
        return execution.interrupt.count > 1 or (execution.stopping and not execution.running)


def _last_line(file: str | None) -> str:
    """Of Ray's own record of an error; Trial.get_error() looks for it where it is not yet."""
    lines = Path(file).read_text().split("\n") if file and Path(file).exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _number(trial: RayTrial) -> int:
    return int(trial.config["trial"])


def _name(trial: RayTrial) -> str:
    return trial_folder(_number(trial))
