"""The result tables and study.json: their schema, their writer, their reader.

The tables follow from the ledger and the checkpoints, and can be written again from them.
"""

import contextlib
import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.distributions import BaseDistribution

from search_spaces import SearchSpace
from study.parameters import as_cells, column_types, stored_ranges
from study.search.proposal import Proposal
from study.storage.storage_path import Place
from study.system.atomic_files import replacing, write_atomically
from study.system.errors import InputError
from study.tasks.metric import ACCURACY, Ranking
from study.training.history import History

STUDY_JSON = "study.json"
VERSION = 2

TRIALS_HEAD = {"trial": pa.int64(), "family": pa.string(), "status": pa.string()}
TRIALS_TAIL = {
    "sampler": pa.string(),
    "condemned": pa.int64(),
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
METRIC_COLUMNS = ("val_metric", "best_val_metric", "test_metric", "ensemble_metric")
SINCE_VERSION_2 = {"sampler", "condemned", "device", "snapshots"}
SINCE_VERSION_2 |= {"ensemble_metric", "ensemble_accuracy"}


class Tables(NamedTuple):
    """The three tables of a study, rows in the order of the trial numbers."""

    trials: pa.Table
    epochs: pa.Table
    schedules: pa.Table


@dataclass
class ResultTables:
    """Collects finished trials and writes them to ``<folder>/*.parquet``.

    A write costs as much as there are trials, so with many of them not every trial is followed by
    one: at most a twentieth of the time goes into writing. :meth:`write` writes in any case.
    """

    folder: Path
    space: SearchSpace
    ranking: Ranking = ACCURACY
    before: Iterable[tuple[Proposal, History]] = ()
    """Trials that an earlier process finished."""
    push: Callable[[], None] = lambda: None
    """Called when they have been written."""

    def __post_init__(self) -> None:
        self._finished = {pair[0].number: pair for pair in self.before}
        self._written, self._next_write = 0, 0.0

    @property
    def finished(self) -> list[tuple[Proposal, History]]:
        """All finished trials, in the order of their numbers."""
        return [self._finished[number] for number in sorted(self._finished)]

    def best(self) -> tuple[float, str] | None:
        """Metric and family of the best completed trial so far, if there is one."""
        completed = (
            (history.epochs[-1].val_metric, proposal.family)
            for proposal, history in self.finished
            if history.status == "completed"
        )
        return min(completed, key=lambda pair: self.ranking.cost(pair[0]), default=None)

    def add(self, proposal: Proposal, history: History) -> None:
        """Take a finished trial in."""
        self._finished[proposal.number] = (proposal, history)
        self.write_in_time()

    def write_in_time(self) -> None:
        """Write the tables if they lack a trial and the last write is long enough ago."""
        if self._written < len(self._finished) and time.monotonic() >= self._next_write:
            self.write()

    def write(self) -> None:
        """Write all three tables, each either whole or not at all."""
        started = time.monotonic()
        finished = self.finished
        parameters = column_types(self.space)
        trials = _table(
            (
                self._trial_row(*pair) | as_cells(pair[0].parameters, parameters)
                for pair in finished
            ),
            TRIALS_HEAD | parameters | TRIALS_TAIL,
        )
        epochs = _table((row for pair in finished for row in _epoch_rows(*pair)), EPOCHS)
        curves = _table((row for pair in finished for row in _curve_rows(*pair)), SCHEDULES)
        # The trials last, since they are read first: whatever trial is seen, its rows are there.
        _write_table(self.folder, "schedules", curves)
        _write_table(self.folder, "epochs", _named(epochs, self.ranking))
        _write_table(self.folder, "trials", _named(trials, self.ranking))
        self.push()
        self._written = len(finished)
        now = time.monotonic()
        self._next_write = now + 20 * (now - started)

    def _trial_row(self, proposal: Proposal, history: History) -> dict[str, Any]:
        epochs, ranking = history.epochs, self.ranking
        row: dict[str, Any] = {
            "trial": proposal.number,
            "family": proposal.family,
            "status": history.status,
            "peak_lr": proposal.parameters["peak_lr"],
            "sampler": proposal.drawn_by,
            "seed": proposal.seed,
            "epochs": len(epochs),
            "steps": epochs[-1].step if epochs else 0,
            "train_seconds": sum(record.seconds for record in epochs),
            "wall_seconds": history.wall_seconds,
            "condemned": history.condemned,
            "node": history.node,
            "device": history.device,
            "error": history.error,
        }
        if epochs and history.status != "failed":
            row["val_loss"] = epochs[-1].val_loss
            row["best_val_metric"] = min((one.val_metric for one in epochs), key=ranking.cost)
            # What a diverged trial happens to guess right is no result; for other metrics than
            # accuracy, nobody knows the worst value.
            worst = 0.0 if ranking.column == "accuracy" else None
            row["val_metric"] = worst if history.status == "diverged" else epochs[-1].val_metric
        return row


class FinalistTable:
    """Collects replicates of finalists and writes them to ``<folder>/finalists.parquet``.

    Args:
        folder: the study's.
        ranking: its metric.
        places: trial and replicate of each run, by its number.
        push: called when it has been written.
    """

    def __init__(
        self,
        folder: Path,
        ranking: Ranking,
        places: Mapping[int, tuple[int, int]],
        push: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._ranking, self._places, self._push = folder, ranking, places, push
        self._rows: dict[int, dict[str, Any]] = {}
        self._written = 0

    def add(self, proposal: Proposal, history: History) -> None:
        """Take a replicate in."""
        trial, replicate = self._places[proposal.number]
        row = {"family": proposal.family, "trial": trial, "replicate": replicate}
        row |= {"seed": proposal.seed, "status": history.status, "error": history.error}
        row |= {"wall_seconds": history.wall_seconds, "node": history.node}
        row |= {"device": history.device}
        if history.status == "completed":
            last = history.epochs[-1]
            row |= {"val_metric": last.val_metric, "val_loss": last.val_loss}
            row |= {"test_metric": history.test_metric, "test_loss": history.test_loss}
        if history.ensembles:
            row |= {"ensemble_metric": history.ensembles[-1], "snapshots": len(history.ensembles)}
        self._rows[proposal.number] = row

    def write_in_time(self) -> None:
        """Write the table if it lacks a replicate; they are few."""
        if self._written < len(self._rows):
            rows = [self._rows[number] for number in sorted(self._rows)]
            table = _named(_table(rows, FINALISTS), self._ranking)
            _write_table(self._folder, "finalists", table)
            self._push()
            self._written = len(rows)


def is_searched(study: Mapping[str, Any]) -> bool:
    """Whether a study's search has ended, from its study.json.

    The first version, which had no finalists, says only that the study has.
    """
    return bool(study.get("searched") or study.get("ended"))


def read_finalists(folder: Path, ranking: Ranking) -> pa.Table | None:
    """The replicates of the finalists, or None where there is none yet.

    Raises:
        InputError: the table cannot be read.
    """
    path = folder / "finalists.parquet"
    return _read_table(path, _empty(FINALISTS, ranking)) if path.exists() else None


def read_ranking(study: Mapping[str, Any]) -> Ranking:
    """What the trials of a study are ranked by, from its study.json.

    Raises:
        InputError: it is damaged.
    """
    try:
        return Ranking(**study["metric"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{STUDY_JSON} is damaged: metric: {error}") from error


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
        for row in _read_table(path, _table([], SCHEDULES)).to_pylist():
            curves.setdefault(row["trial"], []).append((row["step"], row["lr"], row["momentum"]))
    return curves


def write_study_json(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the study's own description: config, seed, versions, hardware, times."""
    text = json.dumps({"version": VERSION, **content}, indent=2)
    write_atomically(folder / STUDY_JSON, text.encode())


def read_study_json(folder: Place) -> dict[str, Any]:
    """The study's own description.

    Raises:
        InputError: the folder holds no study, or one of another version.
    """
    path = folder / STUDY_JSON
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds no JSON object but a {type(content).__name__}")
    except FileNotFoundError as error:
        raise InputError(f"{str(folder)!r} is no study: it has no {STUDY_JSON}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}") from error
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise _too_new(path, version)
    return _of_1(content) if version == 1 else content


def _of_1(content: dict[str, Any]) -> dict[str, Any]:
    """The first version knew the names of tasks, and no metric but accuracy."""
    config = content.get("config")
    name = config.get("task", "mnist") if isinstance(config, dict) else "mnist"
    task: dict[str, Any] = {"name": name, "spec": name, "arguments": []}
    task |= {"sha256": None, "text": None}
    return {**content, "task": task, "metric": ACCURACY.to_json(), "range_test": None}


def _read_table(path: Path, empty: pa.Table) -> pa.Table:
    again = f"python -m study.run --resume {shlex.quote(str(path.parent))} writes it anew"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; {again}") from error
    # The first version wrote none.
    version = int((table.schema.metadata or {}).get(b"version", 1))
    if version > VERSION:
        raise _too_new(path, version)
    if missing := set(empty.column_names) - SINCE_VERSION_2 - set(table.column_names):
        raise InputError(f"{str(path)!r} has no column {min(missing)!r}; {again}")
    return table


def _empty(schema: Mapping[str, pa.DataType], ranking: Ranking) -> pa.Table:
    """With the columns that a table has for every search space."""
    table = _table([], schema)
    return _named(table, ranking) if "val_metric" in schema else table


def _too_new(path: Place, version: object) -> InputError:
    return InputError(
        f"{str(path)!r} has version {version!r}, newer than this project reads ({VERSION}); "
        "update the project"
    )


def _write_table(folder: Path, name: str, table: pa.Table) -> None:
    with replacing(folder / f"{name}.parquet") as path:
        pq.write_table(table.replace_schema_metadata({"version": str(VERSION)}), path)


def _named(table: pa.Table, ranking: Ranking) -> pa.Table:
    """With accuracy called accuracy; beside another metric, a column that says which."""
    if ranking.column == "metric":
        return table.append_column("metric", pa.array([ranking.name] * len(table)))
    names = {name: name.replace("metric", ranking.column) for name in METRIC_COLUMNS}
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def _table(rows: Iterable[Mapping[str, Any]], schema: Mapping[str, pa.DataType]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=pa.schema(list(schema.items())))


def _epoch_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    return ({"trial": proposal.number, **asdict(record)} for record in history.epochs)


def _curve_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    return (
        {"trial": proposal.number, "step": step, "lr": lr, "momentum": momentum}
        for step, lr, momentum in history.curve
    )
