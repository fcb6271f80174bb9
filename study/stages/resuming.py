"""Options as typed, over those that a study was begun with."""

import dataclasses
import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from study.results.study_record import STUDY_JSON, StudyRecord
from study.settings.study_config import MACHINE, OF_ONE_RUN, StudyConfig
from study.stages.reporting import COMMAND
from study.storage.storage_path import check_usable, place
from study.system import command_line
from study.system.errors import InputError

MAY_DIFFER = ("name", "out", "storage", "optuna_storage", "num_trials")
"""What of a study's settings may be another in its replay."""


def parse(arguments: Sequence[str]) -> tuple[StudyConfig, StudyRecord | None]:
    """The configuration, and the record of the study that is to go on or to be replayed."""
    config = command_line.parse(StudyConfig, COMMAND, arguments)
    if config.resume and config.replay:
        raise InputError("--resume goes on with a study and --replay begins another; give one")
    folder = config.resume or config.replay
    record = None
    if folder:
        record = StudyRecord.load(place(folder))
        stored = record.begun_config(folder)
        if config.replay:
            stored = replace(stored, name="")
        # Parsed again over the stored settings, so that only what was typed can differ from them.
        config = command_line.parse(StudyConfig, COMMAND, arguments, default=stored)
        refuse_differences(config, stored, MAY_DIFFER if config.replay else ())
    if not config.resume and _holds_study(config):
        raise InputError(
            f"{config.location!r} already holds a study; go on with it by "
            f"--resume {shlex.quote(config.location)}, or choose another --name"
        )
    return config, record


def _holds_study(config: StudyConfig) -> bool:
    where = config.place
    if isinstance(where, Path):
        return os.path.lexists(where / STUDY_JSON)  # Path.exists() raises where it may not look
    check_usable(place(config.storage or ""))
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
