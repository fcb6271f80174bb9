"""Types of the columns that parameters have in the result tables."""

from typing import Any

import pyarrow as pa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces import FAMILIES, SearchSpace
from study.results.parameters import PREFIX


def column_types(space: SearchSpace) -> dict[str, pa.DataType]:
    """``params.<name>`` for every parameter in the space; families that share a name share it."""
    ends: dict[str, list[Any]] = {}
    for ranges in (*(FAMILIES[family].space for family in space.families), space.extras):
        for name, range_ in ranges.items():
            ends.setdefault(f"{PREFIX}{name}", []).extend(_ends(range_))
    return {name: _narrowest(values) for name, values in ends.items()}


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
