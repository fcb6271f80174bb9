"""Free places on the map of the curves, to draw one in."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.figures.style import short

GLYPH = (0.085, 0.085)
"""Width and height of a curve drawn in the map, in fractions of its axes."""
LETTER = (0.0072, 0.045)
"""The same of a letter of its name."""
PATIENCE = 400
"""Places to try for a named curve; the last of them is most of the map away."""

Box = tuple[float, float, float, float]
"""Left, lower, right and upper end."""


class Placed(NamedTuple):
    """A curve to draw."""

    point: int
    """The row of its trial."""
    name: str
    """To write above it; empty for none."""
    middle: tuple[float, float]


def place_curves(points: pd.DataFrame, places: "np.ndarray[Any, Any]") -> list[Placed]:
    """Which curves to draw, and where: none covers another, nor the dot of a named one.

    Args:
        points: with ``family``, the best first. The first of each family is named, and moved to
            where there is room; others are drawn in their place or not at all.
        places: (points, 2), in fractions of the axes.
    """
    first = ~points["family"].duplicated().to_numpy()
    dots = {int(k): (*(places[k] - 0.01), *(places[k] + 0.01)) for k in np.flatnonzero(first)}
    placed: list[Placed] = []
    boxes: list[Box] = []
    for k in [*dots, *np.flatnonzero(~first).tolist()]:
        name = short(points["family"].iloc[k]) if first[k] else ""
        taken = [*boxes, *(dot for j, dot in dots.items() if j != k)]
        for middle in _near(places[k], PATIENCE if name else 1):
            box = _box(middle, name)
            inside = min(box) >= 0 and max(box) <= 1
            if inside and not any(_overlap(box, other) for other in taken):
                boxes.append(box)
                placed.append(Placed(k, name, middle))
                break
    return placed


def _near(place: "np.ndarray[Any, Any]", count: int) -> Iterator[tuple[float, float]]:
    """The place itself, then others around it ever further away, evenly spread (a sunflower's)."""
    x, y = place.tolist()
    for k in range(count):
        distance, angle = 0.03 * math.sqrt(k), k * math.pi * (3 - math.sqrt(5))
        yield x + distance * math.cos(angle), y + distance * math.sin(angle)


def _box(middle: tuple[float, float], name: str) -> Box:
    """The area that a curve takes, its name included."""
    x, y = middle
    half = max(GLYPH[0], LETTER[0] * len(name)) / 2 + 0.005
    return x - half, y - GLYPH[1] / 2 - 0.01, x + half, y + GLYPH[1] / 2 + LETTER[1] * bool(name)


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
