"""The columns of the result tables."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from study.tasks.ranking import Ranking

TRIALS_HEAD = {"trial": pa.int64(), "family": pa.string(), "status": pa.string()}
TRIALS_TAIL = {
    "sampler": pa.string(),
    "pruned": pa.int64(),
    "device": pa.string(),
    "peak_lr": pa.float64(),
    "seed": pa.int64(),
    "val_metric": pa.float64(),
    "val_loss": pa.float64(),
    "best_val_metric": pa.float64(),
    "epochs": pa.int64(),
    "steps": pa.int64(),
    "train_seconds": pa.float64(),
    "wall_seconds": pa.float64(),
    "node": pa.string(),
    "error": pa.string(),
}
EPOCHS = {
    "trial": pa.int64(),
    "epoch": pa.int64(),
    "step": pa.int64(),
    "lr": pa.float64(),
    "train_loss": pa.float64(),
    "val_loss": pa.float64(),
    "val_metric": pa.float64(),
    "seconds": pa.float64(),
}
SCHEDULES = {
    "trial": pa.int64(),
    "step": pa.int64(),
    "lr": pa.float64(),
    "momentum": pa.float64(),
}
FINALISTS = {
    "family": pa.string(),
    "trial": pa.int64(),
    "replicate": pa.int64(),
    "seed": pa.int64(),
    "status": pa.string(),
    "val_metric": pa.float64(),
    "val_loss": pa.float64(),
    "test_metric": pa.float64(),
    "test_loss": pa.float64(),
    "ensemble_metric": pa.float64(),
    "snapshots": pa.int64(),
    "wall_seconds": pa.float64(),
    "node": pa.string(),
    "device": pa.string(),
    "error": pa.string(),
}
FORGIVENESS = {
    "family": pa.string(),
    "trial": pa.int64(),
    "peak_lr": pa.float64(),
    "factor": pa.float64(),
    "replicate": pa.int64(),
    "seed": pa.int64(),
    "status": pa.string(),
    "val_metric": pa.float64(),
    "val_loss": pa.float64(),
    "wall_seconds": pa.float64(),
    "node": pa.string(),
    "device": pa.string(),
    "error": pa.string(),
}


def others(prefix: str, names: Iterable[str]) -> dict[str, pa.DataType]:
    """The columns of further values of a task's ``evaluate``: ``val_<name>``, ``test_<name>``."""
    return {f"{prefix}_{name}": pa.float64() for name in names}


METRIC_COLUMNS = ("val_metric", "best_val_metric", "test_metric", "ensemble_metric")


def named(table: pa.Table, ranking: Ranking) -> pa.Table:
    """The table with accuracy called so; beside another metric, with a column that says which."""
    if ranking.column == "metric":
        return table.append_column("metric", pa.array([ranking.name] * len(table)))
    names = {name: name.replace("metric", ranking.column) for name in METRIC_COLUMNS}
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def as_table(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table with just these columns."""
    return pa.Table.from_pylist(list(rows), schema=pa.schema(list(schema.items())))
