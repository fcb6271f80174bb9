"""Parameters in study.json and in trials.parquet: their ranges, their columns, their values."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from search_spaces import FAMILIES, Parameters, PeakRange, SearchSpace

PREFIX = "params."


def column_types(space: SearchSpace) -> dict[str, pa.DataType]:
    """``params.<name>`` for every parameter in the space; families that share a name share it."""
    ends: dict[str, list[Any]] = {}
    for ranges in (*(FAMILIES[family].space for family in space.families), space.extras):
        for name, range_ in ranges.items():
            ends.setdefault(f"{PREFIX}{name}", []).extend(_ends(range_))
    return {name: _narrowest(values) for name, values in ends.items()}


def as_cells(parameters: Parameters, types: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """A trial's parameters as their columns hold them."""
    values = {f"{PREFIX}{name}": value for name, value in parameters.items()}
    return {
        name: _written(values[name]) if type_ == pa.string() else values[name]
        for name, type_ in types.items()
        if name in values
    }


def proposed(cell: Any, range_: BaseDistribution | None = None) -> Any:
    """The very value that a cell of a parameter's column stands for.

    Args:
        cell: as Arrow or pandas reads it.
        range_: what the value was proposed from; without it, an integer in a column that is shared
            with fractions cannot be told from one.
    """
    value = _read(cell) if isinstance(cell, str) else cell
    match range_:
        case IntDistribution() if isinstance(value, float):
            return int(value)
        case CategoricalDistribution(choices=choices):
            # The second of an older study, which wrote every text as it is.
            return next((one for own in (value, cell) for one in choices if one == own), value)
    return value


def stored_ranges(search_space: Mapping[str, Any], family: str) -> dict[str, BaseDistribution]:
    """The ranges of a family's parameters, its peak rate's too, from study.json's search space.

    Older studies recorded the shape's alone.
    """
    stored, known = search_space["parameters"][family], FAMILIES.get(family)
    if "peak_lr" not in stored:
        extras = search_space["extras"].items()
        stored = stored | {name: one for name, one in extras if not known or known.takes(name)}
    ranges = {name: json_to_distribution(json.dumps(range_)) for name, range_ in stored.items()}
    low, high = stored_peak_range(search_space, family)
    return ranges | {"peak_lr": FloatDistribution(low, high, log=True)}


def stored_peak_range(search_space: Mapping[str, Any], family: str) -> PeakRange:
    """The peak rates that were searched for a family, from study.json's search space."""
    if stored := search_space.get("parameters", {}).get(family, {}).get("peak_lr"):
        return stored["attributes"]["low"], stored["attributes"]["high"]
    low, high = search_space["peak_lr"]
    known = FAMILIES.get(family)  # nothing is imported for it
    return known.peak_range((low, high)) if known else (low, high)


def _ends(range_: BaseDistribution) -> tuple[Any, ...]:
    """Values that fit a column only if all others of the range do."""
    if isinstance(range_, CategoricalDistribution):
        return range_.choices
    assert isinstance(range_, (FloatDistribution, IntDistribution))
    return range_.low, range_.high


def _narrowest(values: list[Any]) -> pa.DataType:
    """The type of Arrow that holds all values as they are: text, if there is no other."""
    try:
        # Booleans first: after a fraction, Arrow takes them for numbers.
        return pa.array(sorted(values, key=lambda one: not isinstance(one, bool))).type
    except (pa.ArrowException, OverflowError):
        return pa.string()


def _written(value: Any) -> str:
    """JSON; text as it is, unless it could be read as JSON."""
    if isinstance(value, str) and _read(value) is value:
        return value
    return json.dumps(value)


def _read(text: str) -> Any:
    """The inverse of :func:`_written`."""
    try:
        return json.loads(text)
    except ValueError:
        return text
