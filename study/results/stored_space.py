"""A search space as study.json has it."""

import math

from search_spaces import FAMILIES, SearchSpace, select
from study.results.stored_ranges import damaged_space, read_ranges, store_ranges
from study.results.study_record import StoredSpace
from study.system.errors import InputError


def store_space(space: SearchSpace) -> StoredSpace:
    """A search space, with all ranges written out."""
    return StoredSpace(
        list(space.families),
        space.peak_lr,
        store_ranges(space.extras),
        {
            name: store_ranges(FAMILIES[name].searched(space.peak_lr, space.extras))
            for name in space.families
        },
    )


def read_space(stored: StoredSpace) -> SearchSpace:
    """The inverse of :func:`store_space`.

    Raises:
        InputError: it is damaged, or a family has changed, or is not there any more.
    """
    extras, families = read_ranges(stored.extras), tuple(stored.families)
    low, high = stored.peak_lr
    if not 0 < low < high < math.inf:
        raise damaged_space(f"peak_lr: {low}, {high}")
    if missing := set(families) - stored.parameters.keys():
        raise damaged_space(f"no parameters of {min(missing)!r}")
    try:
        select(",".join(families))
    except ValueError as error:
        raise InputError(str(error)) from error
    for name in families:
        if stored.parameters[name] != store_ranges(FAMILIES[name].searched((low, high), extras)):
            raise InputError(
                f"the ranges of schedule family {name!r} have changed since this study began; put "
                "them back, or start another study with another --name"
            )
    return SearchSpace(families, (low, high), extras)
