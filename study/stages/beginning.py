"""The record of a study that begins."""

import dataclasses
import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import SearchSpace, select
from study.results.stored_space import StoredSpace, store_space
from study.results.study_record import StoredTask, StudyRecord
from study.settings.study_config import OF_ONE_RUN, StudyConfig
from study.system.hardware import describe_hardware, describe_versions
from study.tasks.metric import Ranking
from study.tasks.task import SearchData, Task
from study.tasks.task_source import TaskSource
from study.training.history import RunConfig
from study.training.lr_finder import range_test


@dataclass(frozen=True)
class Prepared:
    """A task and its data that have passed their checks."""

    source: TaskSource
    task: Task
    data: SearchData
    horizon: int
    """Optimizer steps of a whole run."""
    trace: dict[str, Any]
    """Digests of its data and first steps."""


def begin(
    config: StudyConfig,
    prepared: Prepared,
    like: StudyRecord | None,
    optuna_study: str | None = None,
) -> StudyRecord:
    """The record of a study that begins now.

    Args:
        config: as it was typed: where the study is resumed, another share of a GPU may be right.
        prepared: what it trains.
        like: the record of a study whose search space is taken over.
        optuna_study: the name of the Optuna study. Default: the study's own.

    Raises:
        InputError: the peak rates are to be found by a range test, and it finds none.
    """
    space, tested = (like.search_space, like.range_test) if like else _space(config, prepared)
    return StudyRecord(
        config=_options(config),
        optuna_study=optuna_study or config.name,
        seed=config.seed,
        task=stored_task(prepared),
        metric=Ranking(**prepared.task.metric.to_json()),
        search_space=space,
        range_test=tested,
        total_steps=prepared.horizon,
        trace=prepared.trace,
        versions=describe_versions(),
        hardware=describe_hardware(),
        command=shlex.join(["python", *sys.orig_argv[1:]]),
    )


def stored_task(prepared: Prepared) -> StoredTask:
    """A task as study.json has it."""
    source = prepared.source
    digest = hashlib.sha256(source.text.encode()).hexdigest()
    arguments = list(source.arguments)
    return StoredTask(prepared.task.name, source.spec, arguments, digest, source.text)


def _space(
    config: StudyConfig, prepared: Prepared
) -> tuple[StoredSpace, list[dict[str, Any]] | None]:
    """The search space, and the range test of which it comes, if it does."""
    tested = None
    peak_lr = config.peak_range() or prepared.task.peak_range(config.optimizer)
    if config.peak_lr == "auto":
        parameters = {"optimizer": config.optimizer}
        run = RunConfig("constant", parameters, config.seed, config.epochs, config.batch_size)
        tested = range_test(prepared.task, prepared.data, run, config.device_here)
        peak_lr = tested.peak_lr
    space = SearchSpace(select(config.families), peak_lr, config.extras())
    return store_space(space), tested.to_json() if tested else None


def _options(config: StudyConfig) -> dict[str, Any]:
    """Options by their names, but those of one run of the command; paths as text."""
    return {
        field.name: str(value) if isinstance(value, Path) else value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
        if field.name not in OF_ONE_RUN
    }
