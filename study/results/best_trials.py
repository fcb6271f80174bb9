"""The best trial of a study, and what it was proposed with, from the result tables."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from study.results.parameters import PREFIX, proposed
from study.results.reader import read_finalists, read_tables
from study.results.stored_ranges import searched_count, stored_ranges
from study.results.study_record import Finalist, Look, StoredSpace, StudyRecord
from study.tasks.ranking import Ranking

Row = dict[str, Any]
"""A row of a table, by its columns."""


def best_trial(folder: Path, record: StudyRecord, family: str | None = None) -> Row | None:
    """The row of the finalist that is recommended, or of the best trial where there is none.

    None where no trial has completed. Of the finalists of one family, and of a plan with too few
    seeds to look at, the one with the best mean.

    Args:
        folder: the study's.
        record: its own.
        family: one that it has to be of.

    Raises:
        InputError: a table cannot be read.
    """
    ranking, plan = record.metric, record.plans[-1] if record.plans else None
    table = read_finalists(folder, ranking)
    trials, replicates = (
        [row for row in rows if family in (None, row["family"])]
        for rows in (read_tables(folder).trials.to_pylist(), table.to_pylist() if table else [])
    )
    if plan and plan.looks_at and family is None:
        finalist = recommended(record.finalists, plan.looks, record.search_space)
    else:
        first = plan.first if plan else 0
        own = [row for row in replicates if row["replicate"] >= first]
        finalist = best_finalist(own, ranking)
    if finalist is not None:
        return next((row for row in trials if row["trial"] == finalist), None)
    column = f"val_{ranking.column}"
    return min(
        (row for row in trials if row["status"] == "completed"),
        key=lambda row: (ranking.cost(row[column]), row["trial"]),
        default=None,
    )


def unbeaten(finalists: Sequence[Finalist], look: Look) -> list[int]:
    """The trials of candidates than which no other was found better, the leader first."""
    candidates = [one.trial for one in finalists if one.trial not in look.out]
    worse = {worse for better, worse in look.beaten if better in candidates}
    found = [one for one in candidates if one not in worse] or candidates
    return sorted(found, key=lambda one: one != look.leader)


def recommended(
    finalists: Sequence[Finalist], looks: Sequence[Look], space: StoredSpace
) -> int | None:
    """The trial of the winner, or of the simplest finalist than which none was found better.

    The one with the fewest searched parameters; a default before one that was tuned; then the one
    whose family is listed first, as the older ones are. None before the first look, or where all
    have collapsed.
    """
    if not looks or looks[-1].leader is None:
        return None
    if looks[-1].second is None:
        return looks[-1].leader
    found = set(unbeaten(finalists, looks[-1]))
    left = [one for one in finalists if one.trial in found]
    return min(left, key=partial(_simplicity, space)).trial


def _simplicity(space: StoredSpace, finalist: Finalist) -> tuple[int, bool, int]:
    """Lower is simpler."""
    searched = searched_count(space.parameters, finalist.family)
    return searched, not finalist.is_default, space.families.index(finalist.family)


def parameters_of(trial: Mapping[str, Any], record: StudyRecord) -> dict[str, Any]:
    """A trial's parameters, the very values that were proposed."""
    ranges = stored_ranges(record.search_space.parameters, trial["family"])
    values = {
        name.removeprefix(PREFIX): value
        for name, value in trial.items()
        if name.startswith(PREFIX) and value is not None
    }
    values = {name: proposed(value, ranges.get(name)) for name, value in values.items()}
    return values | {"peak_lr": trial["peak_lr"]}


def best_finalist(replicates: Sequence[Row], ranking: Ranking) -> int | None:
    """The trial with the best mean on the test split, if there is any.

    Without those that diverged under some seed, over the replicates that all others completed.
    """
    outcomes: dict[int, dict[int, float]] = {}
    for row in replicates:
        if row["status"] != "failed":
            metric = row[f"test_{ranking.column}"] if row["status"] == "completed" else None
            cost = math.nan if metric is None else ranking.cost(metric)
            outcomes.setdefault(row["trial"], {})[row["replicate"]] = cost
    costs = {one: own for one, own in outcomes.items() if all(map(math.isfinite, own.values()))}
    shared = set.intersection(*map(set, costs.values())) if costs else set()
    if not shared:
        return None
    return min(costs, key=lambda trial: mean(costs[trial][one] for one in shared))
