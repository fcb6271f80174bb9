"""Several studies side by side: which family is best where, and with which curve."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.findings.findings import Findings
from analysis.findings.ranks import family_ranking
from analysis.findings.shapes import curves_by_trial
from analysis.load import load
from study.settings.run_options import MachineOptions


class Study(NamedTuple):
    """One of several."""

    label: str
    folder: Path
    location: str
    """Where the folder is a copy from, or the folder."""
    found: Findings


def load_studies(folders: Sequence[Path], locations: Sequence[str] | None = None) -> list[Study]:
    """Studies, each with a label that tells it from the others.

    Their epochs a trial where nothing else differs, else the names of their folders.

    Args:
        folders: theirs.
        locations: where the folders are copies from, if they are; commands name these.

    Raises:
        InputError: a folder holds no study, or a file is damaged.
    """
    found = [Findings(load(folder)) for folder in folders]
    configs = [one.results.study["config"] for one in found]
    epochs = [config["epochs"] for config in configs]
    only_epochs = len(set(epochs)) == len(epochs) > 1 and all(
        _essence(config) == _essence(configs[0]) for config in configs
    )
    locations = locations or [str(folder) for folder in folders]
    names = _names([Path(location) for location in locations])
    labels = [f"{count} epochs" for count in epochs] if only_epochs else names
    return [Study(*one) for one in zip(labels, folders, locations, found, strict=True)]


def rank_by_study(studies: Sequence[Study]) -> pd.DataFrame:
    """The families' ranks in each study, by the best validation result of their trials.

    Of the families that every study tried, since a rank among more says nothing of one among few.
    Columns ``study`` (its label), ``family``, ``rank`` (1 is best; ties share the mean of theirs).
    A family without a completed trial comes last. Studies without a completed trial are left out.
    A rank hangs on one trial of each family, and has no interval: trials drawn again from those
    that a sampler proposed are no other search.
    """
    ranked = [study for study in studies if study.found.completed]
    tried = [set(study.found.results.trials["family"]) for study in ranked]
    shared = set.intersection(*tried) if tried else set()
    ranks = [_ranks(study.found, shared).assign(study=study.label) for study in ranked]
    return _joined(ranks, ["study", "family", "rank"])


def winning_curves(studies: Sequence[Study]) -> pd.DataFrame:
    """The rates of each study's best trial, as :attr:`Findings.best` has it.

    Columns ``study``, ``family``, ``fraction`` (of training, 0 to 1), ``lr``.
    """
    curves = []
    for one in studies:
        best, results = one.found.best, one.found.results
        if best is not None:
            points = curves_by_trial(results.schedules).get(best["trial"], np.empty((0, 2)))
            curve = pd.DataFrame(points, columns=["fraction", "lr"])
            curves.append(curve.assign(study=one.label, family=best["family"]))
    return _joined(curves, ["study", "family", "fraction", "lr"])


def _ranks(found: Findings, shared: set[str]) -> pd.DataFrame:
    trials = found.results.trials
    ranking = family_ranking(trials[trials["family"].isin(shared)], found.results.scale)
    return ranking.assign(rank=ranking["best_cost"].rank(na_option="bottom"))


def _joined(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    rows: pd.DataFrame = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return rows.reindex(columns=columns)


def _essence(config: dict[str, Any]) -> dict[str, Any]:
    """A study's settings, but its name, its epochs and the machine."""
    others = {"name", "out", "epochs", *MachineOptions.__dataclass_fields__}
    return {key: value for key, value in config.items() if key not in others}


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; with their parents' where two are called the same."""
    resolved = [folder.resolve() for folder in folders]
    names = [path.name for path in resolved]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in resolved]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]
