"""The command line: ``python -m study.run``."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from rich.console import Console

from search_spaces import FAMILIES, SearchSpace, preflight, select
from search_spaces.family import MIN_STEPS
from study.checkpoint import newest_checkpoint
from study.cli import exit_status, parse
from study.config import MACHINE, StudyConfig
from study.errors import InputError, StudyError
from study.hardware import describe_hardware, describe_versions, now, usable_cpus, usable_gpus
from study.interrupt import Interrupt
from study.ledger import Ledger, Proposal
from study.progress import Display
from study.results import STUDY_JSON, ResultTables, read_study_json, write_study_json
from study.task import SearchData
from study.tasks import task_named
from study.training import History

COMMAND = "python -m study.run"
LOCK = ".lock"


def main(arguments: Sequence[str]) -> int:
    """Run or resume a study; returns the exit status.

    Raises:
        InputError: something that was typed cannot be.
        StudyError: the study cannot go on.
    """
    return _run(_parse(arguments))


def _parse(arguments: Sequence[str]) -> StudyConfig:
    config = parse(StudyConfig, COMMAND, arguments)
    if config.resume is None:
        # Not Path.exists(), which raises where it may not look.
        if os.path.lexists(config.folder / STUDY_JSON):
            raise InputError(
                f"{str(config.folder)!r} already holds a study; go on with it by "
                f"--resume {shlex.quote(str(config.folder))}, or choose another --name"
            )
        return config
    stored = _stored_config(config.resume)
    # Parsed again over the stored settings, so that only what was typed can differ from them.
    config = parse(StudyConfig, COMMAND, arguments, default=stored)
    for field in dataclasses.fields(config):
        typed, kept = getattr(config, field.name), getattr(stored, field.name)
        if field.name not in MACHINE and typed != kept:
            raise InputError(
                f"{str(config.resume)!r} is a study with --{field.name.replace('_', '-')} {kept}, "
                f"not {typed}; leave the flag out, or start another study with another --name"
            )
    return config


def _stored_config(folder: Path) -> StudyConfig:
    content = read_study_json(folder)
    try:
        values: dict[str, Any] = dict(content["config"])
        for field in ("out", "data_dir"):
            values[field] = Path(values[field])
        folder = folder.resolve()
        values |= {"out": folder.parent, "name": folder.name, "resume": None}
        return StudyConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{str(folder / STUDY_JSON)!r} is damaged: {error}") from error


def _run(config: StudyConfig) -> int:
    task = task_named(config.task)
    data = task.load_search_data(config.data_dir)
    _check_room(config, data)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {str(config.out)!r} cannot be written: {error.strerror or error}; "
            "choose another"
        ) from error
    try:
        with FileLock(config.folder / LOCK, timeout=0):
            return _run_locked(config, data)
    except Timeout as error:
        raise StudyError(
            f"{str(config.folder)!r} is in use by another process; wait until it has ended"
        ) from error
    except OSError as error:
        raise StudyError(
            f"{str(config.folder)!r}: {error.strerror or error}; make room or mend the rights, "
            f"then {_resume_command(config)}"
        ) from error


def _check_room(config: StudyConfig, data: SearchData) -> None:
    """Raise InputError where data, machine or schedules cannot do what was asked."""
    for flag, asked, there in (
        ("--cpus-per-trial", config.cpus_per_trial, usable_cpus()),
        ("--gpus-per-trial", config.gpus_per_trial or 0, usable_gpus()),
    ):
        if asked > there:  # Ray would wait for more of them for ever
            raise InputError(
                f"{flag} must be at most {there}, all that this machine has, not {asked:g}"
            )
    samples = len(data.train.targets)
    if config.batch_size > samples:
        raise InputError(
            f"--batch-size must be at most {samples}, the training samples of {config.task}, "
            f"not {config.batch_size}"
        )
    horizon = config.epochs * (samples // config.batch_size)
    if horizon < MIN_STEPS:
        raise InputError(
            f"--epochs {config.epochs} with --batch-size {config.batch_size} makes {horizon} "
            f"optimizer steps, and a schedule needs {MIN_STEPS}; raise the one or lower the other"
        )
    try:
        families, peak_lr, extras = config.search_space()
        for name in families:
            preflight.check(FAMILIES[name], horizon, peak_lr, extras)
    except preflight.PreflightError as error:
        raise InputError(str(error)) from error


def _run_locked(config: StudyConfig, data: SearchData) -> int:
    # Here, not above: Ray takes seconds to import, and bad input should not wait for it.
    from study.search import CHECKPOINTS, search

    console = Console()
    task = task_named(config.task)
    description = _describe(config)
    space = _search_space(description)
    ledger = Ledger(config.folder, space, config.seed)
    write_study_json(config.folder, description)
    before = list(_finished_before(ledger, config.folder / CHECKPOINTS))
    tables = ResultTables(config.folder, space, before)
    accuracies = [
        (history.epochs[-1].val_accuracy, proposal.family)
        for proposal, history in tables.finished
        if history.status == "completed"
    ]
    console.print(
        f"{config.num_trials} trials of {config.epochs} epochs on {config.task}, "
        f"{len(space.families)} schedule families -> {config.folder}",
        highlight=False,
        soft_wrap=True,
    )
    interrupt = Interrupt()
    with (
        interrupt.listening(),
        Display(
            config.num_trials, len(before), max(accuracies, default=None), config.epochs, console
        ) as display,
    ):
        try:
            search(config, task, data, ledger, tables, display, interrupt)
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


def _describe(config: StudyConfig) -> dict[str, Any]:
    """What study.json says; what was true at the start of a resumed study stays."""
    if (config.folder / STUDY_JSON).exists():
        return read_study_json(config.folder)
    values = {
        field.name: str(value) if isinstance(value, Path) else value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
        if field.name != "resume"
    }
    space = config.search_space()
    return {
        "config": values,
        "seed": config.seed,
        "search_space": {
            "families": list(space.families),
            "peak_lr": list(space.peak_lr),
            "extras": _as_json(space.extras),
            "parameters": {name: _as_json(FAMILIES[name].space) for name in space.families},
        },
        "versions": describe_versions(),
        "hardware": describe_hardware(),
        "command": f"{COMMAND} {shlex.join(sys.argv[1:])}".rstrip(),
        "began": now(),
        "ended": None,
    }


def _as_json(ranges: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    return {name: json.loads(distribution_to_json(range_)) for name, range_ in ranges.items()}


def _search_space(description: Mapping[str, Any]) -> SearchSpace:
    """Of the study as it began, whatever the groups and tasks of the code have become since."""
    try:
        space = description["search_space"]
        extras = {
            name: json_to_distribution(json.dumps(range_))
            for name, range_ in space["extras"].items()
        }
        low, high = space["peak_lr"]
        families = tuple(space["families"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: {error}") from error
    try:
        select(",".join(families))
    except ValueError as error:
        raise InputError(str(error)) from error
    return SearchSpace(families, (low, high), extras)


def _report(config: StudyConfig) -> int:
    """Have the report written. By a process of its own: analysis reads files, study knows none."""
    command = [sys.executable, "-m", "analysis.report", str(config.folder)]
    return subprocess.run(command, env={**os.environ, "MPLBACKEND": "agg"}).returncode


def _resume_command(config: StudyConfig) -> str:
    return f"{COMMAND} --resume {shlex.quote(str(config.folder))}"


if __name__ == "__main__":
    sys.exit(exit_status(main))
