"""The families and their groups as tables in Markdown, for the docs."""

import inspect
from collections.abc import Iterable, Iterator, Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces import ALIASES, FAMILIES, GROUPS


def groups_table() -> str:
    """A row a group, with its families."""
    rows = [
        (f"`{group}`", "all of them" if group == "all" else _joined(families))
        for group, families in GROUPS.items()
    ]
    return markdown_table(("group", "families"), rows)


def families_table() -> str:
    """A row a family, with the first line of its description and the ranges of its parameters."""
    rows = []
    for family in FAMILIES.values():
        also = [f", also `{alias}`" for alias, name in ALIASES.items() if name == family.name]
        names = "".join([f"`{family.name}`", *also])
        first = inspect.cleandoc(type(family).__doc__ or "").splitlines()[0]
        rows.append((names, first.replace("``", "`"), "<br>".join(_ranges(family.space))))
    return markdown_table(("family", "what it is", "parameters"), rows)


def _ranges(space: Mapping[str, BaseDistribution]) -> Iterator[str]:
    for name, range_ in space.items():
        match range_:
            case FloatDistribution(low=low, high=high, log=log):
                yield f"`{name}` {low:g} to {high:g}{', by the logarithm' * log}"
            case IntDistribution(low=low, high=high):
                yield f"`{name}` {low} to {high}"
            case CategoricalDistribution(choices=choices):
                yield f"`{name}` {' or '.join(map(str, choices))}"


def _joined(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of cells under a head, as Markdown has them."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
