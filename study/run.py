"""The command line: ``python -m study.run``."""

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console

from search_spaces import FAMILIES, SearchSpace, preflight
from search_spaces.family import MIN_STEPS
from study.checkpoint import newest_checkpoint
from study.cli import exit_status, parse
from study.config import MACHINE, StudyConfig
from study.description import COMMAND, describe, stored_config, stored_space
from study.errors import InputError, StudyError
from study.hardware import now, usable_cpus, usable_gpus
from study.interrupt import Interrupt
from study.ledger import Ledger, Proposal
from study.preflight import check_task, load_search_data, steps_per_epoch
from study.progress import Display
from study.results import (
    STUDY_JSON,
    ResultTables,
    read_ranking,
    read_study_json,
    write_study_json,
)
from study.source import TaskSource
from study.task import SearchData, Task
from study.training import History

LOCK = ".lock"


def main(arguments: Sequence[str]) -> int:
    """Run or resume a study; returns the exit status.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: the study cannot go on.
    """
    config, description = _parse(arguments)
    source = TaskSource.read(config.task, config.task_args)
    if description:
        source.check_unchanged(description)
    task = source.make()
    data = load_search_data(task, config.data_dir)
    horizon = _check_room(config, task, data)
    torch.set_num_threads(config.cpus_per_trial)  # as in the trials, whose sums are checked here
    check_task(task, data, config.batch_size, config.device)
    description = description or describe(config, source, task, data)
    space = stored_space(description)
    _check_families(space, horizon)
    return _run(config, source, data, space, description)


def _parse(arguments: Sequence[str]) -> tuple[StudyConfig, dict[str, Any] | None]:
    """The configuration, and what study.json says of a study that is to go on."""
    config = parse(StudyConfig, COMMAND, arguments)
    if config.resume is None:
        # Not Path.exists(), which raises where it may not look.
        if os.path.lexists(config.folder / STUDY_JSON):
            raise InputError(
                f"{str(config.folder)!r} already holds a study; go on with it by "
                f"--resume {shlex.quote(str(config.folder))}, or choose another --name"
            )
        return config, None
    description = read_study_json(config.resume)
    stored = stored_config(config.resume, description)
    # Parsed again over the stored settings, so that only what was typed can differ from them.
    config = parse(StudyConfig, COMMAND, arguments, default=stored)
    for field in dataclasses.fields(config):
        typed, kept = getattr(config, field.name), getattr(stored, field.name)
        if field.name not in MACHINE and typed != kept:
            raise InputError(
                f"{str(config.resume)!r} is a study with --{field.name.replace('_', '-')} {kept}, "
                f"not {typed}; leave the flag out, or start another study with another --name"
            )
    return config, description


def _check_room(config: StudyConfig, task: Task, data: SearchData) -> int:
    """The horizon of a run, in steps; or InputError where machine or data have no room for it."""
    for flag, asked, there in (
        ("--cpus-per-trial", config.cpus_per_trial, usable_cpus()),
        ("--gpus-per-trial", config.gpus_per_trial or 0, usable_gpus()),
    ):
        if asked > there:  # Ray would wait for more of them for ever
            raise InputError(
                f"{flag} must be at most {there}, all that this machine has, not {asked:g}"
            )
    horizon = config.epochs * steps_per_epoch(task, data, config.batch_size)
    if horizon < MIN_STEPS:
        raise InputError(
            f"--epochs {config.epochs} with --batch-size {config.batch_size} makes {horizon} "
            f"optimizer steps, and a schedule needs {MIN_STEPS}; raise the one or lower the other"
        )
    return horizon


def _check_families(space: SearchSpace, horizon: int) -> None:
    try:
        for name in space.families:
            preflight.check(FAMILIES[name], horizon, space.peak_lr, space.extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error


def _run(
    config: StudyConfig,
    source: TaskSource,
    data: SearchData,
    space: SearchSpace,
    description: dict[str, Any],
) -> int:
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {str(config.out)!r} cannot be written: {error.strerror or error}; "
            "choose another"
        ) from error
    try:
        with FileLock(config.folder / LOCK, timeout=0):
            return _run_locked(config, source, data, space, description)
    except Timeout as error:
        raise StudyError(
            f"{str(config.folder)!r} is in use by another process; wait until it has ended"
        ) from error
    except OSError as error:
        raise StudyError(
            f"{str(config.folder)!r}: {error.strerror or error}; make room or mend the rights, "
            f"then {_resume_command(config)}"
        ) from error


def _run_locked(
    config: StudyConfig,
    source: TaskSource,
    data: SearchData,
    space: SearchSpace,
    description: dict[str, Any],
) -> int:
    # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
    from study.search import CHECKPOINTS, search

    console = Console()
    ranking = read_ranking(description)
    ledger = Ledger(config.folder, space, ranking, config.seed)
    write_study_json(config.folder, description)
    before = list(_finished_before(ledger, config.folder / CHECKPOINTS))
    tables = ResultTables(config.folder, space, ranking, before)
    low, high = space.peak_lr
    console.print(
        f"{config.num_trials} trials of {config.epochs} epochs on {description['task']['name']}, "
        f"{len(space.families)} schedule families, peak rates {low:g} to {high:g} "
        f"-> {config.folder}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    interrupt = Interrupt()
    with (
        interrupt.listening(),
        Display(
            config.num_trials, len(before), tables.best(), config.epochs, ranking, console
        ) as display,
    ):
        try:
            search(config, source, data, ledger, tables, display, interrupt)
        finally:
            tables.write()
    if ledger.finished_count < config.num_trials:
        print(f"interrupted; go on with: {_resume_command(config)}")
        return 130
    write_study_json(config.folder, {**description, "ended": description["ended"] or now()})
    print(f"best: {display.best()}")
    return _report(config)


def _finished_before(ledger: Ledger, checkpoints: Path) -> Iterator[tuple[Proposal, History]]:
    """What an earlier process finished: how it ended from the ledger, the rest from checkpoints."""
    for proposal, history in ledger.finished():
        found = newest_checkpoint(checkpoints, proposal.number)
        yield proposal, replace(history, curve=found[1].curve if found else [])


def _report(config: StudyConfig) -> int:
    """Have the report written. By a process of its own: analysis reads files, study knows none."""
    command = [sys.executable, "-m", "analysis.report", str(config.folder)]
    return subprocess.run(command, env={**os.environ, "MPLBACKEND": "agg"}).returncode


def _resume_command(config: StudyConfig) -> str:
    return f"{COMMAND} --resume {shlex.quote(str(config.folder))}"


if __name__ == "__main__":
    sys.exit(exit_status(main))
