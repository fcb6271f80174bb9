"""The command line: ``python -m study.run``."""

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from filelock import Timeout
from rich.console import Console

from search_spaces import FAMILIES, SearchSpace, preflight
from search_spaces.family import MIN_STEPS
from study.progress import Display
from study.recovery import finished_before, what_was_found
from study.results.study_json import (
    STUDY_JSON,
    is_searched,
    read_ranking,
    read_study_json,
    write_study_json,
)
from study.results.study_record import COMMAND, describe, stored_config, stored_space
from study.results.writer import ResultTables
from study.search.database import Database, StorageInternalError, reason
from study.search.journal_file import refuse_trials_without_description
from study.search.optuna_trials import Ledger, recorded_proposals, records_of
from study.search.proposal import Proposal
from study.search.trial_plan import Plan, middle
from study.settings.study_config import MACHINE, OF_ONE_RUN, StudyConfig
from study.storage.mirror import Mirror, copied, naming
from study.storage.storage_path import CHECKPOINTS, place, prove
from study.system import module
from study.system.atomic_files import HELD, locked
from study.system.command_line import exit_status, parse
from study.system.errors import InputError, StudyError, failed
from study.system.hardware import now, usable_cpus, usable_gpus
from study.system.interrupt import Interrupt
from study.tasks.check_data import load_search_data
from study.tasks.task import SearchData, Task
from study.tasks.task_source import TaskSource
from study.training.check_task import check_resume, check_task, refuse_other, steps_per_epoch
from study.training.gpu_share import measured_share
from study.training.history import History, RunConfig

if TYPE_CHECKING:
    from study.execution.trial_runner import Machine
    from study.results.loggers import TrialLogger

LOCK = ".lock"
PROGRESS = ("searched", "finalists", "replicates", "test_split", "ended")
"""What study.json says of how far a study is."""
MAY_DIFFER = ("name", "out", "storage", "optuna_storage", "num_trials")
"""What of a study's settings may be another in its replay."""


def main(arguments: Sequence[str]) -> int:
    """Run or resume a study; returns the exit status.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: the study cannot go on.
    """
    return carry_out(*_parse(arguments))


def carry_out(
    config: StudyConfig, before: dict[str, Any] | None, optuna_study: str | None = None
) -> int:
    """Run a study, or go on with the one whose study.json is given; returns the exit status.

    ``optuna_study``: the name of a new one in a database, where others may have the folder's.

    Raises:
        InputError: the task, its data or the study's folder cannot be used.
        StudyError: the study cannot go on.
    """
    if not config.storage:
        return _carry_out(config, config, before, optuna_study)
    with TemporaryDirectory(prefix="lr-schedule-study-") as out:
        here = replace(config, out=Path(out))
        with naming(here.folder, here.location):
            return _carry_out(config, here, before, optuna_study)


def _carry_out(
    typed: StudyConfig,
    config: StudyConfig,
    before: dict[str, Any] | None,
    optuna_study: str | None,
) -> int:
    """The same; what is written into ``config.folder`` goes to the study's URL, if it has one."""
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
        description = resumed
        # What loads the test split may have been mended.
        description["task"] = {**description["task"], **source.to_json()}
    else:
        # As typed: where the study goes on, another share may be right.
        description = describe(typed, source, task, data, before)
        description["optuna_study"] = optuna_study or config.name
    # Which older studies do not say.
    description.setdefault("total_steps", horizon)
    description.setdefault("trace", trace)
    space = stored_space(description)
    # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
    from study.execution.trial_runner import Machine

    interrupt = Interrupt(config.budget_seconds())
    with Machine(config, source, interrupt, _resume_command(config)) as machine:
        if not (config.dry_run or description["ended"]):
            machine.start()  # while optimizers are made, for which torch imports a good deal
        check_resume(task, data, _trial_run(config, task), config.device_here)
        _check_families(space, horizon)
        if config.address != "local" and not (config.dry_run or description["ended"]):
            config = machine.join()
        recorded = _recorded(config, before, space)
        if config.dry_run and not config.resume:
            refuse_trials_without_description(config.folder)
            print(_plan(config, space, description))
            return 0
        mirror = Mirror(config.folder, config.place)
        with _locked(config):
            mirror.pull(to_write=not config.dry_run)
            proposals = recorded[: config.num_trials]
            parts = (task, data, space, description, proposals, mirror)
            return _run(config, machine, interrupt, *parts)


