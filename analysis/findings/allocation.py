"""Allocation: what each family was given, and how fair that is."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.results.stored_ranges import searched_count

UNEQUAL = 1.25  # amounts of training, if they differ by more than this factor


def fairness(trials: pd.DataFrame, search_space: Mapping[str, Any]) -> pd.DataFrame:
    """A row a family, in the order of the search space: what it was given.

    Columns ``family``, ``trials``, ``epochs``, ``steps``, ``seconds`` (wall time), ``completed``,
    ``diverged``, ``failed``, ``stopped`` (trials), ``dimensions`` (searched parameters, the peak
    rate among them). All are 0 for a family without a trial. The search space is study.json's.
    """
    families = trials.groupby("family")
    given = families[["epochs", "steps", "wall_seconds"]].sum()
    given.insert(0, "trials", families.size())
    for status in ("completed", "diverged", "failed", "stopped"):
        given[status] = (trials["status"] == status).groupby(trials["family"]).sum()
    ledger = given.reindex(search_space["families"], fill_value=0).rename_axis("family")
    ledger["dimensions"] = [
        _dimensions(family, trials[trials["family"] == family], search_space)
        for family in ledger.index
    ]
    return ledger.rename(columns={"wall_seconds": "seconds"}).reset_index()


def unfair(ledger: pd.DataFrame) -> list[str]:
    """A sentence for each way in which families were treated unequally, by :func:`fairness`."""
    sentences = []
    counts = ledger.set_index("family")["trials"]
    tried = ledger[ledger["trials"] > 0].set_index("family")
    lengths, dimensions = tried["epochs"] / tried["trials"], tried["dimensions"]
    if counts.max() - counts.min() > 1:
        sentences.append(
            f"Families had {counts.min()} to {counts.max()} trials ({counts.idxmax()} most, "
            f"{counts.idxmin()} least); --allocation balanced gives each the same."
        )
    elif lengths.max() > UNEQUAL * lengths.min():
        sentences.append(
            f"Families had nearly the same number of trials, but of {lengths.min():.3g} to "
            f"{lengths.max():.3g} epochs on average ({lengths.idxmax()} longest, "
            f"{lengths.idxmin()} shortest)."
        )
    if dimensions.max() > dimensions.min():
        sentences.append(
            f"Families have {dimensions.min()} to {dimensions.max()} searched parameters: with "
            "equal trials, those with more are searched less densely."
        )
    if failed := int(ledger["failed"].sum()):
        families = ", ".join(ledger.loc[ledger["failed"] > 0, "family"])
        trials = "1 trial" if failed == 1 else f"{failed} trials"
        sentences.append(f"{trials} failed ({families}), which says nothing of the schedules.")
    return sentences


def _dimensions(family: str, of_family: pd.DataFrame, search_space: Mapping[str, Any]) -> int:
    """Searched parameters of a family that has trials, else 0."""
    if of_family.empty:
        return 0
    return searched_count(search_space["parameters"], family)
