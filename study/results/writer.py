"""The result tables as they are written."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces import SearchSpace
from study.results.column_types import column_types
from study.results.parameters import as_cells
from study.results.schema import (
    EPOCHS,
    FINALISTS,
    SCHEDULES,
    TRIALS_HEAD,
    TRIALS_TAIL,
    as_table,
    named,
    others,
)
from study.search.interfaces import FinishedTrial, TrialObserver
from study.search.proposal import Proposal
from study.storage.file_version import VERSION
from study.system.atomic_files import replacing
from study.tasks.metric import ACCURACY
from study.tasks.ranking import Ranking
from study.training.history import History


class TableWriter(TrialObserver):
    """Collects trials that have ended, and writes them to ``<folder>/*.parquet``.

    A write costs as much as there are trials, so with many of them not every trial is followed by
    one: at most a twentieth of the time goes into writing.

    Args:
        folder: the study's.
        ranking: its metric.
        before: trials that an earlier process finished.
        push: called when they have been written.
    """

    def __init__(
        self,
        folder: Path,
        ranking: Ranking,
        before: Iterable[FinishedTrial],
        push: Callable[[], None],
    ) -> None:
        self.folder, self.ranking, self._push = folder, ranking, push
        self._finished = {pair[0].number: pair for pair in before}
        self._written, self._next_write = 0, 0.0

    @property
    def finished(self) -> list[FinishedTrial]:
        """All finished trials, in the order of their numbers."""
        return [self._finished[number] for number in sorted(self._finished)]

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """Take a finished trial in."""
        self._finished[proposal.number] = (proposal, history)
        self.on_idle()

    def on_idle(self) -> None:
        """Write the tables if they lack a trial and the last write is long enough ago."""
        if time.monotonic() >= self._next_write:
            self.flush()

    def flush(self) -> None:
        """Write the tables if they lack a trial."""
        if self._written < len(self._finished):
            self.write()

    def write(self) -> None:
        """Write all tables, each either whole or not at all."""
        started, finished = time.monotonic(), self.finished
        for name, table in self.tables(finished):
            _write_table(self.folder, name, table)
        self._push()
        self._written, now = len(finished), time.monotonic()
        self._next_write = now + 20 * (now - started)

    def tables(self, finished: Sequence[FinishedTrial]) -> Iterable[tuple[str, pa.Table]]:
        """Names and tables, in the order in which they are written."""
        raise NotImplementedError


class ResultTables(TableWriter):
    """The tables of a study's trials, their epochs and their schedules.

    Args:
        folder: the study's.
        space: its search space.
        ranking: its metric.
        before: trials that an earlier process finished.
        push: called when they have been written.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        ranking: Ranking = ACCURACY,
        before: Iterable[FinishedTrial] = (),
        push: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(folder, ranking, before, push)
        self._parameters = column_types(space)

    def tables(self, finished: Sequence[FinishedTrial]) -> Iterable[tuple[str, pa.Table]]:
        """The trials last, since they are read first: whatever is seen there has its rows."""
        curves = as_table((row for pair in finished for row in _curve_rows(*pair)), SCHEDULES)
        yield "schedules", curves
        more = others("val", _names_of_others(finished))
        rows = (row for pair in finished for row in _epoch_rows(*pair))
        yield "epochs", named(as_table(rows, EPOCHS | more), self.ranking)
        rows = (
            self._trial_row(*pair) | as_cells(pair[0].parameters, self._parameters)
            for pair in finished
        )
        trials = as_table(rows, TRIALS_HEAD | self._parameters | TRIALS_TAIL | more)
        yield "trials", named(trials, self.ranking)

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
            "pruned": history.pruned,
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
            if history.status == "completed":
                row |= _columns("val", epochs[-1].others)
        return row


class FinalistTable(TableWriter):
    """The table of the finalists' replicates.

    Args:
        folder: the study's.
        ranking: its metric.
        replicates: trial and replicate of each run, by its number.
        push: called when it has been written.
    """

    def __init__(
        self,
        folder: Path,
        ranking: Ranking,
        replicates: Mapping[int, tuple[int, int]],
        push: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(folder, ranking, (), push)
        self._replicates = replicates

    def tables(self, finished: Sequence[FinishedTrial]) -> Iterable[tuple[str, pa.Table]]:
        """The one."""
        rows = [self._row(*pair) for pair in finished]
        names = _names_of_others(finished)
        schema = FINALISTS | others("val", names) | others("test", names)
        yield "finalists", named(as_table(rows, schema), self.ranking)

    def _row(self, proposal: Proposal, history: History) -> dict[str, Any]:
        trial, replicate = self._replicates[proposal.number]
        row = {"trial": trial, "replicate": replicate, **rerun_row(proposal, history)}
        if history.status == "completed":
            row |= {"test_metric": history.test_metric, "test_loss": history.test_loss}
            row |= _columns("val", history.epochs[-1].others)
            row |= _columns("test", history.test_others)
        if history.ensembles:
            row |= {"ensemble_metric": history.ensembles[-1], "snapshots": len(history.ensembles)}
        return row


def rerun_row(proposal: Proposal, history: History) -> dict[str, Any]:
    """The columns of a run of a trial that is trained again, for whatever reason."""
    row = {"family": proposal.family, "seed": proposal.seed, "status": history.status}
    row |= {"wall_seconds": history.wall_seconds, "node": history.node}
    row |= {"device": history.device, "error": history.error}
    if history.status == "completed":
        last = history.epochs[-1]
        row |= {"val_metric": last.val_metric, "val_loss": last.val_loss}
    return row


def _write_table(folder: Path, name: str, table: pa.Table) -> None:
    with replacing(folder / f"{name}.parquet") as path:
        pq.write_table(table.replace_schema_metadata({"version": str(VERSION)}), path)


def _epoch_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    for record in history.epochs:
        row = asdict(record)
        more = _columns("val", row.pop("others"))
        yield {"trial": proposal.number, **row, **more}


def _columns(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _names_of_others(finished: Iterable[FinishedTrial]) -> list[str]:
    """Names of all further values that a task gave, in the order in which they came."""
    records = (record for _, history in finished for record in history.epochs)
    return [*dict.fromkeys(name for record in records for name in record.others)]


def _curve_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    return (
        {"trial": proposal.number, "step": step, "lr": lr, "momentum": momentum}
        for step, lr, momentum in history.curve
    )
