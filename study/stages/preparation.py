"""Checks and settings before the first trial."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from search_spaces import FAMILIES, SearchSpace, preflight
from search_spaces.family import MIN_STEPS
from study.results.study_json import is_searched
from study.results.study_record import stored_config
from study.search.optuna_trials import recorded_proposals, records_of
from study.search.trial_plan import middle
from study.settings.study_config import StudyConfig
from study.storage.mirror import local_copy
from study.system.errors import InputError
from study.system.hardware import usable_cpus, usable_gpus
from study.tasks.task import SearchData, Task
from study.training.check_task import steps_per_epoch
from study.training.gpu_share import measured_share
from study.training.history import RunConfig


def to_replay(
    config: StudyConfig, before: Mapping[str, Any] | None, space: SearchSpace
) -> list[dict[str, Any]]:
    """The proposals of the study that is to be replayed, if one is."""
    if not (config.replay and before):
        return []
    with local_copy(config.replay) as folder:
        stored = stored_config(folder, before)
        return recorded_proposals(records_of(stored, before.get("optuna_study")), space)


def check_room(config: StudyConfig, task: Task, data: SearchData) -> int:
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


def trial_run(config: StudyConfig, task: Task) -> RunConfig:
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


def check_logger(config: StudyConfig, before: Mapping[str, Any] | None) -> None:
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


def with_gpu_share(config: StudyConfig, task: Task, data: SearchData) -> StudyConfig:
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


def check_families(space: SearchSpace, horizon: int) -> None:
    """Nothing, or InputError where a family's curves break a law of schedules."""
    try:
        for name in space.families:
            preflight.check(FAMILIES[name], horizon, space.peak_lr, space.extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error
