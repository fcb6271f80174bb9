"""The result tables of a study as DataFrames."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analysis.scale import Scale
from study.results.reader import read_finalists, read_forgiveness, read_tables
from study.results.study_record import STUDY_JSON, StudyRecord
from study.storage.mirror import local_copy
from study.tasks.ranking import Ranking


class Results(NamedTuple):
    """A study as it stands on disk; columns as docs/results.md lists them."""

    trials: pd.DataFrame
    """A row a finished trial."""
    epochs: pd.DataFrame
    """A row an epoch of a finished trial."""
    schedules: pd.DataFrame
    """The rates and momenta that the optimizer used, at most 512 steps a trial."""
    study: dict[str, Any]
    """study.json: config, versions, hardware, times."""
    scale: Scale
    """Name and direction of the metric by which trials are ranked."""
    finalists: pd.DataFrame
    """A row a replicate of a finalist; none where there are no finalists yet."""
    forgiveness: pd.DataFrame
    """A row a run at a multiple of its own peak rate; none where nobody has measured any."""


def load(location: str | Path) -> Results:
    """Read a study, also one that still runs, from its folder or its URL.

    The tables have no rows before the first trial has finished.

    Raises:
        InputError: there is no study, or a file is damaged.
    """
    with local_copy(location) as folder:
        return _load(folder)


def _load(folder: Path) -> Results:
    record = StudyRecord.load(folder)
    trials, epochs, schedules = (table.to_pandas() for table in read_tables(folder))
    replicates = read_finalists(folder, record.metric)
    finalists = replicates.to_pandas() if replicates else pd.DataFrame()
    forgiveness = read_forgiveness(folder, record.metric).to_pandas()
    study, scale = record.to_json(), _scale(record.metric, trials)
    return Results(trials, epochs, schedules, study, scale, finalists, forgiveness)


def _scale(metric: Ranking, trials: pd.DataFrame) -> Scale:
    values = trials.loc[trials["status"] == "completed", f"val_{metric.column}"]
    return Scale.of(metric, values)


def is_sweep(folder: Path) -> bool:
    """True if studies at several budgets lie in a folder, rather than one study."""
    return not (folder / STUDY_JSON).exists() and bool(sweep_folders(folder))


def sweep_folders(folder: Path) -> list[Path]:
    """The studies of a sweep, by their epochs a trial."""
    found = ((re.fullmatch(r"epochs-(\d+)", one.name), one) for one in folder.glob("epochs-*"))
    studies = {int(name[1]): one for name, one in found if name and (one / STUDY_JSON).exists()}
    return [studies[epochs] for epochs in sorted(studies)]
