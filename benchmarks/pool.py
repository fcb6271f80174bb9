"""A pool of real runs, of which :mod:`benchmarks.allocation` makes its studies.

``python -m benchmarks.pool`` trains what the table lacks, three epochs of the LeNet each (an hour
on two cores), and writes ``benchmarks/pool.csv``, a row a run.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler

from search_spaces import FAMILIES, PeakRange, ScheduleFamily, select
from search_spaces.family import Extras, Parameters
from study.settings.study_config import StudyConfig
from study.system.command_line import exit_status
from study.tasks.builtin import mnist
from study.tasks.data import Data, SearchData
from study.tasks.task import Task
from study.training.history import RunConfig
from study.training.training_run import TrainingRun

POOL = Path(__file__).with_name("pool.csv")
EPOCHS, BATCH, CORES = 3, 128, 2
PEAK = 0.1
"""The peak rate of the families' defaults."""
UNTUNED = 8
"""Seeds of each family's default."""
DRAWN = 104
"""Random configurations of each family, a seed each."""


class Range(NamedTuple):
    """Ranges that random configurations are drawn from."""

    peak_lr: PeakRange
    extras: Extras


WARM = Range((0.01, 0.4), {"warmup_fraction": FloatDistribution(0.0, 0.3)})
COLD = Range((0.003, 0.3), {})
"""Every fourth: what a study without warm-ups draws from."""


SPACES: Mapping[str, Mapping[str, BaseDistribution]] = {
    "wsd_linear": {"cooldown_fraction": FloatDistribution(0.05, 0.5, log=True)},
    "cosine_warm_restarts": {
        "cycles": IntDistribution(2, 4),
        "growth": IntDistribution(1, 2),
        "end_ratio": FloatDistribution(1e-4, 0.1, log=True),
    },
}
"""The ranges of families that have had wider ones since the pool was made."""


class Run(NamedTuple):
    """One run of the pool."""

    number: int
    family: str
    kind: str
    """untuned or drawn, in the pool."""
    parameters: Parameters
    seed: int


def planned() -> Iterator[Run]:
    """All runs, the families in turn, so that a part of them is a pool as well."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    families = [_as_it_was(FAMILIES[name]) for name in select("classic")]
    drawn = optuna.create_study(sampler=RandomSampler(seed=0))
    for turn in range(UNTUNED + DRAWN):
        for place, family in enumerate(families):
            number = turn * len(families) + place
            if turn < UNTUNED:
                untuned = family.default(WARM.peak_lr, WARM.extras)
                parameters = {**untuned, "peak_lr": PEAK}
            else:
                peak_lr, extras = COLD if turn % 4 == 0 else WARM
                parameters = family.suggest(drawn.ask(), peak_lr, extras)
            kind = "untuned" if turn < UNTUNED else "drawn"
            yield Run(number, family.name, kind, parameters, number)


def _as_it_was(family: ScheduleFamily) -> ScheduleFamily:
    """A family with the ranges that the pool was drawn from."""
    space = SPACES.get(family.name, family.space)
    before: ScheduleFamily = type(family.name, (type(family),), {"space": space})()
    return before


def row(run: Run) -> dict[str, Any]:
    """The outcome of a run: accuracies after the last epoch, 0 where it diverged."""
    task, data, test = _loaded()
    config = RunConfig(run.family, run.parameters, run.seed, EPOCHS, BATCH)
    training = TrainingRun(task, data, config, test=test)
    while not training.history.ended:
        training.run_epoch()
    history = training.history
    completed = history.status == "completed"
    return {
        **run._asdict(),
        "parameters": json.dumps(run.parameters),
        "status": history.status,
        "val_accuracy": round(history.epochs[-1].val_metric, 6) if completed else 0.0,
        "test_accuracy": history.test_metric if completed else 0.0,
    }


@cache
def _loaded() -> tuple[Task, SearchData, Data]:
    torch.set_num_threads(1)
    task, where = mnist.make_task(), StudyConfig().machine.data_dir
    return task, task.load_search_data(where), task.load_test_data(where)


def train_missing(path: Path, runs: Iterable[Run]) -> None:
    """Train the runs that a table lacks, and add a row for each as it ends."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    there = {int(one["number"]) for one in csv.DictReader(lines)}
    missing = [run for run in runs if run.number not in there]
    with (
        path.open("a", encoding="utf-8", newline="") as file,
        ProcessPoolExecutor(CORES, get_context("spawn")) as workers,
    ):
        columns = [*Run._fields, "status", "val_accuracy", "test_accuracy"]
        table = csv.DictWriter(file, columns, lineterminator="\n")
        if not lines:
            table.writeheader()
        for one in workers.map(row, missing):
            table.writerow(one)
            file.flush()


def main(arguments: Sequence[str]) -> int:
    """Train what the table lacks."""
    train_missing(POOL, planned())
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
