"""Every learning-rate schedule family that may be tried, with the ranges of its parameters.

A new family is one class (see :class:`~search_spaces.family.ScheduleFamily`) and one line in
``FAMILIES``.
"""

import difflib
import importlib
from collections.abc import Iterable, Sequence

from search_spaces.adaptive import Greedy, Plateau, ScheduleFree
from search_spaces.annealing import FlatCosine, KDecay, Tanh
from search_spaces.averaging import ConstantEma, ConstantTail
from search_spaces.cooldown import WsdExponential, WsdLinear, WsdSqrt
from search_spaces.cyclic import (
    CosineWarmRestarts,
    ExpRange,
    OneCycle,
    Sine,
    Sine2,
    Snapshot,
    Triangular,
    Triangular2,
)
from search_spaces.decay import (
    Constant,
    Cosine,
    Exponential,
    Inverse,
    InverseSquareRoot,
    Linear,
    LinearToZero,
    MultiStep,
    Polynomial,
    PowerCool,
    Rex,
    Step,
)
from search_spaces.family import (
    Extras,
    Parameters,
    ParameterValue,
    PeakRange,
    ScheduleFamily,
    SearchSpace,
    check_range,
    holds,
)
from search_spaces.knots import Free, Refined

__all__ = [
    "CONTROLS",
    "FAMILIES",
    "GROUPS",
    "Extras",
    "ParameterValue",
    "Parameters",
    "PeakRange",
    "ScheduleFamily",
    "SearchSpace",
    "nearest",
    "select",
]


class Registry(dict[str, ScheduleFamily]):
    """Families by name; one of the user's own by its import path, ``module:Class``.

    Looked up wherever it is needed, since every worker has a registry of its own.
    """

    def __missing__(self, path: str) -> ScheduleFamily:
        module, colon, name = path.partition(":")
        if not colon:
            raise KeyError(path)
        family = getattr(importlib.import_module(module), name)()
        if not isinstance(family, ScheduleFamily):
            raise TypeError(f"{path} is no ScheduleFamily")
        if "peak_lr" in family.space:
            raise TypeError("peak_lr is no part of a family's space; override peak_range()")
        for parameter, range_ in family.searched((1e-3, 1.0)).items():  # any rates would do
            check_range(parameter, range_)
        for parameter, value in family.defaults.items():
            if parameter not in family.space or not holds(family.space[parameter], value):
                raise TypeError(f"defaults: {parameter} {value!r} is not within its space")
        self[path] = family
        return family

    def measured(self, weights: Sequence[float] = ()) -> None:
        """Make ``refined`` of what was measured of the task in hand, if anything was."""
        self[Refined.name] = Refined(weights) if weights else Refined()


_OURS = (
    Constant(),
    Step(),
    MultiStep(),
    Exponential(),
    Linear(),
    LinearToZero(),
    Polynomial(),
    Inverse(),
    InverseSquareRoot(),
    Cosine(),
    KDecay(),
    Tanh(),
    Rex(),
    PowerCool(),
    FlatCosine(),
    WsdLinear(),
    WsdSqrt(),
    WsdExponential(),
    CosineWarmRestarts(),
    Snapshot(),
    Triangular(),
    Triangular2(),
    ExpRange(),
    Sine(),
    Sine2(),
    OneCycle(),
    Plateau(),
    Greedy(),
    ConstantEma(),
    ConstantTail(),
    ScheduleFree(),
    Free(),
    Refined(),
)

FAMILIES = Registry({family.name: family for family in _OURS})

CONTROLS = (Constant.name, LinearToZero.name)
"""Families that every other has to beat; they have nothing to choose but the peak rate."""

GROUPS: dict[str, tuple[str, ...]] = {
    group: tuple(family.name for family in _OURS if group in family.groups)
    for group in ("classic", "modern", "decay", "cooldown", "cyclic", "adaptive", "averaging")
} | {"all": tuple(family.name for family in _OURS)}


ALIASES = {"trapezoid": WsdLinear.name}
"""Other names of families: the same curves, so that each is drawn and searched once."""


def select(names: str) -> tuple[str, ...]:
    """The families meant by a comma-separated list of groups, names and import paths, each once.

    >>> select("one_cycle,cosine")
    ('one_cycle', 'cosine')

    Raises:
        ValueError: a name that is neither a family nor a group, with the nearest that is; or an
            import path that leads to no family.
    """
    chosen: list[str] = []
    for name in (part.strip() for part in names.split(",")):
        if ":" in name:
            try:
                FAMILIES[name]
            except Exception as error:  # whatever the user's own module does
                raise ValueError(f"schedule family {name!r} cannot be imported: {error}") from error
        elif name not in FAMILIES and name not in GROUPS and name not in ALIASES:
            raise ValueError(
                f"unknown schedule family {name!r}{nearest(name, [*GROUPS, *FAMILIES])}; "
                f"families: {', '.join(FAMILIES)}; groups: {', '.join(GROUPS)}"
            )
        chosen += GROUPS.get(name, (ALIASES.get(name, name),))
    return tuple(dict.fromkeys(chosen))


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'cosine'?)`` for a name that resembles a known one, else nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
