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

MEANINGS = {
    "trial": "number of the trial, Optuna's",
    "family": "schedule family",
    "status": "`completed`, `diverged`, `failed` or `stopped`",
    "params.<name>": "the family's parameters; empty where a family has no such",
    "sampler": "how its parameters were drawn: `fixed`, `random` or `tpe`",
    "pruned": "epoch after which early stopping saw no hope, whether the trial was stopped or not",
    "device": "`cpu`, or the name of the GPU",
    "peak_lr": "highest learning rate of the run",
    "seed": "seed of initialisation and data order",
    "val_metric": "metric on the validation split after the last epoch; in epochs, after this one",
    "val_loss": "loss on the validation split, likewise",
    "best_val_metric": "the best of its epochs",
    "epochs": "epochs that it ran",
    "steps": "optimizer steps that it ran",
    "train_seconds": "seconds spent in its epochs",
    "wall_seconds": "seconds from its start to its latest checkpoint, without interruptions",
    "node": "machine that it ran on",
    "error": "the error that ended it",
    "epoch": "counted from 1",
    "step": "optimizer steps done; in schedules, the step, counted from 0",
    "lr": "learning rate that the optimizer really used; in epochs, at the last step",
    "momentum": "momentum that it really used, or the first beta of AdamW",
    "train_loss": "mean over the batches of the epoch",
    "seconds": "seconds that the epoch took, its evaluation included",
    "replicate": "number of the fresh seed, the same for all that it is compared with",
    "test_metric": "metric on the test split",
    "test_loss": "loss on the test split",
    "ensemble_metric": "metric on the test split of all snapshots together, outputs averaged",
    "snapshots": "number of snapshots, the weights at the end of each cycle",
    "factor": "the peak rate as a multiple of the trial's own",
}
"""Meaning of each column, by its name."""


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
