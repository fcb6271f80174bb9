"""What the reproductions share: runs that are known beforehand, and a table of what they came to.

Each is a number of training runs through the study's own machine, so that what is interrupted goes
on when the same command is given again.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from analysis.figures.style import house_style, save
from analysis.statistics.intervals import mean_interval
from search_spaces import Parameters
from study.execution.trial_runner import TrialRunner
from study.execution.trial_set import TrialSet
from study.results.writer import FinalistTable
from study.search.proposal import Proposal
from study.settings.study_config import StudyConfig
from study.stages.confirming import load_all_data, open_test_split
from study.stages.display import Display, Workload
from study.stages.replicates import Planned
from study.storage.checkpoint_files import read_checkpoint
from study.storage.checkpoint_store import CheckpointStore
from study.storage.mirror import Mirror
from study.storage.storage_path import FINALISTS, StoragePath
from study.system.atomic_files import locked, write_atomically
from study.system.command_line import Folder, parse
from study.system.errors import StudyError
from study.system.hardware import describe_versions
from study.system.interrupt import Interrupt
from study.task import Split, Task
from study.tasks.check_data import load_search_data
from study.tasks.data import TrialData
from study.tasks.task_source import TaskSource
from study.training.batches import batches
from study.training.ensemble import ensemble_metrics, outputs
from study.training.history import History


@dataclass(frozen=True)
class Reproduction:
    """Measure what a paper claims, beside what it says; the same command goes on where it was."""

    quick: bool = False
    """Fewer seeds and epochs: whether it runs, not what it shows."""
    out: Folder = Path("results/reproductions")
    """Folder of all reproductions."""
    data_dir: Folder = field(default_factory=lambda: StudyConfig().machine.data_dir)
    """Folder of the data sets."""


class Run(NamedTuple):
    """One training run."""

    schedule: str
    """What the table calls it."""
    family: str
    """A family's name, or its import path."""
    parameters: Parameters
    epochs: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Result of a run that has completed or diverged."""

    run: Run
    history: History
    folder: StoragePath
    """Of its checkpoint."""

    @property
    def row(self) -> dict[str, Any]:
        """The numbers of it."""
        return {
            "schedule": self.run.schedule,
            "epochs": self.run.epochs,
            "seed": self.run.seed,
            "val_accuracy": self.val_accuracy,
            "test_accuracy": self.accuracy,
        }

    @property
    def val_accuracy(self) -> float:
        """On the validation split after the last epoch; below every other where it diverged."""
        completed = self.history.status == "completed"
        return self.history.epochs[-1].val_metric if completed else -math.inf

    @cached_property
    def state(self) -> dict[str, Any]:
        """Of :meth:`study.training.training_run.TrainingRun.state`, weights under ``model``."""
        return read_checkpoint(self.folder)[0]

    @property
    def accuracy(self) -> float:
        """On the test split, which no run is chosen by.

        Raises:
            StudyError: it diverged.
        """
        if self.history.test_metric is None:
            raise StudyError(f"{_named(self.run)}: {self.history.status}, so it has no test result")
        return self.history.test_metric


@dataclass(frozen=True)
class Bench:
    """Where a reproduction is made: what was typed, and its folder."""

    asked: Reproduction
    folder: Path

    @classmethod
    def parse(cls, name: str, arguments: Sequence[str]) -> "Bench":
        """From the command line of ``python -m reproductions.NAME``."""
        mpl.use("agg")
        asked = parse(Reproduction, f"python -m reproductions.{name}", arguments)
        return cls(asked, asked.out.absolute() / (f"{name}-quick" if asked.quick else name))

    def train(
        self, task: str, runs: Iterable[Run], batch_size: int = 128, task_args: tuple[str, ...] = ()
    ) -> list[Outcome]:
        """Train them, those of one length together, and measure each on the test split.

        Raises:
            InputError: the task cannot be used.
            KeyboardInterrupt: interrupted.
            StudyError: a run failed.
        """
        runs, outcomes = list(runs), []
        for epochs in sorted({run.epochs for run in runs}):
            own = [run for run in runs if run.epochs == epochs]
            config = StudyConfig.of(
                name=f"{epochs}-epochs",
                task=task,
                task_args=task_args,
                num_trials=len(own),
                epochs=epochs,
                batch_size=batch_size,
                out=self.folder,
                data_dir=self.asked.data_dir,
                finalists=0,
            )
            config.location.folder.mkdir(parents=True, exist_ok=True)
            with locked(config.location.folder / ".lock"):
                outcomes += _trained(config, own)
        return outcomes

    def splits(self, task: Task) -> dict[str, Split]:
        """Validation and test split: ``val``, ``test``."""
        _, validation = task.load_search_data(self.asked.data_dir)
        test = task.load_test_data(self.asked.data_dir)
        assert isinstance(validation, Split) and isinstance(test, Split), "tensors in memory"
        return {"val": validation, "test": test}

    def report(
        self,
        rows: Sequence[Mapping[str, Any]],
        table: Sequence[Sequence[str]],
        draw: Callable[[], Figure],
    ) -> int:
        """Write ``numbers.json``, ``table.md``, ``figure.png`` and ``.svg``; print the table.

        Args:
            rows: every number, with its seed.
            table: header and rows, as printed.
            draw: makes the figure; called under :func:`analysis.figures.style.house_style`.
        """
        lines = [f"| {' | '.join(row)} |" for row in table]
        lines.insert(1, "|---" * len(table[0]) + "|")
        content = {"quick": self.asked.quick, "versions": describe_versions(), "rows": list(rows)}
        write_atomically(self.folder / "numbers.json", json.dumps(content, indent=1).encode())
        write_atomically(self.folder / "table.md", "\n".join([*lines, ""]).encode())
        with plt.rc_context(house_style()):
            save(draw(), self.folder / "figure")
        print("\n".join(lines), f"-> {self.folder}", sep="\n")
        return 0


def percent(values: Iterable[float], interval: bool = True) -> str:
    """The mean, in percent, and its 95% interval if there is more than one value."""
    mean, low, high = (100 * end for end in mean_interval(np.array([*values])))
    return f"{mean:.2f} ({low:.2f} to {high:.2f})" if interval and low == low else f"{mean:.2f}"


def dots(axes: Axes, groups: Mapping[str, Sequence[float]]) -> None:
    """A row a group, a dot a run: test accuracies in percent."""
    for place, values in enumerate(groups.values()):
        axes.plot(100 * np.array(values), [place] * len(values), "o", ms=4, alpha=0.6)
    axes.set(xlabel="test accuracy (%)", ylim=(len(groups) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), groups)


def together(
    task: Task, members: Sequence[Mapping[str, Any]], split: Split
) -> tuple[list[Tensor], list[float]]:
    """What each of these weights puts out, and the accuracy of the first m, for m = 1, 2, ..."""
    every, targets = outputs(task.make_model(0), members, batches(split, 256, None))
    return every, [*ensemble_metrics(task, every, targets)]


def _trained(config: StudyConfig, runs: Sequence[Run]) -> list[Outcome]:
    """Train what is left of the runs, all of one length, in the folder that the config names."""
    source = TaskSource.read(config.training.task, config.training.task_args)
    task = source.make()
    data = load_search_data(task, config.machine.data_dir)
    planned = [
        Proposal(number, run.family, run.parameters, run.seed) for number, run in enumerate(runs)
    ]
    where, total = config.location, len(runs)
    place = where.open()
    checkpoints = CheckpointStore(place / FINALISTS)
    fixed, mirror = Planned(planned, checkpoints), Mirror(where.folder, place)
    places = {number: (number, run.seed) for number, run in enumerate(runs)}
    table = FinalistTable(where.folder, task.metric, places)
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    display = Display(Workload(total, config.training.epochs, kind="run"), task.metric, console)
    every = TrialData(data, open_test_split(task, config.machine.data_dir, data))
    trial_set = TrialSet(fixed, total, checkpoints, every, load_all_data, (table, display), mirror)
    interrupt = Interrupt()
    with TrialRunner(config, source, interrupt) as runner, interrupt.listening(), display:
        try:
            runner.run(trial_set)
        finally:
            table.flush()
    if interrupt.count:
        raise KeyboardInterrupt
    return [_outcome(run, checkpoints, one, config) for run, one in zip(runs, planned, strict=True)]


def _outcome(
    run: Run, checkpoints: CheckpointStore, planned: Proposal, config: StudyConfig
) -> Outcome:
    digest = planned.run_config(config).digest()
    found, _ = checkpoints.find(planned.number, digest)
    history = found.history if found else History("failed", error="its checkpoint is lost")
    if history.status not in ("completed", "diverged") or not found:
        raise StudyError(f"{_named(run)}: {history.status} {history.error}".strip())
    return Outcome(run, history, found.folder)


def _named(run: Run) -> str:
    return f"{run.schedule}, {run.epochs} epochs, seed {run.seed}"
