"""Parameters in trials.parquet: their columns and their values."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntDistribution,
)

from search_spaces import Parameters

PREFIX = "params."


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
            # Python takes a truth value for a number.
            alike = (one for one in choices if isinstance(one, bool) == isinstance(value, bool))
            return next((one for one in alike if one == value), value)
    return value


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
