"""The result tables as they are read.

The tables follow from the Optuna study and the checkpoints, and can be written again from them.
"""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import BaseDistribution

from study.results.parameters import stored_ranges
from study.results.schema import (
    EPOCHS,
    FINALISTS,
    SCHEDULES,
    SINCE_VERSION_2,
    TRIALS_HEAD,
    TRIALS_TAIL,
    VERSION,
    as_table,
    named,
)
from study.results.study_json import STUDY_JSON, is_searched, read_ranking, read_study_json, too_new
from study.system.errors import InputError
from study.tasks.metric import Ranking


class Tables(NamedTuple):
    """The three tables of a study, rows in the order of the trial numbers."""

    trials: pa.Table
    epochs: pa.Table
    schedules: pa.Table


def read_finalists(folder: Path, ranking: Ranking) -> pa.Table | None:
    """The replicates of the finalists, or None where there is none yet.

    Raises:
        InputError: the table cannot be read.
    """
    path = folder / "finalists.parquet"
    return _read_table(path, _empty(FINALISTS, ranking)) if path.exists() else None


def read_ranges(study: Mapping[str, Any], family: str) -> dict[str, BaseDistribution]:
    """The ranges that a study recorded of a family's parameters; the first version recorded none.

    Raises:
        InputError: its study.json is damaged.
    """
    space = study.get("search_space") or {}
    try:
        return stored_ranges(space, family) if family in space.get("parameters", {}) else {}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: search_space: {error}") from error


def read_total_steps(study: Mapping[str, Any], tables: Tables) -> int | None:
    """Optimizer steps of a whole run, of which trials that were cut short did a part.

    Older studies did not record it: a completed trial tells, or any epoch. None where nothing does.

    Raises:
        InputError: study.json is damaged.
    """
    try:
        if recorded := study.get("total_steps"):
            return int(recorded)
        statuses, steps = (tables.trials[name].to_pylist() for name in ("status", "steps"))
        if "completed" in statuses:
            return int(steps[statuses.index("completed")])
        for epoch in tables.epochs.slice(length=1).to_pylist():
            return int(epoch["step"] // epoch["epoch"] * study["config"]["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: {error!r}") from error
    return None


def read_tables(folder: Path) -> Tables:
    """The tables of a study, without rows before its first trial has ended.

    Raises:
        InputError: the folder holds no study, or a table cannot be read.
    """
    study = read_study_json(folder)
    ranking = read_ranking(study)
    empty = [_empty(schema, ranking) for schema in (TRIALS_HEAD | TRIALS_TAIL, EPOCHS, SCHEDULES)]
    if not is_searched(study) and not (folder / "trials.parquet").exists():
        return Tables(*empty)
    names = zip(Tables._fields, empty, strict=True)
    return Tables(*(_read_table(folder / f"{name}.parquet", table) for name, table in names))


def read_curves(folder: Path) -> dict[int, list[tuple[int, float, float]]]:
    """The curves in the table of them, by trial; none where it cannot be read."""
    curves: dict[int, list[tuple[int, float, float]]] = {}
    path = folder / "schedules.parquet"
    with contextlib.suppress(InputError):
        for row in _read_table(path, as_table([], SCHEDULES)).to_pylist():
            curves.setdefault(row["trial"], []).append((row["step"], row["lr"], row["momentum"]))
    return curves


def _read_table(path: Path, empty: pa.Table) -> pa.Table:
    again = f"python -m study.run --resume {shlex.quote(str(path.parent))} writes it anew"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; {again}") from error
    # The first version wrote none.
    version = int((table.schema.metadata or {}).get(b"version", 1))
    if version > VERSION:
        raise too_new(path, version)
    if missing := set(empty.column_names) - SINCE_VERSION_2 - set(table.column_names):
        raise InputError(f"{str(path)!r} has no column {min(missing)!r}; {again}")
    return table


def _empty(schema: Mapping[str, pa.DataType], ranking: Ranking) -> pa.Table:
    """A table without rows, with the columns that it has for every search space."""
    table = as_table([], schema)
    return named(table, ranking) if "val_metric" in schema else table
