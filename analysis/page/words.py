"""Words of lists and numbers, as the verdict and the tables write them."""

import math
from collections.abc import Callable, Sequence

import pandas as pd


def joined(names: Sequence[str], word: str = "and") -> str:
    """``a, b and c``."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def brief(value: float) -> str:
    """Three digits, without an exponent where a number is not small: 10000, not 1e+04."""
    return f"{float(f'{value:.3g}'):g}"


def between(low: float, high: float, text: Callable[[float], str]) -> str:
    """``low to high``, a unit at the end only; no words where it is not known."""
    if math.isnan(low) or math.isnan(high):
        return ""
    if math.isinf(low) or math.isinf(high):
        return "without bounds yet"
    return f"{text(low).removesuffix(' points')} to {text(high)}"


def intervals(table: pd.DataFrame, text: Callable[[float], str]) -> list[str]:
    """:func:`between` ``low`` and ``high`` of each row."""
    return [between(*ends, text) for ends in zip(table["low"], table["high"], strict=True)]
