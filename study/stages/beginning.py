"""The record of a study that begins."""

import hashlib
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces import FAMILIES, SearchSpace, select
from search_spaces.decay import LinearToZero
from search_spaces.knots import Refined
from study.results.stored_recipe import StoredRecipe
from study.results.stored_space import store_space
from study.results.study_record import StoredSpace, StoredTask, StudyRecord
from study.settings.study_config import StudyConfig
from study.system import command_line
from study.system.hardware import describe_hardware, describe_versions
from study.tasks.data import SearchData
from study.tasks.gradients import GradientNorms
from study.tasks.ranking import Ranking
from study.tasks.task import Task
from study.tasks.task_source import TaskSource
from study.training.gradient_norms import gradient_norms
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
    gradients = like.gradient_norms if like else _gradient_norms(config, prepared, space)
    return StudyRecord(
        config=_options(config),
        optuna_study=optuna_study or config.location.name,
        seed=config.search.seed,
        task=stored_task(prepared),
        metric=Ranking(**prepared.task.metric.to_json()),
        search_space=space,
        range_test=tested,
        total_steps=prepared.horizon,
        trace=prepared.trace,
        versions=describe_versions(),
        hardware=describe_hardware(),
        command=_as_typed(),
        recipe=StoredRecipe(**prepared.task.recipe, optimizer=prepared.task.optimizer_from),
        gradient_norms=gradients,
    )


def _as_typed() -> str:
    """The command that runs, without the place of its interpreter or script."""
    if name := command_line.called_as:
        return f"{name} {shlex.join(sys.argv[1:])}"
    return shlex.join(["python", *sys.orig_argv[1:]])


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
    peak_lr = config.search.peak_range() or prepared.task.peak_range(config.search.optimizer)
    if config.search.peak_lr == "auto":
        parameters = {"optimizer": config.search.optimizer}
        run = config.run_config("constant", parameters, config.search.seed)
        tested = range_test(prepared.task, prepared.data, run, config.machine.device_here)
        peak_lr = tested.peak_lr
    space = SearchSpace(select(config.search.families), peak_lr, config.search.extras())
    return store_space(space), tested.to_json() if tested else None


def _gradient_norms(
    config: StudyConfig, prepared: Prepared, space: StoredSpace
) -> GradientNorms | None:
    """The gradient norms of a run with the straight line's default, if a family wants them."""
    if Refined.name not in space.families:
        return None
    print("one run with the straight line, whose gradients refined is made from")
    line = FAMILIES[LinearToZero.name]
    parameters = line.default(space.peak_lr, config.search.extras())
    run = config.run_config(line.name, parameters, config.search.seed)
    return gradient_norms(prepared.task, prepared.data, run, config.machine.device_here)


def _options(config: StudyConfig) -> dict[str, Any]:
    """Options by their names, but those of one run of the command; paths as text."""
    kept = config.options("training", "search", "confirm", "location", "machine")
    return {name: str(one) if isinstance(one, Path) else one for name, one in kept.items()}
