"""Sections of a report for other values than the metric, drawn where they are asked for."""

import re
from collections.abc import Iterable
from functools import partial

from matplotlib.figure import Figure

from analysis import figures
from analysis.findings.findings import Findings
from analysis.page.sections import Section
from analysis.scale import Scale
from study.system.errors import InputError
from study.tasks.ranking import Ranking

LOWER = ":min"
"""Behind the name of a value of which lower is better."""


def other_sections(asked: Iterable[str], found: Findings) -> list[Section]:
    """A section for each of a task's further values, ``NAME`` or ``NAME:min``.

    Raises:
        InputError: the study has no such value.
    """
    known = [
        str(column).removeprefix("val_")
        for column in found.results.epochs.columns
        if str(column).startswith("val_") and column not in ("val_metric", "val_accuracy")
    ]
    for one in asked:
        if one.removesuffix(LOWER) not in known:
            raise InputError(
                f"--also must be one of {', '.join(known)}, with {LOWER} where lower is better, "
                f"not {one!r}"
            )
    return [_section(one) for one in asked]


def _section(asked: str) -> Section:
    name = asked.removesuffix(LOWER)
    scale = Scale(Ranking(name, "minimize" if asked.endswith(LOWER) else "maximize"))
    return Section(
        "also_" + re.sub(r"\W+", "_", name),
        f"Schedules against final {name}",
        f"The same curves by another value of the task, {name}, on the validation split. Finalists "
        "and verdict are by {metric}.",
        partial(_draw, name, scale),
        is_open=True,
    )


def _draw(name: str, scale: Scale, found: Findings) -> Figure:
    trials = found.results.trials
    values = {scale.column: trials[f"val_{name}"]}
    return figures.schedules_by_result(trials.assign(**values), found.results.schedules, scale)
