"""Ranges of parameters as study.json has them."""

import json
from collections.abc import Mapping

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution

from search_spaces import Extras, PeakRange
from study.results.study_record import Ranges, StoredRange
from study.system.errors import InputError


def stored_ranges(parameters: Ranges, family: str) -> dict[str, BaseDistribution]:
    """The ranges of a family's parameters as they were searched, its peak rate's among them.

    Args:
        parameters: of a :class:`StoredSpace`.
        family: its name.

    Raises:
        InputError: a range is damaged.
    """
    return read_ranges(parameters.get(family, {}))


def searched_count(parameters: Ranges, family: str) -> int:
    """The number of a family's parameters that have more than one value to search."""
    return sum(not range_.single() for range_ in stored_ranges(parameters, family).values())


def stored_peak_range(parameters: Ranges, family: str) -> PeakRange:
    """The peak rates that were searched for a family, as :func:`stored_ranges`."""
    searched = parameters[family]["peak_lr"]["attributes"]
    return searched["low"], searched["high"]


def store_ranges(ranges: Extras) -> dict[str, StoredRange]:
    """Ranges, by the names of their parameters."""
    return {name: json.loads(distribution_to_json(range_)) for name, range_ in ranges.items()}


def read_ranges(stored: Mapping[str, StoredRange]) -> dict[str, BaseDistribution]:
    """The inverse of :func:`store_ranges`.

    Raises:
        InputError: a range is damaged.
    """
    try:
        return {name: json_to_distribution(json.dumps(one)) for name, one in stored.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged_space(str(error)) from error


def damaged_space(what: str) -> InputError:
    """The error of a search space that study.json has damaged."""
    return InputError(f"study.json is damaged: search_space: {what}")