def _parse(arguments: Sequence[str]) -> tuple[StudyConfig, dict[str, Any] | None]:
    """The configuration, and study.json of the study that is to go on or to be replayed."""
    config = parse(StudyConfig, COMMAND, arguments)
    if config.resume and config.replay:
        raise InputError("--resume goes on with a study and --replay begins another; give one")
    folder = config.resume or config.replay
    description = None
    if folder:
        description = read_study_json(place(folder))
        stored = stored_config(folder, description)
        if config.replay:
            stored = replace(stored, name="")
        # Parsed again over the stored settings, so that only what was typed can differ from them.
        config = parse(StudyConfig, COMMAND, arguments, default=stored)
        refuse_differences(config, stored, MAY_DIFFER if config.replay else ())
    if not config.resume and _holds_study(config):
        raise InputError(
            f"{config.location!r} already holds a study; go on with it by "
            f"--resume {shlex.quote(config.location)}, or choose another --name"
        )
    return config, description


def _holds_study(config: StudyConfig) -> bool:
    where = config.place
    if isinstance(where, Path):
        return os.path.lexists(where / STUDY_JSON)  # Path.exists() raises where it may not look
    prove(place(config.storage or ""))
    return (where / STUDY_JSON).exists()


def refuse_differences(
    typed: StudyConfig, stored: StudyConfig, may_differ: Sequence[str] = ()
) -> None:
    """A study goes on as it began, on whatever machine.

    Raises:
        InputError: another setting than those named has changed.
    """
    folder = typed.resume or typed.replay
    for field in dataclasses.fields(typed):
        if field.name in {*MACHINE, *OF_ONE_RUN, *may_differ}:
            continue
        if field.name == "out" and typed.storage:  # which is where it is
            continue
        now, before = getattr(typed, field.name), getattr(stored, field.name)
        if (now.resolve() if isinstance(now, Path) else now) != before:
            raise InputError(
                f"{folder!r} is a study with --{field.name.replace('_', '-')} {before}, "
                f"not {now}; it goes on as it began, or start another study with another --name"
            )


def _recorded(
    config: StudyConfig, before: Mapping[str, Any] | None, space: SearchSpace
) -> list[dict[str, Any]]:
    """The proposals of the study that is to be replayed, if one is."""
    if not (config.replay and before):
        return []
    with copied(config.replay) as folder:
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


def _loggers(config: StudyConfig, description: Mapping[str, Any]) -> "Sequence[TrialLogger]":
    """Who logs what is left of the search."""
    if config.logger == "none" or is_searched(description):
        return ()
    from study.results.loggers import (
        TrialLogger,  # which imports Ray and, with it, what is installed
    )

    return (TrialLogger(config, description["began"]),)


