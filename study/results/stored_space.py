"""A search space as study.json has it."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from search_spaces import FAMILIES, Extras, PeakRange, SearchSpace, select
from study.system.errors import InputError

StoredRange = dict[str, Any]
"""A range as Optuna writes it."""
Ranges = Mapping[str, Mapping[str, StoredRange]]
"""By family and parameter."""


@dataclass(frozen=True)
class StoredSpace:
    """Families, the task's peak rates, and the ranges of all parameters by family and name."""

    families: list[str]
    peak_lr: tuple[float, float]
    extras: dict[str, StoredRange]
    parameters: dict[str, dict[str, StoredRange]]


def store_space(space: SearchSpace) -> StoredSpace:
    """A search space, with all ranges written out."""
    return StoredSpace(
        list(space.families),
        space.peak_lr,
        store_ranges(space.extras),
        {
            name: store_ranges(FAMILIES[name].searched(space.peak_lr, space.extras))
            for name in space.families
        },
    )


def read_space(stored: StoredSpace) -> SearchSpace:
    """The inverse of :func:`store_space`.

    Raises:
        InputError: it is damaged, or a family has changed, or is not there any more.
    """
    extras, families = _read_ranges(stored.extras), tuple(stored.families)
    low, high = stored.peak_lr
    if not 0 < low < high < math.inf:
        raise _damaged(f"peak_lr: {low}, {high}")
    if missing := set(families) - stored.parameters.keys():
        raise _damaged(f"no parameters of {min(missing)!r}")
    try:
        select(",".join(families))
    except ValueError as error:
        raise InputError(str(error)) from error
    for name in families:
        if stored.parameters[name] != store_ranges(FAMILIES[name].searched((low, high), extras)):
            raise InputError(
                f"the ranges of schedule family {name!r} have changed since this study began; put "
                "them back, or start another study with another --name"
            )
    return SearchSpace(families, (low, high), extras)


def stored_ranges(parameters: Ranges, family: str) -> dict[str, BaseDistribution]:
    """The ranges of a family's parameters as they were searched, its peak rate's among them.

    Args:
        parameters: of a :class:`StoredSpace`.
        family: its name.

    Raises:
        InputError: a range is damaged.
    """
    return _read_ranges(parameters.get(family, {}))


def stored_peak_range(parameters: Ranges, family: str) -> PeakRange:
    """The peak rates that were searched for a family, as :func:`stored_ranges`."""
    searched = parameters[family]["peak_lr"]["attributes"]
    return searched["low"], searched["high"]


def store_ranges(ranges: Extras) -> dict[str, StoredRange]:
    """Ranges, by the names of their parameters."""
    return {name: json.loads(distribution_to_json(range_)) for name, range_ in ranges.items()}


def _read_ranges(stored: Mapping[str, StoredRange]) -> dict[str, BaseDistribution]:
    try:
        return {name: json_to_distribution(json.dumps(one)) for name, one in stored.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(str(error)) from error


def _damaged(what: str) -> InputError:
    return InputError(f"study.json is damaged: search_space: {what}")
