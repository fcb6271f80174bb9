"""Conventions of all statistics.

Arrays are one-dimensional and finite, a number a replicate or a draw; what holds anything else is a
``ValueError``. Whatever is random is seeded, so that the same numbers give the same answer.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEVEL = 0.95
"""The level of confidence."""
SEED = 1
ROUNDING = 1e-9
"""Relative. Numbers that are closer differ by rounding: 0.9871 - 0.9870 is no 0.9872 - 0.9871."""


def finite(values: Array) -> Array:
    """The values, all of which are finite, else a ``ValueError``."""
    if not np.isfinite(values).all():
        raise ValueError("the values must be finite")
    return values
