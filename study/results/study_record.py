"""The content of study.json: enough to read a study's tables, to resume it, to repeat it."""

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from search_spaces import FAMILIES, SearchSpace, select
from study.results.study_json import STUDY_JSON
from study.settings.study_config import OF_ONE_RUN, StudyConfig
from study.storage.urls import above, below, is_url
from study.system.errors import InputError
from study.system.hardware import describe_hardware, describe_versions, now
from study.tasks.task import SearchData, Task
from study.tasks.task_source import TaskSource
from study.training.history import RunConfig
from study.training.lr_finder import range_test

COMMAND = "python -m study.run"


def describe(
    config: StudyConfig,
    source: TaskSource,
    task: Task,
    data: SearchData,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A study that begins now, its search space settled; that of another one is taken over.

    Raises:
        InputError: the peak rates are to be found by a range test, and it finds none.
    """
    values = {
        field.name: str(value) if isinstance(value, Path) else value
        for field in dataclasses.fields(config)
        for value in [getattr(config, field.name)]
        if field.name not in OF_ONE_RUN
    }
    space = like or _space(config, task, data)
    return {
        "config": values,
        "optuna_study": config.name,  # which stays, whatever becomes of the folder's name
        "seed": config.seed,
        "task": {"name": task.name, **source.to_json()},
        "metric": task.metric.to_json(),
        "search_space": space["search_space"],
        "range_test": space["range_test"],
        "versions": describe_versions(),
        "hardware": describe_hardware(),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "began": now(),
        "searched": None,
        "finalists": [],
        "replicates": None,
        "test_split": [],
        "ended": None,
    }


def _space(config: StudyConfig, task: Task, data: SearchData) -> dict[str, Any]:
    peak_lr = config.peak_range()
    tested = None
    if config.peak_lr == "auto":
        run = RunConfig(
            "constant",
            {"optimizer": config.optimizer},
            config.seed,
            config.epochs,
            config.batch_size,
        )
        tested = range_test(task, data, run, config.device_here)
        peak_lr = tested.peak_lr
    elif peak_lr is None:
        peak_lr = task.adamw_peak_lr if config.optimizer == "adamw" else task.peak_lr
    families, extras = select(config.families), config.extras()
    return {
        "search_space": {
            "families": list(families),
            "peak_lr": list(peak_lr),
            "extras": as_json(extras),
            "parameters": {
                name: as_json(FAMILIES[name].searched(peak_lr, extras)) for name in families
            },
        },
        "range_test": tested.to_json() if tested else None,
    }


def stored_config(location: str | Path, description: Mapping[str, Any]) -> StudyConfig:
    """The configuration with which a study began; it may have been moved since.

    Args:
        location: where it is now, a folder or a URL.
        description: its study.json.

    Raises:
        InputError: it is damaged.
    """
    try:
        values: dict[str, Any] = dict(description["config"])
        for field in ("out", "data_dir"):
            values[field] = Path(values[field])
        values.setdefault("finalists", 0)  # of a study that began before there were any
        values["task_args"] = tuple(values.get("task_args", ()))
        if is_url(location):
            values["out"] = values["out"].resolve()
            values["storage"], values["name"] = above(str(location))
        else:
            folder = Path(location).resolve()
            values |= {"out": folder.parent, "name": folder.name, "storage": None}
        return StudyConfig(**values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        where = below(str(location), STUDY_JSON)
        raise InputError(f"{where!r} is damaged: {error}") from error


def stored_space(description: Mapping[str, Any]) -> SearchSpace:
    """The search space as it began, whatever the groups and tasks of the code have become since.

    Raises:
        InputError: it is damaged, or has a family that is not there any more.
    """
    try:
        space = description["search_space"]
        extras = {
            name: json_to_distribution(json.dumps(range_))
            for name, range_ in space["extras"].items()
        }
        low, high = map(float, space["peak_lr"])
        if not 0 < low < high < math.inf:
            raise ValueError(f"peak_lr: {low}, {high}")
        families = tuple(space["families"])
        ranges = {name: dict(own) for name, own in space.get("parameters", {}).items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: {error}") from error
    try:
        select(",".join(families))
    except ValueError as error:
        raise InputError(str(error)) from error
    for name in families:
        family, stored = FAMILIES[name], ranges.get(name)
        whole = stored and "peak_lr" in stored  # older studies recorded the shape's alone
        now = family.searched((low, high), extras) if whole else family.space
        if stored not in (None, as_json(now)):
            raise InputError(
                f"the ranges of schedule family {name!r} have changed since this study began; put "
                "them back, or start another study with another --name"
            )
    return SearchSpace(families, (low, high), extras)


def as_json(ranges: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Ranges as study.json has them."""
    return {name: json.loads(distribution_to_json(range_)) for name, range_ in ranges.items()}
