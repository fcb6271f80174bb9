"""The family of each trial: the defaults of all first, and then whose turn it is."""

from collections import Counter
from typing import get_args

import pytest

from search_spaces import CONTROLS, FAMILIES, SearchSpace
from study.search.trial_plan import Plan
from study.settings.choices import Allocation

PEAK = (1e-3, 1.0)
ALL = tuple(reversed(FAMILIES))
"""With the control at the end: it has no place of its own."""


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_the_defaults_come_first_and_the_controls_before_all(allocation: Allocation) -> None:
    for count in range(1, len(ALL) + 1):
        plan = Plan(SearchSpace(ALL[-count:], PEAK), allocation)
        first = [plan.settled(number) for number in range(count)]
        names = [str(one["family"]) for one in first]
        assert sorted(names) == sorted(ALL[-count:])
        controls = [name for name in CONTROLS if name in names]
        assert names[: len(controls)] == controls
        for settled, name in zip(first, names, strict=True):
            family = FAMILIES[name]
            own = {f"{family.name}.{key}": value for key, value in family.default(PEAK).items()}
            assert settled == {"family": name, **own}
        assert [plan.drawn_by(number) for number in range(count)] == ["fixed"] * count
        assert plan.drawn_by(count) == "tpe"


def test_a_balanced_study_that_is_cut_short_anywhere_has_equally_many_of_each() -> None:
    for count in range(1, len(ALL) + 1):
        plan = Plan(SearchSpace(ALL[-count:], PEAK), "balanced")
        families = [str(plan.settled(number)["family"]) for number in range(60)]
        for trials in range(count, 61):
            numbers = Counter(families[:trials]).values()
            assert max(numbers) - min(numbers) <= 1


def test_of_a_joint_one_the_sampler_chooses_the_families_after_the_defaults() -> None:
    plan = Plan(SearchSpace(ALL[-9:], PEAK), "joint")
    assert plan.settled(8)
    assert plan.settled(9) == {}
