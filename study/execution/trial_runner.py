"""Optuna proposes, Ray Tune executes."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import ray
from ray import tune
from rich.console import Console

from study.execution.active_trials import ActiveTrials
from study.execution.capacity import LOCAL, fit_to_cluster, max_parallel
from study.execution.environment import OF_WORKERS
from study.execution.node_checks import Nodes
from study.execution.ray_session import Connection, RayLost, connect
from study.execution.trainable import ScheduleTrial, WorkerSetup, put_split
from study.execution.trial_schedulers import FirstComeFirstServed, StopsEarly, trial_name
from study.execution.trial_set import TrialSet
from study.execution.tune_adapters import InterruptStopper, TuneCallback, TuneSearcher
from study.settings.study_config import StudyConfig
from study.system.errors import CutShortError, StudyError
from study.system.hardware import usable_gpus
from study.system.interrupt import Interrupt
from study.tasks.data import Split, TrialData
from study.tasks.task_source import TaskSource

STUCK_SECONDS = 10
"""That the main thread has to see that Ray has died."""


class TrialRunner:
    """Runs sets of trials, on a Ray of our own or on a cluster.

    Args:
        config: the study's.
        source: of its task.
        interrupt: what may end it.
        again: what to type to resume what was cut short.
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
        self._shared: list[tuple[Split, ray.ObjectRef[Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start or join Ray, in the background; :meth:`run` waits for it."""
        environment = {name: os.environ[name] for name in OF_WORKERS}
        machine = self._config.machine
        gpus = usable_gpus(machine.accelerator)
        self._started = self._started or self._thread.submit(
            connect, machine.address, gpus, environment
        )

    def join(self) -> StudyConfig:
        """Join the cluster, now; returns the configuration that fits it.

        Raises:
            InputError: there is none, or it has no room for a trial.
        """
        self.start()
        assert self._started
        self._started.result()
        self._config = replace(self._config, machine=fit_to_cluster(self._config.machine))
        return self._config

    def stop(self) -> None:
        """End Ray, or leave the cluster."""
        if self._started:
            wait([self._started])
            ray.shutdown()
        self._started = None
        self._thread.shutdown()

    def run(self, trial_set: TrialSet) -> None:
        """Run a set of trials until it is done or interrupted.

        What an earlier process left unfinished resumes from its newest checkpoint.

        Raises:
            StudyError: Ray does not start or has died, or the first runs failed alike, so that the
                rest would; or a node is not fit, or somebody else has taken the study over.
        """
        try:
            self._run(trial_set)
        except CutShortError as error:
            raise StudyError(f"{error}; resume with: {self._again}") from error

    def _run(self, trial_set: TrialSet) -> None:
        active = ActiveTrials(self._config, trial_set, self._interrupt)
        with active.cleaner:
            active.resume_unfinished()
            left = trial_set.total - trial_set.source.finished_count
            if left > 0 and not self._interrupt.stopping:
                self._execute(trial_set, active, left)
        if active.error:
            raise active.error

    def _execute(self, trial_set: TrialSet, active: "ActiveTrials", left: int) -> None:
        self.start()
        assert self._started
        active.connection = self._started.result()
        if self._config.machine.address != LOCAL:
            active.config = self.join()
        if self._config.machine.address != LOCAL or self._config.location.storage:
            self._nodes = self._nodes or Nodes(active.mirror.where)
            self._nodes.check(wait=True)
            active.nodes = self._nodes
        # Listening anew, since Ray's core has put its own handler of SIGTERM into our place.
        with self._interrupt.listening(), self._watching(active):
            try:
                _tuner(self._trainable(trial_set), active, left).fit()
            except RayLost as lost:
                raise CutShortError(str(lost)) from lost

    @contextmanager
    def _watching(self, active: "ActiveTrials") -> Iterator[None]:
        """End this process where Ray has died and its core waits for it, in the main thread.

        Nothing can interrupt that. After a minute the core itself would end the process, in words
        of its own. Nothing is lost: a resume writes the tables from the Optuna study.
        """
        left = threading.Event()

        def watch() -> None:
            while not left.wait(1):
                try:
                    active.check_ray()
                except RayLost as lost:
                    if not left.wait(STUCK_SECONDS):
                        console = Console(stderr=True, soft_wrap=True, highlight=False)
                        console.show_cursor()  # which the live display has hidden
                        console.print(f"error: {lost}; resume with: {self._again}", markup=False)
                        os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            left.set()

    def _trainable(self, trial_set: TrialSet) -> type[tune.Trainable]:
        config = self._config
        worker = WorkerSetup(
            source=self._source,
            shared=self._references(trial_set.data),
            load=trial_set.load,
            data_dir=config.machine.data_dir.absolute(),
            threads=config.machine.cpus_per_trial,
            device=config.machine.device_type,
            checkpoints=trial_set.checkpoints.root,
        )
        trainable = tune.with_parameters(ScheduleTrial, worker=worker)
        resources = {"cpu": config.machine.cpus_per_trial, "gpu": config.machine.gpu_share}
        with_resources: type[tune.Trainable] = tune.with_resources(trainable, resources)
        return with_resources

    def _references(self, data: TrialData) -> list[ray.ObjectRef[Any]] | None:
        """The splits in the object store, where each is put once; None if one is no tensors."""
        splits = [split for split in data.splits if isinstance(split, Split)]
        if len(splits) < len(data.splits):
            return None
        return [self._reference(split) for split in splits]

    def _reference(self, split: Split) -> "ray.ObjectRef[Any]":
        for known, reference in self._shared:
            if known is split:
                return reference
        reference = put_split(split)
        self._shared.append((split, reference))
        return reference


def _tuner(trainable: type[tune.Trainable], active: ActiveTrials, num_trials: int) -> tune.Tuner:
    checkpoints, stopping = active.checkpoints, active.early_stopping
    before = [int(folder.name.removeprefix("attempt-")) for folder in checkpoints.attempts()]
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=TuneSearcher(active),
            num_samples=num_trials,
            # Without a limit, Ray asks a searcher of one's own for one trial at a time.
            max_concurrent_trials=max_parallel(active.config.machine),
            scheduler=StopsEarly(stopping) if stopping else FirstComeFirstServed(),  # type: ignore[no-untyped-call]
            reuse_actors=True,
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=tune.RunConfig(
            storage_path=checkpoints.root.path,
            storage_filesystem=checkpoints.root.filesystem if checkpoints.root.is_remote else None,
            name=f"attempt-{max(before, default=0) + 1:03d}",
            # Ray's own num_to_keep writes a snapshot of the whole experiment at every checkpoint.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=active.config.machine.max_failures),
            callbacks=[TuneCallback(active)],
            stop=InterruptStopper(active),
            verbose=0,
        ),
    )
