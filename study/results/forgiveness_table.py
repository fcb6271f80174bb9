"""The table of the runs at other peak rates than a trial's own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from study.results.schema import FORGIVENESS, as_table, named
from study.results.writer import TableWriter, rerun_row
from study.search.interfaces import FinishedTrial
from study.tasks.ranking import Ranking


class RateRun(NamedTuple):
    """A trial trained again at a multiple of its own peak rate, all else equal."""

    trial: int
    factor: float
    replicate: int
    """The number of its seed."""


class ForgivenessTable(TableWriter):
    """The table of what trials come to at other peak rates, on the validation split.

    Args:
        folder: the study's.
        ranking: its metric.
        runs: by their numbers.
        push: called when it has been written.
    """

    def __init__(
        self,
        folder: Path,
        ranking: Ranking,
        runs: Mapping[int, RateRun],
        push: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(folder, ranking, (), push)
        self._runs = runs

    def tables(self, finished: Sequence[FinishedTrial]) -> Iterable[tuple[str, pa.Table]]:
        """The one."""
        rows = [
            {
                **self._runs[proposal.number]._asdict(),
                "peak_lr": proposal.parameters["peak_lr"],
                **rerun_row(proposal, history),
            }
            for proposal, history in finished
        ]
        yield "forgiveness", named(as_table(rows, FORGIVENESS), self.ranking)
