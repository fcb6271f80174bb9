"""What was measured, how often, and whether it is what was aimed at."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    repeats: int
    samples: int
    """Of MNIST's training split; a fifth as many of its validation split."""
    trials: int
    """Of a study in full."""
    counts: tuple[int, int, int]
    """Of trials that have ended, at which the cost of the next is looked at."""
    proposals: int
    """Over which the sampler's time is taken at each of these counts."""
    reported: int
    """Trials of a report."""
    workers: tuple[int, ...]
    """Of a simulated cluster, one after the other."""
    trials_a_worker: int
    waiting: int
    """Trials that wait for a worker: the driver goes through them as through those that run."""
    running: tuple[int, ...]
    """Trials that run while another is proposed."""


FULL = Scale(
    3, 50_000, 8, (100, 1_000, 5_000), 20, 2_000, (1, 4, 16, 64), 10, 1_000, (16, 1_000, 4_000)
)
QUICK = Scale(1, 1_280, 4, (10, 20, 30), 3, 100, (1, 2), 4, 5, (3, 6))
"""To see that everything works. Its numbers mean nothing."""


@dataclass(frozen=True)
class Row:
    """One quantity, measured once a repeat, and what it should be."""

    section: str
    name: str
    unit: str = ""
    """``x`` of a ratio."""
    values: tuple[float, ...] = ()
    """None, where it could not be measured."""
    at_least: float | None = None
    at_most: float | None = None
    detail: str = ""
    """What is behind a ratio, or why there are no values."""

    @property
    def median(self) -> float:
        """Over the repeats."""
        return statistics.median(self.values)

    @property
    def target(self) -> str:
        """As text; empty where there is none."""
        if self.at_least is not None:
            return f">= {text(self.at_least)}"
        return f"<= {text(self.at_most)}" if self.at_most is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether the median is what it should be, if there are both."""
        if not self.values or not self.target:
            return None
        low, high = self.at_least, self.at_most
        return (low is None or self.median >= low) and (high is None or self.median <= high)

    def to_json(self) -> dict[str, Any]:
        """Plain values, the derived ones among them."""
        values = self.values
        derived = {"median": self.median, "low": min(values), "high": max(values)} if values else {}
        return {**asdict(self), **derived, "met": self.met}

    def cells(self) -> tuple[str, ...]:
        """As a line of a table: section, name, median and range, target, whether met, detail."""
        value, met = "", {None: "", True: "yes", False: "no"}[self.met]
        if self.values:
            range_ = f" ({text(min(self.values))} to {text(max(self.values))})"
            unit = "x" if self.unit == "x" else f" {self.unit}"
            value = f"{text(self.median)}{unit}{range_ if len(self.values) > 1 else ''}"
        return self.section, self.name, value, self.target, met, self.detail


def ratio(section: str, name: str, ours: Row, theirs: Row, at_least: float | None = None) -> Row:
    """Repeat by repeat: what slows both down cancels out."""
    values = tuple(one / other for one, other in zip(ours.values, theirs.values, strict=True))
    detail = f"{text(ours.median)} against {text(theirs.median)} {ours.unit}"
    return Row(section, name, "x", values, at_least=at_least, detail=detail)


def interleaved(measures: Mapping[str, Callable[[], T]], repeats: int) -> dict[str, list[T]]:
    """What each gives, A B C A B C ...: a machine that gets slower does so for all of them."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


def text(value: float) -> str:
    """Three digits, or all before the point where there are more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
