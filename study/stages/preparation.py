"""Checks and settings before the first trial."""

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from search_spaces import FAMILIES, preflight
from search_spaces.family import MIN_STEPS, middle
from study.results.stored_space import read_space
from study.results.study_record import StudyRecord
from study.search.database import Database
from study.search.optuna_trials import optuna_store, recorded_proposals
from study.settings.study_config import StudyConfig
from study.stages.beginning import Prepared, begin, stored_task
from study.stages.resuming import begun_config
from study.stages.session import StudySession
from study.storage.mirror import local_copy
from study.system.errors import InputError
from study.system.hardware import usable_cpus, usable_gpus
from study.tasks.check_data import load_search_data
from study.tasks.data import SearchData
from study.tasks.task import Task
from study.tasks.task_source import TaskSource
from study.training.check_optimizer import check_families
from study.training.check_resume import check_resume
from study.training.check_task import check_task, refuse_other, steps_per_epoch
from study.training.gpu_share import measured_share
from study.training.history import RunConfig

if TYPE_CHECKING:
    from study.execution.trial_runner import TrialRunner


def prepare(session: StudySession, optuna_study: str | None = None) -> Prepared:
    """The task and its data, after all checks that need no Ray; the session gets its record.

    Args:
        session: whose configuration gets its GPU share settled.
        optuna_study: name of a new one in a database.

    Raises:
        InputError: something that was given cannot be used.
        StudyError: something cannot be fetched, or the database does not answer.
    """
    config, before, resumed = session.config, session.before, session.resumed
    _check_logger(config, resumed)
    store = optuna_store(config.location, resumed.optuna_study if resumed else optuna_study)
    if isinstance(store, Database):
        store.check(bool(resumed), looking=config.invocation.dry_run)
    training = config.training
    source = replace(TaskSource.read(training.task, training.task_args), overrides=training.recipe)
    if before:
        source.check_unchanged(before.task.text, before.refused_test_split)
    task = source.make()
    data = load_search_data(task, config.machine.data_dir)
    horizon = _check_room(config, task, data)
    # As in the trials, whose sums are checked here.
    torch.set_num_threads(config.machine.cpus_per_trial)
    trace = check_task(task, data, config.training.batch_size, config.machine.device_here)
    if before:
        refuse_other(task, before.trace, trace)
    prepared = Prepared(replace(source, trace=trace), task, data, horizon, trace)
    session.config = _with_gpu_share(config, task, data)
    if resumed:
        # What loads the test split may have been mended.
        session.record = replace(resumed, task=stored_task(prepared))
    else:
        session.record = begin(session.typed, prepared, before, optuna_study)
    session.space = read_space(session.record.search_space)
    session.proposals = _to_replay(session)
    gradients = session.record.gradient_norms
    FAMILIES.measured(gradients.weights if gradients else ())
    return replace(prepared, source=replace(prepared.source, gradients=gradients))


def rehearse(session: StudySession, prepared: Prepared, runner: "TrialRunner") -> None:
    """Try a resume of a run and draw the curves of every family, while Ray starts.

    Raises:
        InputError: the one or the other breaks its laws, or a cluster has no room for a trial.
    """
    runs = not (session.config.invocation.dry_run or session.record.phase == "ended")
    if runs:
        runner.start()
    run = _trial_run(session.config, prepared.task)
    check_resume(prepared.task, prepared.data, run, session.config.machine.device_here)
    _check_families(session, prepared)
    if runs and session.config.machine.address != "local":
        session.config = runner.join()


def _to_replay(session: StudySession) -> list[dict[str, Any]]:
    """The proposals of the study that is to be replayed, if one is; no more than are asked for."""
    config, before = session.config, session.before
    if not (config.invocation.replay and before):
        return []
    with local_copy(config.invocation.replay) as folder:
        store = optuna_store(begun_config(before, folder).location, before.optuna_study)
        return recorded_proposals(store, session.space)[: config.search.num_trials]


def _check_room(config: StudyConfig, task: Task, data: SearchData) -> int:
    """The horizon of a run, in steps; or InputError where machine or data have no room for it."""
    if config.machine.address == "local":
        _check_machine(config)
    training = config.training
    horizon = training.epochs * steps_per_epoch(task, data, training.batch_size)
    if horizon < MIN_STEPS:
        raise InputError(
            f"--epochs {training.epochs} with --batch-size {training.batch_size} makes {horizon} "
            f"optimizer steps, and a schedule needs {MIN_STEPS}; raise the one or lower the other"
        )
    return horizon


def _trial_run(config: StudyConfig, task: Task) -> RunConfig:
    """A run at a constant rate with all else as in a trial, for the check of the task."""
    rates = task.peak_range(config.search.optimizer)
    extras = {name: middle(range_) for name, range_ in config.search.extras().items()}
    parameters = {**extras, "peak_lr": rates[0]}
    return config.run_config("constant", parameters, 0)


def _check_machine(config: StudyConfig) -> None:
    machine = config.machine
    gpus = usable_gpus(machine.accelerator)
    if machine.needs_gpu and not gpus:
        raise InputError(
            f"{machine.gpu_flag}: there is no GPU here that torch can use by "
            f"{machine.accelerator}; mend that, or leave it out to train on the CPU"
        )
    for flag, asked, there in (
        ("--cpus-per-trial", machine.cpus_per_trial, usable_cpus()),
        ("--gpus-per-trial", machine.gpu_share, gpus),
    ):
        if asked > there:  # Ray would wait for more of them for ever
            raise InputError(
                f"{flag} must be at most {there}, all that this machine has, not {asked:g}"
            )


def _check_logger(config: StudyConfig, resumed: StudyRecord | None) -> None:
    """InputError where the logger's package is missing, unless there is nothing left to log."""
    logger = config.machine.logger
    package = "tensorboardX" if logger == "tensorboard" else logger
    if package == "none" or (resumed and resumed.is_searched):
        return
    found = find_spec(package)
    if found is None or found.origin is None:  # a mere folder of that name, as W&B leaves one
        raise InputError(
            f"--logger {logger} needs the package {package}, which is not installed; "
            f"install it by: pip install -e '.[{logger}]'"
        )


def _with_gpu_share(config: StudyConfig, task: Task, data: SearchData) -> StudyConfig:
    """The configuration with a number where ``auto`` was typed."""
    if config.machine.gpus_per_trial != "auto":
        return config
    if config.machine.address != "local" and not usable_gpus("cuda"):
        raise InputError(
            "--gpus-per-trial auto measures on a GPU of this machine, which has none; give a number"
        )
    share = measured_share(task, data, config.training.batch_size, config.search.optimizer)
    print(f"a trial gets {share:g} of a GPU" if share else "no GPU is found: trials run on the CPU")
    return config.but(gpus_per_trial=share)


def _check_families(session: StudySession, prepared: Prepared) -> None:
    """InputError where a family's curves break a law, or it and the task do not go together."""
    space = session.space
    try:
        for name in space.families:
            preflight.check(FAMILIES[name], prepared.horizon, space.peak_lr, space.extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error
    check_families(prepared.task, space, session.config.machine.device_here)
