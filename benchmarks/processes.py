"""Commands and studies that are measured from the outside."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.measure import FULL, Scale
from study.search.journal_file import JOURNAL
from study.system.errors import StudyError
from study.training.history import History

ROOT = Path(__file__).parent.parent
STUB = str(Path(__file__).with_name("stub.py"))
PEAK_RATES = (0.01, 0.06)
"""At which no run of the LeNet diverges, which would end it before its time."""
CORES = 2
PAUSE = 0.25


class Finished(NamedTuple):
    """A command that has ended well."""

    began: float
    """By the clock, in seconds."""
    seconds: float
    output: str

    @property
    def json(self) -> Any:
        """The last line that is a JSON object: libraries have their say before and after it."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return json.loads(lines[-1])


def run(
    module: str,
    *arguments: object,
    watch: Callable[[int], None] | None = None,
    environment: dict[str, str] | None = None,
) -> Finished:
    """``python -m module arguments`` until it ends; ``watch`` sees its process now and then.

    Raises:
        StudyError: it failed, with the last line that it printed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    variables = {**os.environ, **(environment or {})}
    began, started = time.time(), time.perf_counter()
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as log,
        subprocess.Popen(command, env=variables, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            while watch and process.poll() is None:
                watch(process.pid)
                time.sleep(PAUSE)
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
        seconds = time.perf_counter() - started
        log.seek(0)
        output = log.read()
    if status:
        last = (output.strip().splitlines() or ["it printed nothing"])[-1]
        raise StudyError(f"{module} ended with status {status}: {last}")
    return Finished(began, seconds, output)


@contextmanager
def study(
    *flags: object,
    watch: Callable[[int], None] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[tuple[Finished, Path]]:
    """A whole study without finalists, on two cores, and its folder."""
    with tempfile.TemporaryDirectory() as out, on_cores(CORES):
        arguments = ("--out", out, "--name", "study", "--finalists", 0, *flags)
        yield run("study.run", *arguments, watch=watch, environment=environment), Path(out, "study")


def samples_of_mnist(scale: Scale) -> tuple[object, ...]:
    """The flags for the task of so many samples, whose first training step can be watched."""
    return "--task", f"{STUB}:make_mnist", "--task-args", f"samples={scale.samples}"


def mnist(scale: Scale) -> tuple[object, ...]:
    """The flags of a study of MNIST, or of a part of it, in which no trial diverges."""
    whole = scale.samples == FULL.samples
    task = ("--task", "mnist") if whole else samples_of_mnist(scale)
    return *task, "--peak-lr", ",".join(map(str, PEAK_RATES))


class Ended(NamedTuple):
    """A trial of a study."""

    time: float
    """When Optuna was told, by the clock, in seconds."""
    train_seconds: float
    """In its epochs, evaluation included."""


def ended_trials(folder: Path, epochs: int) -> list[Ended]:
    """Those of a study, in the order in which they ended.

    Raises:
        StudyError: one ended before its last epoch, so that it cannot be compared.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str((folder / JOURNAL).absolute())))
    trials = []
    for trial in optuna.load_study(study_name=None, storage=storage).get_trials(deepcopy=False):
        assert trial.datetime_complete
        history = History.from_json(trial.user_attrs["history"])
        if len(history.epochs) < epochs:
            raise StudyError(f"trial {trial.number} {history.status} before its last epoch")
        seconds = sum(record.seconds for record in history.epochs)
        trials.append(Ended(trial.datetime_complete.timestamp(), seconds))
    return sorted(trials)


@contextmanager
def on_cores(count: int) -> Iterator[int]:
    """Hold what is started meanwhile to so many cores, or to as many as there are.

    The last ones, since the first is where most systems answer their interrupts.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield min(count, os.cpu_count() or 1)
        return
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[-count:]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, allowed)
