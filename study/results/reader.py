"""The result tables as they are read.

The tables follow from the Optuna study and the checkpoints, and can be written again from them.
"""

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from study.results.schema import (
    EPOCHS,
    FINALISTS,
    FORGIVENESS,
    SCHEDULES,
    TRIALS_HEAD,
    TRIALS_TAIL,
    as_table,
    named,
)
from study.results.study_record import StudyRecord
from study.storage.file_version import VERSION, check_version
from study.system.errors import InputError
from study.tasks.ranking import Ranking


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


def read_forgiveness(folder: Path, ranking: Ranking) -> pa.Table:
    """The runs at other peak rates, without rows where nobody has measured any.

    Raises:
        InputError: the table cannot be read.
    """
    path, empty = folder / "forgiveness.parquet", _empty(FORGIVENESS, ranking)
    return _read_table(path, empty, "python -m study.forgiveness") if path.exists() else empty


def read_tables(folder: Path) -> Tables:
    """The tables of a study, without rows before its first trial has ended.

    Raises:
        InputError: the folder holds no study, or a table cannot be read.
    """
    record = StudyRecord.load(folder)
    schemas = (TRIALS_HEAD | TRIALS_TAIL, EPOCHS, SCHEDULES)
    empty = [_empty(schema, record.metric) for schema in schemas]
    if not record.is_searched and not (folder / "trials.parquet").exists():
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


def _read_table(
    path: Path, empty: pa.Table, command: str = "python -m study.run --resume"
) -> pa.Table:
    again = f"{command} {shlex.quote(str(path.parent))} writes it anew"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; {again}") from error
    check_version(path, int((table.schema.metadata or {}).get(b"version", VERSION)))
    if missing := set(empty.column_names) - set(table.column_names):
        raise InputError(f"{str(path)!r} has no column {min(missing)!r}; {again}")
    return table


def _empty(schema: Mapping[str, pa.DataType], ranking: Ranking) -> pa.Table:
    """A table without rows, with the columns that it has for every search space."""
    table = as_table([], schema)
    return named(table, ranking) if "val_metric" in schema else table
