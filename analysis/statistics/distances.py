"""Distances between two groups of values."""

from typing import Any

import numpy as np


def distances(
    values: "np.ndarray[Any, Any]", groups: "np.ndarray[Any, Any]", ordered: bool = True
) -> "np.ndarray[Any, Any]":
    """Between the values inside a group and those outside, for each group: 0 (alike) to 1 (apart).

    Of ordered values the Kolmogorov-Smirnov distance: the largest difference between the shares of
    both that lie at or below a value. Of others the total variation: half of the sum of the
    differences between the shares that each value has.

    Args:
        values: (n,).
        groups: (groups, n), True for what is inside; each has some inside and some outside.
        ordered: False for categories.
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)  # of each distinct value
    inside, outside = (
        np.add.reduceat(side[:, order], starts, axis=1, dtype=float)
        / side.sum(axis=1, keepdims=True)
        for side in (groups, ~groups)
    )
    difference = inside - outside
    if ordered:
        return np.asarray(abs(difference.cumsum(axis=1)).max(axis=1))
    return np.asarray(abs(difference).sum(axis=1) / 2)
