"""The best trial of a study, and what it was proposed with, from the result tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from study.results.parameters import PREFIX, proposed
from study.results.reader import read_finalists, read_tables
from study.results.stored_ranges import stored_ranges
from study.results.study_record import StudyRecord
from study.tasks.ranking import Ranking

Row = dict[str, Any]
"""A row of a table, by its columns."""


def best_trial(folder: Path, ranking: Ranking, family: str | None = None) -> Row | None:
    """The row of the finalist with the best mean, or of the best trial where there is none.

    None where no trial has completed.

    Args:
        folder: the study's.
        ranking: its metric.
        family: one that it has to be of.

    Raises:
        InputError: a table cannot be read.
    """
    table = read_finalists(folder, ranking)
    trials, replicates = (
        [row for row in rows if family in (None, row["family"])]
        for rows in (read_tables(folder).trials.to_pylist(), table.to_pylist() if table else [])
    )
    finalist = _best_finalist(replicates, ranking)
    if finalist is not None:
        return next((row for row in trials if row["trial"] == finalist), None)
    column = f"val_{ranking.column}"
    return min(
        (row for row in trials if row["status"] == "completed"),
        key=lambda row: (ranking.cost(row[column]), row["trial"]),
        default=None,
    )


def parameters_of(trial: Mapping[str, Any], record: StudyRecord) -> dict[str, Any]:
    """A trial's parameters, the very values that were proposed."""
    ranges = stored_ranges(record.search_space.parameters, trial["family"])
    values = {
        name.removeprefix(PREFIX): value
        for name, value in trial.items()
        if name.startswith(PREFIX) and value is not None
    }
    values = {name: proposed(value, ranges.get(name)) for name, value in values.items()}
    return values | {"peak_lr": trial["peak_lr"]}


def _best_finalist(replicates: Sequence[Row], ranking: Ranking) -> int | None:
    """The trial with the best mean on the test split, as the verdict finds it.

    Without those that diverged under some seed, over the replicates that all others completed.
    """
    diverged = {row["trial"] for row in replicates if row["status"] == "diverged"}
    costs: dict[int, dict[int, float]] = {}
    for row in replicates:
        if row["status"] == "completed" and row["trial"] not in diverged:
            cost = ranking.cost(row[f"test_{ranking.column}"])
            costs.setdefault(row["trial"], {})[row["replicate"]] = cost
    shared = set.intersection(*map(set, costs.values())) if costs else set()
    if not shared:
        return None
    return min(costs, key=lambda trial: mean(costs[trial][one] for one in shared))