def _with_gpu_share(config: StudyConfig, task: Task, data: SearchData) -> StudyConfig:
    """With a number where ``auto`` was typed."""
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
    try:
        for name in space.families:
            preflight.check(FAMILIES[name], horizon, space.peak_lr, space.extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error


@contextmanager
def _locked(config: StudyConfig) -> Iterator[None]:
    """Alone with the study's folder, which is made if need be; errors of the disk in one line."""
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {str(config.out)!r} cannot be written: {failed(error)}") from error
    try:
        with locked(config.folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        is_file = error.lock_file.endswith(HELD)
        raise StudyError(
            f"{config.location!r} is in use by another process; wait until it has ended"
            + (f", or delete {error.lock_file!r} if there is none on any machine" * is_file)
        ) from error
    except StorageInternalError as error:
        raise StudyError(
            f"--optuna-storage {config.optuna_storage!r}: {reason(error)}; when it is there again, "
            f"{_again(config)}"
        ) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StudyError(f"{failed(error, config.location)}, then {_again(config)}") from error


def _run(
    config: StudyConfig,
    machine: "Machine",
    interrupt: Interrupt,
    task: Task,
    data: SearchData,
    space: SearchSpace,
    description: dict[str, Any],
    proposals: Sequence[Mapping[str, Any]],
    mirror: Mirror,
) -> int:
    from study.confirm import Confirmation, add_replicates, outcomes  # which imports Ray
    from study.execution.job import Job

    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    ranking = read_ranking(description)
    _catch_up(config, description)
    add_replicates(description)
    plan = Plan(space, config.allocation, config.sampler)
    records = records_of(config, description.get("optuna_study"))
    ledger = Ledger(records, plan, ranking, config.seed, bool(config.resume))
    before = list(finished_before(config, ledger))
    if config.resume:
        for line in what_was_found(config, ledger, before):
            console.print(line)
    console.print(_plan(config, space, description, done=len(before)))
    if config.dry_run:
        return 0
    ledger.replay(proposals)
    loggers = _loggers(config, description)
    write_study_json(config.folder, description)
    mirror.push()
    tables = ResultTables(config.folder, space, ranking, before, mirror.push)
    total, checkpoints = config.num_trials, config.place / CHECKPOINTS
    display = Display(total, len(before), tables.best(), config.epochs, ranking, console)
    with interrupt.listening():
        with display:
            try:
                load, stops = load_search_data, config.trial_scheduler != "fifo"
                parts = (ledger, total, checkpoints, data, load, tables, display, mirror)
                machine.run(Job(*parts, ledger if stops else None, loggers))
            finally:
                tables.write()
        done = ledger.finished_count
        left = f"after {done} of {total} trials" if done < total else ""
        if done:
            console.print(f"best: {display.best()}")
        if not left:
            description["searched"] = description.get("searched") or now()
            confirmation = Confirmation(config, ranking, description, tables.finished)
            if confirmation.left and not interrupt.stopping:
                confirmation.run(machine, task, data, interrupt, console, mirror)
            left = f"with {confirmation.left} replicates left" if confirmation.left else ""
    status = _ended(config, interrupt, left, description)
    mirror.push()
    _refuse_failures(left, tables.finished, outcomes(config.folder, ranking))
    if status or not done:
        return status
    report = start_report(config.location)
    machine.stop()  # while it is drawn
    return finish_report(report, config.location)


def _catch_up(config: StudyConfig, description: dict[str, Any]) -> None:
    """Take in what another process has written since study.json was read."""
    latest = read_study_json(config.folder) if config.resume else {}
    description |= {name: latest[name] for name in PROGRESS if name in latest}


def _plan(
    config: StudyConfig, space: SearchSpace, description: Mapping[str, Any], done: int = 0
) -> str:
    """What is about to be done, in a line."""
    rates = [rate for one in space.families for rate in FAMILIES[one].peak_range(space.peak_lr)]
    trials = f"{config.num_trials - done} more trials" if done else f"{config.num_trials} trials"
    finalists = min(config.finalists, len(space.families))
    seeds = description.get("replicates") or config.replicates
    return (
        f"{trials} of {config.epochs} epochs on {description['task']['name']}, "
        f"{len(space.families)} schedule families, peak rates {min(rates):g} to {max(rates):g}"
        + (f", then {finalists} finalists x {seeds} seeds" if finalists else "")
        + f" -> {config.location}"
    )


def _ended(
    config: StudyConfig, interrupt: Interrupt, left: str, description: Mapping[str, Any]
) -> int:
    """Say how it ended; returns the exit status.

    Raises:
        StudyError: it has not, and nobody has stopped it.
    """
    if left and interrupt.count:
        print(f"interrupted; go on with: {_resume_command(config)}")
        return 130
    if left and not interrupt.stopping:
        raise StudyError(f"the study ended {left}; go on with: {_resume_command(config)}")
    if left:
        print(
            f"the time budget of {config.time_budget} ended {left}; "
            f"go on with: {_resume_command(config)}"
        )
    else:
        write_study_json(config.folder, {**description, "ended": description["ended"] or now()})
    return 0


def _refuse_failures(
    left: str,
    finished: Iterable[tuple[Proposal, History]],
    replicates: Sequence[tuple[str, str]],
) -> None:
    """Nothing, unless nothing is left to be done, and all trials, or all replicates, have failed.

    Raises:
        StudyError: so it is; they stay recorded.
    """
    trials = [(history.status, history.error) for _, history in finished]
    for kind, outcomes, again in (
        ("trials", trials, "begin another study, by another --name"),
        ("replicates", replicates, "add fresh seeds by study.confirm"),
    ):
        if not left and outcomes and all(status == "failed" for status, _ in outcomes):
            raise StudyError(
                f"all {len(outcomes)} {kind} failed, the last with: {outcomes[-1][1]}; mend that, "
                f"and {again}"
            )


def start_report(location: str) -> subprocess.Popen[bytes]:
    """Have a study's report written, by a process of its own: study never imports analysis."""
    # -P: else the folder of module.py, or the working one, would be searched first.
    command = [sys.executable, "-P", module.__file__, "analysis.report", location]
    return subprocess.Popen(command, env={**os.environ, "MPLBACKEND": "agg"})


def finish_report(report: subprocess.Popen[bytes], location: str) -> int:
    """Wait for it; returns its exit status.

    Raises:
        StudyError: it was killed.
    """
    status = report.wait()
    if status < 0:
        raise StudyError(
            f"the report was killed by signal {-status}; write it by: python -m analysis.report "
            f"{shlex.quote(location)}"
        )
    return status


def _again(config: StudyConfig) -> str:
    """Command to type next: there is nothing to resume before study.json is written."""
    begun = os.path.lexists(config.folder / STUDY_JSON)
    return _resume_command(config) if begun else "type the command again"


def _resume_command(config: StudyConfig) -> str:
    return f"{COMMAND} --resume {shlex.quote(config.location)}"


if __name__ == "__main__":
    sys.exit(exit_status(main))
