"""Which family a trial is of: the defaults first, then rounds that fewer and fewer reach."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise, product
from typing import get_args

import numpy as np
import pytest

from search_spaces import CONTROLS, FAMILIES, SearchSpace, select
from study.search.trial_plan import LAST, Plan, Round
from study.settings.choices import Allocation

PEAK = (1e-3, 1.0)
ALL = tuple(reversed(FAMILIES))
"""With the control at the end: it has no place of its own."""
MANY = [*product(range(1, len(ALL) + 1), (*range(1, 30), 40, 41, 60, 100, 400))]
"""Numbers of families and of trials."""
Costs = Callable[[int, str], float | None]


def plan_of(families: int, num_trials: int, allocation: Allocation = "rounds") -> Plan:
    return Plan(SearchSpace(ALL[-families:], PEAK), allocation, num_trials=num_trials)


def laid_out(plan: Plan, costs: Costs) -> list[str]:
    """The families of a study's trials; a trial of no cost did not complete."""
    families: list[str] = []
    results: dict[int, tuple[str, float]] = {}
    for number in range(plan.num_trials):
        begun = plan.round_of(number)
        turn = plan.survivors(begun, results) if begun else ()
        families.append(str(plan.settled(number, turn)["family"]))
        cost = costs(number, families[-1])
        if cost is not None:
            results[number] = families[-1], cost
    return families


def by_chance(*seed: int) -> Costs:
    """A few values, so that there are ties, and some trials that do not complete."""
    random = np.random.default_rng(seed)
    values = [None, 0.1, 0.2, 0.3, 0.4]
    return lambda number, family: values[random.integers(len(values))]


def test_rounds_halve_the_families_and_each_has_a_trial_for_all_of_its_own() -> None:
    for count, trials in MANY:
        rounds = plan_of(count, trials).rounds
        if count <= LAST or trials < count + LAST:
            assert rounds == [Round(count, count)], "there is nothing to leave out"
            continue
        sizes = [one.families for one in rounds]
        assert sizes[0] < count
        assert sizes[-1] == LAST
        assert all(after == max(LAST, -(-before // 2)) for before, after in pairwise(sizes))
        begins = [*(one.begin for one in rounds), trials]
        assert begins[0] == count
        lengths = [end - begin for begin, end in pairwise(begins)]
        assert all(length >= size for length, size in zip(lengths, sizes, strict=True))
        ends_with_all = zip(lengths[:-1], sizes[:-1], strict=True)
        assert all(length % size == 0 for length, size in ends_with_all)


def test_the_default_study_is_of_nine_families_then_five_then_three() -> None:
    assert plan_of(9, 40).rounds == [Round(9, 5), Round(24, 3)]


def test_whatever_comes_out_the_control_stays_and_the_last_have_equally_many_trials() -> None:
    for count, trials in MANY:
        plan = plan_of(count, trials)
        families = laid_out(plan, by_chance(count, trials))
        assert len(families) == trials
        alive = set(ALL[-count:])
        for begin, size in plan.rounds:
            following = set(families[begin : begin + size])
            assert len(following) == min(size, max(0, trials - begin)), "in turn"
            if following:
                assert following <= alive
                assert CONTROLS[0] in following
                alive = following
        last = Counter(families)
        numbers = [last[family] for family in alive]
        assert max(numbers) - min(numbers) <= 1


@pytest.mark.parametrize("allocation", get_args(Allocation))
def test_the_defaults_come_first_and_the_controls_before_all(allocation: Allocation) -> None:
    for count in range(1, len(ALL) + 1):
        plan = plan_of(count, 40, allocation)
        first = [plan.settled(number, ()) for number in range(count)]
        names = [str(one["family"]) for one in first]
        assert sorted(names) == sorted(ALL[-count:])
        controls = [name for name in CONTROLS if name in names]
        assert names[: len(controls)] == controls
        for settled, name in zip(first, names, strict=True):
            family = FAMILIES[name]
            own = {f"{family.name}.{key}": value for key, value in family.default(PEAK).items()}
            assert settled == {"family": name, **own}
        assert [plan.drawn_by(number) for number in range(count)] == ["fixed"] * count
        assert plan.drawn_by(count) != "fixed"


def test_who_leads_by_the_mean_of_two_goes_on_and_not_who_was_lucky_once() -> None:
    plan = Plan(SearchSpace((*CONTROLS, "step", "cosine", "rex"), PEAK), num_trials=20)
    (last,) = plan.rounds
    trials = {
        "constant": (0.9, 0.9),
        "linear_to_zero": (0.1, 0.1),
        "step": (0.9, 0.2, 0.2),
        "cosine": (0.0, 0.9),
        "rex": (0.3,),
    }
    pairs = [(family, cost) for family, costs in trials.items() for cost in costs]
    results = dict(enumerate(pairs, start=last.begin - len(pairs)))
    assert plan.survivors(last, results) == ["constant", "linear_to_zero", "step"]


def test_only_trials_before_a_round_decide_who_is_in_it() -> None:
    plan = plan_of(9, 40)
    costs = by_chance(7)
    results = {n: (ALL[-9:][n % 9], cost) for n in range(40) if (cost := costs(n, "")) is not None}
    for one in plan.rounds:
        before = {number: result for number, result in results.items() if number < one.begin}
        assert plan.survivors(one, results) == plan.survivors(one, before)


def test_families_of_which_nothing_completes_leave_if_they_can() -> None:
    broken = {"step", "cosine", "one_cycle", "linear"}
    plan = Plan(SearchSpace(select("classic"), PEAK), num_trials=40)
    families = laid_out(plan, lambda number, family: None if family in broken else 0.5)
    assert not broken & set(families[9:])
    nothing = laid_out(plan, lambda number, family: None)
    assert len(set(nothing[24:])) == 3, "where nothing completes, it is defined all the same"


def test_balanced_and_joint_leave_nobody_out() -> None:
    balanced = plan_of(9, 40, "balanced")
    numbers = Counter(laid_out(balanced, by_chance(0))).values()
    assert max(numbers) - min(numbers) <= 1
    joint = plan_of(9, 40, "joint")
    assert joint.round_of(9) is None
    assert joint.settled(9, ()) == {}
    assert len(joint.survivors(joint.rounds[-1], {})) == 9, "any of them may be a finalist"
