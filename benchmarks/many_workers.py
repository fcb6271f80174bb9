"""Section l: what one driver does for dozens of workers, and from that, for thousands.

The workers of a simulated cluster sleep, so that they are occupied and the processor is not.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, Scale
from benchmarks.processes import on_cores, run
from benchmarks.storage_server import BUCKET, counting_server
from search_spaces import GROUPS, SearchSpace
from study.search.optuna_trials import OptunaTrials
from study.search.trial_plan import Plan
from study.tasks.metric import ACCURACY
from study.training.history import EpochRecord, History

LATENCY = 0.025
"""That the storage adds to every request, in seconds, as one in the same region does."""
BATCH = 5
"""Proposals over which the sampler's time is taken."""
Found = Mapping[str, Any]


def many_workers(scale: Scale) -> list[Row]:
    """Trials of a second on more and more workers; longer ones, and a storage and a database.

    Measured once, since it takes minutes. A row that needs what is not installed says so.
    """
    rows = []
    with on_cores(2):
        for workers in scale.workers:
            rows += _rows(f"{workers} workers", workers, 1.0, _driver(workers, scale))
        few = scale.workers[-2]
        rows += _rows(f"{few} workers, 5 epochs", few, 2.0, _driver(few, scale, 5, 2.0))
        name, waiting = f"{few} workers, {scale.waiting:,} trials waiting", scale.waiting
        found = _driver(few, scale, 1, 1.0, {}, "--waiting", waiting)
        rows += _rows(name, few, 1.0, found)
        rows += _or_why_not("a database", lambda: _with_database(few, scale))
        rows += _or_why_not("a storage", lambda: _with_storage(few, scale))
        rows += _proposals(scale)
    return rows


def _driver(
    workers: int,
    scale: Scale,
    epochs: int = 1,
    seconds: float = 1.0,
    environment: dict[str, str] | None = None,
    *flags: object,
) -> Found:
    size = ("--workers", workers, "--trials", scale.trials_a_worker)
    length = ("--seconds", seconds, "--epochs", epochs)
    found: Found = run("benchmarks.driver", *size, *length, *flags, environment=environment).json
    return found


def _rows(name: str, workers: int, trial: float, found: Found) -> list[Row]:
    """Of the time between two looks at the driver."""
    trials, seconds, cpu = found["trials"], found["seconds"], found["driver"]
    rate, ideal = trials / seconds, workers / trial
    of_ideal = f"of {ideal:g} if nothing but a trial's {trial:g} s took time"
    after = found["all trials"]
    return [
        Row("l", f"{name}: trials ended", "1/s", (rate,), detail=of_ideal),
        Row("l", f"{name}: efficiency", "%", (100 * rate / ideal,)),
        Row("l", f"{name}: driver's CPU time a trial", "ms", (1000 * cpu / trials,)),
        Row("l", f"{name}: driver's share of a core", "%", (100 * cpu / seconds,)),
        Row("l", f"{name}: CPU time of Ray's GCS a trial", "ms", (1000 * found["gcs"] / trials,)),
        Row("l", f"{name}: journal a trial", "KB", (found["journal"] / after / 1000,)),
        Row("l", f"{name}: tables a trial", "KB", (found["tables"] / after / 1000,)),
        Row("l", f"{name}: driver's memory", "MB", (found["memory"] / 1e6,)),
    ]


def _with_database(workers: int, scale: Scale) -> list[Row]:
    from tests.study.search.test_database import PASSWORD, Server, programs

    found = programs()
    if found is None:
        raise ModuleNotFoundError("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="lr-pg-") as folder:
        server = Server(found, Path(folder))
        server.start()
        try:
            flags = ("--optuna-storage", server.url())
            measured = _driver(workers, scale, 1, 1.0, {"PGPASSWORD": PASSWORD}, *flags)
        finally:
            server.stop()
    name = f"{workers} workers, PostgreSQL"
    statements = measured["statements"] / measured["trials"]
    asked = Row("l", f"{name}: statements a trial", "", (statements,))
    return [*_rows(name, workers, 1.0, measured), asked]


def _with_storage(workers: int, scale: Scale) -> list[Row]:
    rows = []
    # Slower, since moto's server takes its turns on the same cores.
    for epochs, count in ((1, workers), (5, min(4, workers))):
        with counting_server(LATENCY) as (address, variables):
            flags = ("--storage", f"s3://{BUCKET}/many", "--requests", address)
            few = replace(scale, trials_a_worker=min(scale.trials_a_worker, 5))
            seconds = 2.0 if epochs == 1 else 5.0
            found = _driver(count, few, epochs, seconds, variables, *flags)
        name = f"{count} workers, {epochs} epoch{'s' * (epochs > 1)}, S3"
        rows += _rows(name, count, seconds, found)
        trials, waited, asked = found["trials"], found["waited for"], found["requests"]
        values = {
            "requests of the driver": asked["driver requests"] / trials,
            "requests of a worker": asked["worker requests"] / trials,
            "calls that the driver waits for": waited["requests"] / trials,
        }
        rows += [Row("l", f"{name}: {what} a trial", "", (n,)) for what, n in values.items()]
        wait = 1000 * waited["seconds"] / trials
        rows.append(Row("l", f"{name}: driver's wait for them a trial", "ms", (wait,)))
    return rows


def _proposals(scale: Scale) -> Iterator[Row]:
    """What a proposal takes while more and more others run: TPE counts them as bad trials."""
    for running in scale.running:
        with tempfile.TemporaryDirectory() as folder:
            space = SearchSpace(GROUPS["classic"], (3e-3, 0.3), {})
            filling = OptunaTrials(Path(folder), Plan(space, sampler="random"), ACCURACY, seed=0)
            for _ in range(100):
                history = EpochRecord(1, 390, 0.01, 0.1, 0.1, random.random(), 2.7)
                filling.finish(filling.propose().number, History("completed", [history]))
            for _ in range(running):
                filling.propose()
            asking = OptunaTrials(Path(folder), Plan(space), ACCURACY, seed=0, resuming=True)
            asking.propose()
            began = time.process_time()
            for _ in range(BATCH):
                asking.propose()
            each = 1000 * (time.process_time() - began) / BATCH
        yield Row("l", f"a proposal while {running:,} trials run", "ms", (each,))


def _or_why_not(what: str, measure: Callable[[], list[Row]]) -> list[Row]:
    try:
        return measure()
    except ModuleNotFoundError as error:
        return [Row("l", f"with {what}", detail=f"not installed: {error}")]
