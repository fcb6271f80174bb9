"""Studies of one sweep, side by side: which family is best at which budget."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.load import Results, load
from analysis.statistics import LEVEL, RESAMPLES, SEED
from study.errors import InputError
from study.results import STUDY_JSON


def is_sweep(folder: Path) -> bool:
    """Whether studies at several budgets lie in a folder, rather than one study."""
    return not (folder / STUDY_JSON).exists() and bool(_studies(folder))


def load_sweep(folder: Path) -> dict[int, Results]:
    """The studies of a sweep by their epochs a trial, ascending; those without a trial left out.

    Raises:
        InputError: none has finished a trial, or a file is damaged.
    """
    finished = {
        epochs: results
        for epochs, study in _studies(folder).items()
        if (study / "trials.parquet").exists() and len((results := load(study)).trials)
    }
    if not finished:
        raise InputError(f"{str(folder)!r} has no finished trial yet")
    return dict(sorted(finished.items()))


def rank_by_budget(sweep: Mapping[int, Results]) -> pd.DataFrame:
    """The families' ranks at each budget, by the best validation result of their trials.

    Columns ``epochs`` (a trial), ``family``, ``rank`` (1 is best; ties share the mean of theirs),
    ``low``, ``high``: the 95% interval of the rank when every family's trials are drawn again from
    those that it had (bootstrap). A family without a completed trial comes last.
    """
    return pd.concat(
        [_ranks(results).assign(epochs=epochs) for epochs, results in sweep.items()],
        ignore_index=True,
    )[["epochs", "family", "rank", "low", "high"]]


def _ranks(results: Results) -> pd.DataFrame:
    trials, scale = results.trials, results.scale
    costs = scale.cost(trials[scale.column]).where(trials["status"] == "completed", np.inf)
    random = np.random.default_rng(SEED)
    families, best, resampled = [], [], []
    for family, own in costs.groupby(trials["family"]):
        drawn = random.integers(len(own), size=(RESAMPLES, len(own)))
        families.append(family)
        best.append(own.min())
        resampled.append(own.to_numpy()[drawn].min(axis=1))
    ranks = pd.DataFrame(np.array(resampled)).rank().to_numpy()
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(ranks, (tail, 1 - tail), axis=1)
    columns = {"family": families, "rank": pd.Series(best).rank(), "low": low, "high": high}
    return pd.DataFrame(columns).sort_values(["rank", "family"], ignore_index=True)


def _studies(folder: Path) -> dict[int, Path]:
    found = ((re.fullmatch(r"epochs-(\d+)", one.name), one) for one in folder.glob("epochs-*"))
    return {int(name[1]): one for name, one in found if name and (one / STUDY_JSON).exists()}
