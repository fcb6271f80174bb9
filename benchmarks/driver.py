"""A study of sleeping workers on a simulated cluster, and what its driver took meanwhile.

A process of its own, so that its times are the driver's alone: workers, Ray's servers and the
storage are other processes.
"""

import contextlib
import json
import os
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro

# First, since it sets what Ray's processes inherit.
from study.execution.trial_runner import TrialRunner  # isort: skip
from ray import tune
from ray.cluster_utils import Cluster

from benchmarks.sleeper import Sleeper
from search_spaces import GROUPS, SearchSpace
from study.execution.trial_set import TrialSet
from study.results.study_record import STUDY_JSON
from study.results.writer import ResultTables
from study.search.interfaces import TrialObserver
from study.search.journal_file import JOURNAL
from study.search.optuna_trials import OptunaTrials, optuna_store
from study.search.proposal import Proposal
from study.search.trial_plan import Plan
from study.settings.study_config import StudyConfig
from study.storage.checkpoint_store import CheckpointStore
from study.storage.mirror import Mirror
from study.storage.storage_path import CHECKPOINTS, StoragePath
from study.system.interrupt import Interrupt
from study.tasks.data import SearchData, Split, TrialData
from study.tasks.metric import ACCURACY
from study.tasks.task_source import TaskSource
from study.training.history import History

WORKERS_A_NODE = 16
MEGABYTE = 2**20
SPACE = SearchSpace(GROUPS["classic"], (3e-3, 0.3), {})


class Sleepers(TrialRunner):
    """The study's machine, whose workers sleep."""

    parameters: dict[str, Any]

    def _trainable(self, trial_set: TrialSet) -> type[tune.Trainable]:
        trainable = tune.with_parameters(Sleeper, **self.parameters)
        with_resources: type[tune.Trainable] = tune.with_resources(trainable, {"cpu": 1})
        return with_resources


class Watch(TrialObserver):
    """Looks at the driver once all workers have ended a trial, and before the first has no next.

    What waits after that is not run.
    """

    def __init__(self, config: StudyConfig, waiting: int, requests: str | None) -> None:
        self._workers = (config.machine.max_concurrent or 0) - waiting
        self._folder = config.location.folder
        self._last, self._requests = config.search.num_trials - waiting - self._workers, requests
        self.interrupt = Interrupt()
        self._seen: set[str] = set()
        self._ended = 0
        self.looks: list[dict[str, Any]] = []
        self.statements = 0

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """Count."""
        self._seen.add(history.node)
        self._ended += 1
        if not self.looks and len(self._seen) == self._workers:
            self.looks.append(self._look())
        elif len(self.looks) == 1 and self._ended >= self._last:
            self.looks.append(self._look())
            self.interrupt.count = 1

    def _look(self) -> dict[str, Any]:
        servers = [one for one in psutil.process_iter(["name"]) if _is_ours(one)]
        look: dict[str, Any] = {"trials": self._ended, "seconds": time.perf_counter()}
        look |= {"driver": time.process_time(), "gcs": sum(map(_cpu_seconds, servers))}
        look |= {"memory": psutil.Process().memory_info().rss, "statements": self.statements}
        journal = self._folder / JOURNAL
        look["journal"] = journal.stat().st_size if journal.exists() else 0
        look["tables"] = sum(path.stat().st_size for path in self._folder.glob("*.parquet"))
        look["waited for"] = dict(_waited)
        if self._requests:
            with urllib.request.urlopen(f"{self._requests}/counted") as answer:
                look["requests"] = json.load(answer)
        return look


_waited = {"requests": 0, "seconds": 0.0}


def _count_waiting() -> None:
    """Count what the driver's main thread asks the storage for: nothing goes on meanwhile."""

    def counted(name: str) -> None:
        original = getattr(StoragePath, name)

        def call(*arguments: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return original(*arguments)
            began = time.perf_counter()
            try:
                return original(*arguments)
            finally:
                _waited["requests"] += 1
                _waited["seconds"] += time.perf_counter() - began

        setattr(StoragePath, name, call)

    for name in ("exists", "size", "read_bytes", "write_bytes", "_infos", "unlink", "rmtree"):
        counted(name)


def _count_statements(watch: Watch) -> None:
    import sqlalchemy

    def count(*arguments: object) -> None:
        watch.statements += 1

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)


