"""Options as typed, over those that a study was begun with."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from study.results.study_record import STUDY_JSON, StudyRecord
from study.settings.study_config import StudyConfig
from study.stages.reporting import COMMAND
from study.storage.storage_path import StoragePath, check_usable
from study.storage.urls import above, below, is_url
from study.system import command_line
from study.system.errors import InputError


def parse(arguments: Sequence[str]) -> tuple[StudyConfig, StudyRecord | None]:
    """The configuration, and the record of the study that is to be resumed or replayed."""
    config = command_line.parse(StudyConfig, COMMAND, arguments)
    if config.invocation.resume and config.invocation.replay:
        raise InputError("--resume resumes a study and --replay begins another; give one")
    folder = config.invocation.resume or config.invocation.replay
    record = None
    if folder:
        record = StudyRecord.load(folder)
        stored = begun_config(record, folder)
        if config.invocation.replay:
            stored = stored.but(name="")
        # Parsed again over the stored settings, so that only what was typed can differ from them.
        config = command_line.parse(StudyConfig, COMMAND, arguments, default=stored)
        refuse_differences(config, stored)
    if not config.invocation.resume and _holds_study(config):
        raise InputError(
            f"{config.location.where!r} already holds a study; resume it by "
            f"--resume {shlex.quote(config.location.where)}, or choose another --name"
        )
    return config, record


def begun_config(record: StudyRecord, location: str | Path) -> StudyConfig:
    """The configuration with which a study began; it may have been moved since.

    Args:
        record: the study's.
        location: where it is now, a folder or a URL.

    Raises:
        InputError: the record is damaged.
    """
    try:
        values = dict(record.config)
        for name in ("out", "data_dir"):
            values[name] = Path(values[name])
        values["task_args"] = tuple(values["task_args"])
        if is_url(location):
            values["out"] = values["out"].resolve()
            values["storage"], values["name"] = above(str(location))
        else:
            folder = Path(location).resolve()
            values |= {"out": folder.parent, "name": folder.name, "storage": None}
        return StudyConfig.of(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        where = below(str(location), STUDY_JSON)
        raise InputError(f"{where!r} is damaged: {error}") from error


def searched_study(location: str, why: str) -> tuple[StudyRecord, StudyConfig]:
    """The record of a study whose search has ended, and the configuration that it began with.

    Args:
        location: where it is, a folder or a URL.
        why: words for why it has to have ended.

    Raises:
        InputError: no such study, a damaged record, or a search that has not ended.
    """
    record = StudyRecord.load(location)
    config = begun_config(record, location)
    if not record.is_searched:
        raise InputError(
            f"the search of {location!r} has not ended, {why}; resume it by: {COMMAND} --resume "
            f"{shlex.quote(location)}"
        )
    return record, config


def _holds_study(config: StudyConfig) -> bool:
    location = config.location
    if not location.storage:
        # Path.exists() raises where it may not look.
        return os.path.lexists(location.folder / STUDY_JSON)
    check_usable(StoragePath.of(location.storage))
    return (location.open() / STUDY_JSON).exists()


def refuse_differences(typed: StudyConfig, stored: StudyConfig) -> None:
    """A study resumes as it began, on whatever machine; a replay is elsewhere, and may be shorter.

    Raises:
        InputError: something else has changed.
    """
    resume, replay = typed.invocation.resume, typed.invocation.replay
    fixed = typed.options("training", "search", "confirm")
    if replay:
        del fixed["num_trials"]
    else:
        fixed |= typed.options("location")
        if typed.location.storage:  # which is where it is
            del fixed["out"]
    begun = stored.options()
    for name, now in fixed.items():
        if (now.resolve() if isinstance(now, Path) else now) != begun[name]:
            raise InputError(
                f"{resume or replay!r} is a study with --{name.replace('_', '-')} {begun[name]}, "
                f"not {now}; it resumes as it began, or start another study with another --name"
            )
