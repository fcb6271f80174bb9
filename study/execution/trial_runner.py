"""Optuna proposes, Ray Tune executes."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Self

import ray
from ray import tune
from rich.console import Console

from study.execution.active_trials import Execution
from study.execution.capacity import LOCAL, fitted, slots
from study.execution.environment import OF_WORKERS
from study.execution.job import Job
from study.execution.node_checks import Nodes
from study.execution.ray_session import Connection, RayLost, connect
from study.execution.trainable import ScheduleTrial, WorkerSetup, share
from study.execution.trial_schedulers import FirstComeFirstServed, trial_name
from study.execution.tune_adapters import InterruptStopper, LedgerCallback, LedgerSearcher
from study.settings.study_config import StudyConfig
from study.storage.checkpoints import attempts
from study.storage.storage_path import RemotePath, absolute, native
from study.system.errors import CutShortError, StudyError
from study.system.interrupt import Interrupt
from study.tasks.task import Split, TrialData
from study.tasks.task_source import TaskSource

STUCK_SECONDS = 10
"""That the main thread has to see that Ray has died."""


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
        environment = {name: os.environ[name] for name in OF_WORKERS}
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
        worker = WorkerSetup(
            source=self._source,
            shared=self._references(job.data),
            load=job.load,
            data_dir=config.data_dir.absolute(),
            threads=config.cpus_per_trial,
            device=config.device,
            storage=job.checkpoints if isinstance(job.checkpoints, RemotePath) else None,
        )
        trainable = tune.with_parameters(ScheduleTrial, worker=worker)
        resources = {"cpu": config.cpus_per_trial, "gpu": config.gpu_share}
        with_resources: type[tune.Trainable] = tune.with_resources(trainable, resources)
        return with_resources

    def _references(self, data: TrialData) -> list[ray.ObjectRef[Any]] | None:
        """The splits in the object store, where each is put once; None if one is no tensors."""
        splits = [split for split in data.splits if isinstance(split, Split)]
        if len(splits) < len(data.splits):
            return None
        for split in splits:
            if split not in self._shared:
                self._shared[split] = share(split)
        return [self._shared[split] for split in splits]


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
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            storage_path=native(checkpoints),
            storage_filesystem=filesystem,
            name=f"attempt-{max(before, default=0) + 1:03d}",
            # Ray's own num_to_keep writes a snapshot of the whole experiment at every checkpoint.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=execution.config.max_failures),
            callbacks=[LedgerCallback(execution)],
            stop=InterruptStopper(execution),
            verbose=0,
        ),
    )
