"""Words of lists and numbers, as the verdict and the tables write them."""

import datetime as dt
import math
from collections.abc import Callable, Sequence

import pandas as pd

from analysis.load import Results

BLOCKS = "▁▂▃▄▅▆▇█"
"""Heights, for a curve in a terminal."""


def joined(names: Sequence[str], word: str = "and") -> str:
    """``a, b and c``."""
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{count} {noun}{'s' * (count != 1)}"


def extent(results: Results) -> str:
    """``27 trials of 3 epochs on mnist``."""
    trials, epochs = len(results.trials), results.study["config"]["epochs"]
    task = results.study["task"]["name"]
    return f"{counted(trials, 'trial')} of {counted(epochs, 'epoch')} on {task}"


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


def spread(low: float, high: float) -> str:
    """The one number that two are, or ``low to high``."""
    return brief(low) if low == high else f"{brief(low)} to {brief(high)}"


def intervals(table: pd.DataFrame, text: Callable[[float], str]) -> list[str]:
    """:func:`between` ``low`` and ``high`` of each row."""
    return [between(*ends, text) for ends in zip(table["low"], table["high"], strict=True)]


def date(written: str) -> str:
    """A time as people write it: 30 November 2026, 01:06 UTC; what is no ISO 8601 as it stands."""
    try:
        time = dt.datetime.fromisoformat(written)
    except ValueError:
        return written or "not yet"
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".rstrip()
