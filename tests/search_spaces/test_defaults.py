"""The configuration of a family that needs no tuning: the first trial of every study."""

import math

import numpy as np
import pytest

from search_spaces import FAMILIES, ScheduleFamily
from search_spaces.family import WARMUP, Extras, PeakRange, middle
from search_spaces.preflight import draw, problem
from study.settings.study_config import StudyConfig
from tests.search_spaces.test_families import every_family

SGD, ADAMW = (0.02, 0.3), (1e-4, 1e-2)
SEARCHES: dict[str, tuple[PeakRange, Extras]] = {
    "default": (SGD, StudyConfig().search.extras()),
    "plain": (SGD, StudyConfig.of(warmup="none").search.extras()),
    "fixed": (SGD, StudyConfig.of(warmup="0.05", momentum="0.5").search.extras()),
    "everything": (
        SGD,
        StudyConfig.of(momentum="search", weight_decay="search").search.extras(),
    ),
    "adamw": (ADAMW, StudyConfig.of(optimizer="adamw", weight_decay="0.1").search.extras()),
}
every_search = pytest.mark.parametrize(("peak_lr", "extras"), SEARCHES.values(), ids=list(SEARCHES))


@every_family
@every_search
def test_a_default_lies_within_what_is_searched_and_passes_the_laws(
    family: ScheduleFamily, peak_lr: PeakRange, extras: Extras
) -> None:
    default = family.default(peak_lr, extras)
    searched = family.searched(peak_lr, extras)
    assert default.keys() == searched.keys()
    for name, range_ in searched.items():
        assert range_._contains(range_.to_internal_repr(default[name])), (name, default[name])
    for horizon in (10, 97, 1_170):
        rates = draw(family, default, horizon)[:, 0]
        assert problem(rates, float(default["peak_lr"]), family.rises_again) is None


@every_family
@every_search
def test_its_peak_rate_is_in_the_upper_middle_of_the_range_by_the_logarithm(
    family: ScheduleFamily, peak_lr: PeakRange, extras: Extras
) -> None:
    """At the same place for all, so that families are compared on equal ground."""
    low, high = family.peak_range(peak_lr, extras)
    place = math.log(float(family.default(peak_lr, extras)["peak_lr"]) / low) / math.log(high / low)
    assert place == pytest.approx(0.6)


@every_family
def test_it_warms_up_for_a_fifth_of_the_run_where_nothing_else_is_said(
    family: ScheduleFamily,
) -> None:
    for name, (peak_lr, extras) in SEARCHES.items():
        default = family.default(peak_lr, extras)
        if "warmup_fraction" in family.space or family.warms_up or name == "plain":
            assert default.get("warmup_fraction") == family.defaults.get("warmup_fraction")
            continue
        assert default["warmup_fraction"] == (0.05 if name == "fixed" else WARMUP)
    assert WARMUP == 0.2
    rates = draw(family, family.default(SGD, SEARCHES["default"][1]), 100)[:, 0]
    rising = np.diff(rates[: rates.argmax() + 1]) > 0
    assert rising.all(), "every default of the default study begins low"
    # The greedy one rises by what it hears.
    assert 4 <= len(rising) <= 50 or family.name == "greedy"


@every_family
def test_its_shape_is_the_one_that_the_family_names(family: ScheduleFamily) -> None:
    """And what it does not name is in the middle of its range."""
    assert family.defaults.keys() <= family.space.keys()
    middles = {name: middle(range_) for name, range_ in family.space.items()}
    for peak_lr, extras in SEARCHES.values():
        default = family.default(peak_lr, extras)
        assert {name: default[name] for name in family.space} == {**middles, **family.defaults}


def test_what_is_searched_beside_the_shape_is_in_the_middle_of_its_range() -> None:
    peak_lr, extras = SEARCHES["everything"]
    default = FAMILIES["constant"].default(peak_lr, extras)
    assert default["momentum"] == middle(extras["momentum"])
    assert default["weight_decay"] == middle(extras["weight_decay"])
