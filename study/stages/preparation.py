"""Checks and settings before the first trial."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch

from search_spaces import FAMILIES, SearchSpace, preflight
from search_spaces.family import MIN_STEPS
from study.results.study_json import is_searched
from study.results.study_record import describe, stored_config, stored_space
from study.search.database import Database
from study.search.optuna_trials import recorded_proposals, records_of
from study.search.trial_plan import middle
from study.settings.study_config import StudyConfig
from study.storage.mirror import local_copy
from study.system.errors import InputError
from study.system.hardware import usable_cpus, usable_gpus
from study.tasks.check_data import load_search_data
from study.tasks.task import SearchData, Task
from study.tasks.task_source import TaskSource
from study.training.check_resume import check_resume
from study.training.check_task import check_task, refuse_other, steps_per_epoch
from study.training.gpu_share import measured_share
from study.training.history import RunConfig


@dataclass(frozen=True)
class Prepared:
    """A study whose task, data and search space have passed their checks."""

    source: TaskSource
    task: Task
    data: SearchData
    space: SearchSpace
    horizon: int
    """Optimizer steps of a whole run."""
    record: dict[str, Any]
    """The content of study.json, as it begins or as it was."""


def prepare(
    typed: StudyConfig,
    config: StudyConfig,
    before: dict[str, Any] | None,
    optuna_study: str | None,
) -> tuple[StudyConfig, Prepared]:
    """The configuration with its GPU share settled, and the study, after checks that need no Ray.

    Args:
        typed: as a new study records it.
        config: as it runs here.
        before: study.json of the study that is resumed or replayed.
        optuna_study: name of a new one in a database.

    Raises:
        InputError: something that was given cannot be used.
        StudyError: something cannot be fetched, or the database does not answer.
    """
    _check_logger(config, before)
    resumed = before if before and config.resume else None
    records = records_of(config, (resumed or {}).get("optuna_study", optuna_study))
    if isinstance(records, Database):
        records.check(bool(resumed), looking=config.dry_run)
    source = TaskSource.read(config.task, config.task_args)
    if before:
        source.check_unchanged(before)
    task = source.make()
    data = load_search_data(task, config.data_dir)
    horizon = _check_room(config, task, data)
    torch.set_num_threads(config.cpus_per_trial)  # as in the trials, whose sums are checked here
    trace = check_task(task, data, config.batch_size, config.device_here)
    if before and "trace" in before:  # which earlier versions did not keep
        refuse_other(task, before["trace"], trace)
    source = replace(source, trace=trace)
    config = _with_gpu_share(config, task, data)
    if resumed:
        record = resumed
        # What loads the test split may have been mended.
        record["task"] = {**record["task"], **source.to_json()}
    else:
        # As typed: where the study goes on, another share may be right.
        record = describe(typed, source, task, data, before)
        record["optuna_study"] = optuna_study or config.name
    # Which older studies do not say.
    record.setdefault("total_steps", horizon)
    record.setdefault("trace", trace)
    return config, Prepared(source, task, data, stored_space(record), horizon, record)


def rehearse(config: StudyConfig, prepared: Prepared) -> None:
    """Try a resume of a run, and draw the curves of every family.

    Raises:
        InputError: the one or the other breaks its laws.
    """
    run = _trial_run(config, prepared.task)
    check_resume(prepared.task, prepared.data, run, config.device_here)
    _check_families(prepared.space, prepared.horizon)


def to_replay(
    config: StudyConfig, before: Mapping[str, Any] | None, space: SearchSpace
) -> list[dict[str, Any]]:
    """The proposals of the study that is to be replayed, if one is."""
    if not (config.replay and before):
        return []
    with local_copy(config.replay) as folder:
        stored = stored_config(folder, before)
        return recorded_proposals(records_of(stored, before.get("optuna_study")), space)


def _check_room(config: StudyConfig, task: Task, data: SearchData) -> int:
    """The horizon of a run, in steps; or InputError where machine or data have no room for it."""
    if config.address == "local":
        _check_machine(config)
    horizon = config.epochs * steps_per_epoch(task, data, config.batch_size)
    if horizon < MIN_STEPS:
        raise InputError(
            f"--epochs {config.epochs} with --batch-size {config.batch_size} makes {horizon} "
            f"optimizer steps, and a schedule needs {MIN_STEPS}; raise the one or lower the other"
        )
    return horizon


def _trial_run(config: StudyConfig, task: Task) -> RunConfig:
    """A run at a constant rate with all else as in a trial, for the check of the task."""
    rates = task.adamw_peak_lr if config.optimizer == "adamw" else task.peak_lr
    extras = {name: middle(range_) for name, range_ in config.extras().items()}
    parameters = {**extras, "peak_lr": rates[0]}
    return RunConfig("constant", parameters, 0, config.epochs, config.batch_size)


def _check_machine(config: StudyConfig) -> None:
    if config.require_gpu and not usable_gpus():
        raise InputError(
            "--require-gpu: there is no GPU here that torch can use; mend that, or leave it out to "
            "train on the CPU"
        )
    for flag, asked, there in (
        ("--cpus-per-trial", config.cpus_per_trial, usable_cpus()),
        ("--gpus-per-trial", config.gpu_share, usable_gpus()),
    ):
        if asked > there:  # Ray would wait for more of them for ever
            raise InputError(
                f"{flag} must be at most {there}, all that this machine has, not {asked:g}"
            )


def _check_logger(config: StudyConfig, before: Mapping[str, Any] | None) -> None:
    """InputError where the logger's package is missing, unless there is nothing left to log."""
    package = "tensorboardX" if config.logger == "tensorboard" else config.logger
    if package == "none" or (before and config.resume and is_searched(before)):
        return
    found = find_spec(package)
    if found is None or found.origin is None:  # a mere folder of that name, as W&B leaves one
        raise InputError(
            f"--logger {config.logger} needs the package {package}, which is not installed; "
            f"install it by: pip install -e '.[{config.logger}]'"
        )


def _with_gpu_share(config: StudyConfig, task: Task, data: SearchData) -> StudyConfig:
    """The configuration with a number where ``auto`` was typed."""
    if config.gpus_per_trial != "auto":
        return config
    if config.address != "local" and not usable_gpus():
        raise InputError(
            "--gpus-per-trial auto measures on a GPU of this machine, which has none; give a number"
        )
    share = measured_share(task, data, config.batch_size, config.optimizer)
    print(f"a trial gets {share:g} of a GPU" if share else "no GPU is found: trials run on the CPU")
    return replace(config, gpus_per_trial=share)


def _check_families(space: SearchSpace, horizon: int) -> None:
    """Nothing, or InputError where a family's curves break a law of schedules."""
    try:
        for name in space.families:
            preflight.check(FAMILIES[name], horizon, space.peak_lr, space.extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error