def _is_ours(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.info["name"] == "gcs_server" and process.ppid() == os.getpid())
    return False


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[str]:
    """The address of so many simulated CPUs, on as few nodes as there may be."""
    node = {"object_store_memory": 80 * MEGABYTE, "include_dashboard": False}
    sizes = [min(WORKERS_A_NODE, workers - k) for k in range(0, workers, WORKERS_A_NODE)]
    head = {**node, "num_cpus": sizes[0]}
    simulated = Cluster(initialize_head=True, head_node_args=head)
    try:
        for size in sizes[1:]:
            simulated.add_node(num_cpus=size, object_store_memory=80 * MEGABYTE)
        yield str(simulated.address)
    finally:
        simulated.shutdown()  # type: ignore[no-untyped-call]


def main(
    workers: int,
    trials: int,
    seconds: float,
    epochs: int = 1,
    waiting: int = 0,
    storage: str | None = None,
    requests: str | None = None,
    optuna_storage: str | None = None,
) -> None:
    """Run the study and print what happened between two looks at the driver.

    Args:
        workers: side by side.
        trials: that each of them runs.
        seconds: that a trial sleeps.
        epochs: of a trial.
        waiting: trials besides, which have been proposed and wait for a worker.
        storage: where the study lives.
        requests: the server of that storage, which counts.
        optuna_storage: where the Optuna study is.
    """
    with tempfile.TemporaryDirectory(prefix="lr-") as short:
        os.environ["RAY_TMPDIR"] = short
        folder, meeting = Path(short), Path(short, "meeting")
        meeting.mkdir()
        os.environ["AWS_EXECUTION_ENV"] = "worker"  # which their requests say of them
        with cluster(workers) as address:
            os.environ["AWS_EXECUTION_ENV"] = "driver"
            config = StudyConfig.of(
                name="study",
                out=folder,
                task="digits",
                num_trials=trials * workers + waiting,
                epochs=epochs,
                max_concurrent=workers + waiting,
                gpus_per_trial=0,
                address=address,
                storage=storage,
                optuna_storage=optuna_storage,
            )
            config.location.folder.mkdir()
            watch = Watch(config, waiting, requests)
            _count_waiting()
            _count_statements(watch)
            with Sleepers(config, TaskSource.read("digits", ()), watch.interrupt) as runner:
                runner.parameters = {"workers": workers, "seconds": seconds, "meeting": meeting}
                _search(runner, runner.join(), watch)
    first, last = watch.looks
    found = {name: _between(first[name], last[name]) for name in first}
    found |= {name: last[name] for name in ("memory", "journal", "tables")}
    print(json.dumps({**found, "all trials": last["trials"]}))


def _search(runner: TrialRunner, config: StudyConfig, watch: Watch) -> None:
    """As :mod:`study.run` does."""
    (config.location.folder / STUDY_JSON).write_text("{}")
    mirror = Mirror(config.location.folder, config.location.open())
    mirror.pull(to_write=True)
    mirror.push()
    optuna_trials = OptunaTrials(
        optuna_store(config.location), Plan(SPACE), ACCURACY, config.search.seed
    )
    tables = ResultTables(config.location.folder, SPACE, push=mirror.push)
    checkpoints = CheckpointStore(mirror.where / CHECKPOINTS)
    observers = (tables, watch)
    nothing = TrialData(SearchData(*[Split(torch.empty(0), torch.empty(0))] * 2))
    parts = (
        optuna_trials,
        config.search.num_trials,
        checkpoints,
        nothing,
        lambda *_: nothing,
        observers,
    )
    runner.run(TrialSet(*parts, mirror))


def _between(first: Any, last: Any) -> Any:
    if isinstance(last, dict):
        return {name: _between(first.get(name, 0), last[name]) for name in last}
    return last - first


if __name__ == "__main__":
    tyro.cli(main)
