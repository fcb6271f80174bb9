"""Values of options that are a word or a number, or several."""

import re

from optuna.distributions import FloatDistribution

from search_spaces import PeakRange
from study.system.errors import InputError


def ranged(
    flag: str,
    text: str,
    default: str,
    searched: FloatDistribution,
    bounds: tuple[float, float],
) -> FloatDistribution | None:
    """A range to search, one value to fix, or None for the default.

    Args:
        flag: as it is typed.
        text: search, the default, or a number.
        default: a word or a number.
        searched: the range where it is.
        bounds: those of the number.

    Raises:
        InputError: it is neither a word nor a number within its bounds.
    """
    if text == default:
        return None
    if text == "search":
        return searched
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not bounds[0] <= value <= bounds[1]:
        low, high = bounds
        raise InputError(
            f"{flag} must be search, {default}, or a number from {low:g} to {high:g}, not {text!r}"
        )
    return FloatDistribution(value, value)


def seconds(text: str) -> float | None:
    """Seconds of a time like 90s, 30m or 1h30m; None for ``none``.

    Raises:
        InputError: it is no time.
    """
    if text == "none":
        return None
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    hours, minutes, rest = (int(part or 0) for part in parts.groups()) if parts else (0,) * 3
    if not hours + minutes + rest:
        raise InputError(
            f"--time-budget must be none, or a time like 90s, 30m or 1h30m, not {text!r}"
        )
    return 3600 * hours + 60 * minutes + rest


def rates(text: str) -> PeakRange:
    """The ends of a range of peak rates, LOW,HIGH.

    Raises:
        InputError: it is none.
    """
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 < low < high < float("inf"):
        raise InputError(
            f"--peak-lr must be task, auto, or LOW,HIGH with 0 < LOW < HIGH, not {text!r}"
        )
    return low, high


def at_least(flag: str, value: float | None, low: int) -> None:
    """Check a number, if one is given.

    Raises:
        InputError: it is below ``low``, or no number.
    """
    if value is not None and not value >= low:
        raise InputError(f"--{flag.replace('_', '-')} must be at least {low}, not {value}")
