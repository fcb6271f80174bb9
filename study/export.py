"""A schedule handed back as code: ``python -m study.export results/NAME``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro

from search_spaces import FAMILIES, select
from search_spaces.as_code import code
from search_spaces.family import MIN_STEPS
from study.results.best_trials import Row, best_trial, parameters_of
from study.results.reader import read_tables
from study.results.study_record import StudyRecord
from study.settings.values import at_least
from study.storage.mirror import local_copy
from study.system.command_line import Location, exit_status, parse
from study.system.errors import InputError, summary
from study.tasks.recipe_code import recipe_code

COMMAND = "python -m study.export"


@dataclass(frozen=True)
class ExportConfig:
    """Print the winner's optimizer and schedule as a few lines of plain torch.

    That is the finalist with the best mean on fresh seeds, or the best trial where there is none.
    """

    folder: tyro.conf.Positional[Location]
    """The study's folder, results/NAME, or its URL."""
    trial: int | None = None
    """Another trial than the winner."""
    total_steps: int | None = None
    """Optimizer steps of your own run, to which the schedule is rescaled. Default: the trial's."""
    format: Literal["code", "json"] = "code"
    """Python, or the same as JSON."""


class Exported(NamedTuple):
    """A trial's schedule as code."""

    trial: dict[str, Any]
    """Its number, its family, and what it came to."""
    parameters: dict[str, Any]
    total_steps: int
    code: str


def _chosen(config: ExportConfig, folder: Path, record: StudyRecord) -> Row:
    if config.trial is None:
        best = best_trial(folder, record)
        if not best:
            raise InputError(
                f"{config.folder!r} has no completed trial, so no winner; --trial names any that "
                "has ended"
            )
        return best
    trials: list[Row] = read_tables(folder).trials.to_pylist()
    for row in trials:
        if row["trial"] == config.trial:
            return row
    raise InputError(f"--trial must be one of the {len(trials)} finished, not {config.trial}")


def _horizon(config: ExportConfig, record: StudyRecord) -> int:
    """Steps as typed, else those of the study's runs."""
    at_least("total_steps", config.total_steps, MIN_STEPS)
    return record.total_steps if config.total_steps is None else config.total_steps


def trial_code(row: Row, record: StudyRecord, total_steps: int) -> str:
    """The code of a trial, whose row this is, rescaled to so many optimizer steps.

    Raises:
        InputError: its family cannot be imported, has changed, or fails.
    """
    family = row["family"]
    FAMILIES.measured(record.gradient_norms.weights if record.gradient_norms else ())
    try:
        select(family)
    except ValueError as error:
        raise InputError(str(error)) from error
    parameters = parameters_of(row, record)
    if missing := FAMILIES[family].space.keys() - parameters.keys():
        raise InputError(
            f"trial {row['trial']} has no value of {min(missing)!r}, which {family} takes: the "
            "family has changed since"
        )
    try:
        snippet = code(family, parameters, total_steps, record.recipe.optimizer)
    except Exception as error:  # whatever a family of the user's own does
        raise InputError(f"the code of {family} cannot be written: {summary(error)}") from error
    average = FAMILIES[family].average(parameters, total_steps) or record.recipe.average
    recipe = {**record.recipe.step, "average": average}
    return snippet + recipe_code(recipe, total_steps, record.recipe.optimizer)


def export(config: ExportConfig) -> Exported:
    """The code of a trial of a study.

    Raises:
        InputError: no such study or trial, a family that cannot be imported, or too short a run.
    """
    with local_copy(config.folder) as folder:
        record = StudyRecord.load(folder)
        row = _chosen(config, folder, record)
    if config.trial is None and record.phase != "ended":
        print(f"beware: {config.folder} has not ended, and may find another", file=sys.stderr)
    total_steps = _horizon(config, record)
    names = ("trial", "family", "metric", f"val_{record.metric.column}")
    trial = {name: row[name] for name in names if name in row}
    snippet = trial_code(row, record, total_steps)
    return Exported(trial, parameters_of(row, record), total_steps, snippet)


def main(arguments: Sequence[str]) -> int:
    """Print the snippet.

    Raises:
        InputError: as :func:`export` does.
    """
    config = parse(ExportConfig, COMMAND, arguments)
    exported = export(config)
    if config.format == "json":
        described = exported._asdict()
        print(json.dumps(described.pop("trial") | described, indent=2))
    else:
        print(exported.code, end="")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
