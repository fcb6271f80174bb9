"""The result tables as they are written."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from search_spaces import SearchSpace
from study.results.parameters import as_cells, column_types
from study.results.schema import (
    EPOCHS,
    FINALISTS,
    SCHEDULES,
    TRIALS_HEAD,
    TRIALS_TAIL,
    as_table,
    named,
)
from study.search.interfaces import TrialObserver
from study.search.proposal import Proposal
from study.storage.file_version import VERSION
from study.system.atomic_files import replacing
from study.tasks.metric import ACCURACY, Ranking
from study.training.history import History


@dataclass
class ResultTables(TrialObserver):
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

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """Take a finished trial in."""
        self._finished[proposal.number] = (proposal, history)
        self.on_idle()

    def on_idle(self) -> None:
        """Write the tables if they lack a trial and the last write is long enough ago."""
        if self._written < len(self._finished) and time.monotonic() >= self._next_write:
            self.write()

    def write(self) -> None:
        """Write all three tables, each either whole or not at all."""
        started = time.monotonic()
        finished = self.finished
        parameters = column_types(self.space)
        trials = as_table(
            (
                self._trial_row(*pair) | as_cells(pair[0].parameters, parameters)
                for pair in finished
            ),
            TRIALS_HEAD | parameters | TRIALS_TAIL,
        )
        epochs = as_table((row for pair in finished for row in _epoch_rows(*pair)), EPOCHS)
        curves = as_table((row for pair in finished for row in _curve_rows(*pair)), SCHEDULES)
        # The trials last, since they are read first: whatever trial is seen, its rows are there.
        _write_table(self.folder, "schedules", curves)
        _write_table(self.folder, "epochs", named(epochs, self.ranking))
        _write_table(self.folder, "trials", named(trials, self.ranking))
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
        return row


class FinalistTable(TrialObserver):
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

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
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

    def on_idle(self) -> None:
        """Write the table if it lacks a replicate; they are few."""
        if self._written < len(self._rows):
            rows = [self._rows[number] for number in sorted(self._rows)]
            table = named(as_table(rows, FINALISTS), self._ranking)
            _write_table(self._folder, "finalists", table)
            self._push()
            self._written = len(rows)


def _write_table(folder: Path, name: str, table: pa.Table) -> None:
    with replacing(folder / f"{name}.parquet") as path:
        pq.write_table(table.replace_schema_metadata({"version": str(VERSION)}), path)


def _epoch_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    return ({"trial": proposal.number, **asdict(record)} for record in history.epochs)


def _curve_rows(proposal: Proposal, history: History) -> Iterable[dict[str, Any]]:
    return (
        {"trial": proposal.number, "step": step, "lr": lr, "momentum": momentum}
        for step, lr, momentum in history.curve
    )
