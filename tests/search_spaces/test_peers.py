"""Schedules that other libraries have, beside theirs; and the refined one, checked by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from scipy.optimize import minimize
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.tanh_lr import TanhLRScheduler
from torch.optim import SGD, Optimizer
from transformers.optimization import GreedyLR

from search_spaces import FAMILIES, Parameters
from search_spaces.family import Extras
from search_spaces.knots import Refined, refined
from search_spaces.preflight import draw
from study.settings.study_options import SearchOptions

STEPS, PEAK = 97, 0.3


def optimizer() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


TIMMS: dict[str, tuple[str, dict[str, Any], Callable[[Optimizer], Any]]] = {
    "k-decay": (
        "k_decay",
        {"k": 1.7},
        lambda o: CosineLRScheduler(o, STEPS, k_decay=1.7),
    ),
    "falling restarts": (
        "cosine_warm_restarts",
        {"cycles": 3, "growth": 2, "end_ratio": 0.01, "cycle_decay": 0.6},
        lambda o: CosineLRScheduler(
            o, 14, lr_min=0.01 * PEAK, cycle_mul=2, cycle_decay=0.6, cycle_limit=3
        ),
    ),
    "equal restarts that fall": (
        "cosine_warm_restarts",
        {"cycles": 4, "growth": 1, "end_ratio": 0.01, "cycle_decay": 0.5},
        lambda o: CosineLRScheduler(o, 25, lr_min=0.01 * PEAK, cycle_decay=0.5, cycle_limit=4),
    ),
    "tanh": (
        "tanh",
        {"lower": -6.0, "upper": 3.0},
        lambda o: TanhLRScheduler(o, STEPS, lb=-6.0, ub=3.0),
    ),
}


@pytest.mark.parametrize("name", TIMMS)
def test_timms_schedules_are_among_ours(name: str) -> None:
    family, parameters, make = TIMMS[name]
    theirs = make(optimizer())
    rates = draw(FAMILIES[family], {"peak_lr": PEAK, **parameters}, STEPS)[:, 0]
    oracle = [theirs._get_lr(step)[0] for step in range(STEPS)]
    np.testing.assert_allclose(rates, oracle, rtol=0, atol=1e-12)


@pytest.mark.parametrize("between", [1, 10])
def test_greedy_is_that_of_transformers_with_patience_in_steps(between: int) -> None:
    """Fed once in 10 steps, 30 steps of patience are 3 of their calls; as 3 are, fed in each."""
    generator = np.random.default_rng(0)
    losses = np.concatenate(
        [np.linspace(3, 1, 12), np.full(9, 1.0), np.linspace(1, 0.5, 20), generator.random(40)]
    )
    parameters: Parameters = {
        "peak_lr": PEAK,
        "factor": 0.6,
        "patience_fraction": 3 / len(losses),
        "start_ratio": 0.25,
    }
    ours, theirs = optimizer(), optimizer()
    schedule = FAMILIES["greedy"].build(ours, parameters, between * len(losses))
    theirs.param_groups[0]["lr"] *= 0.25
    oracle = GreedyLR(theirs, factor=0.6, patience=2, min_lr=0.0, max_lr=PEAK)
    used = set()
    for loss in losses:
        for _ in range(between):
            schedule.step()
        schedule.step(float(loss))  # type: ignore[arg-type]
        oracle.step(float(loss))
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        used.add(ours.param_groups[0]["lr"])
    assert max(used) == PEAK
    assert min(used) < 0.25 * PEAK
    assert len(used) > 5


@pytest.mark.parametrize(
    ("optimizer", "kind", "decay", "times"),
    [("sgd", SGDScheduleFree, 5e-4, 10), ("adamw", AdamWScheduleFree, 0.01, 3)],
)
def test_schedule_free_is_of_the_optimizer_that_was_asked_for(
    optimizer: Any, kind: type[Optimizer], decay: float, times: int
) -> None:
    family = FAMILIES["schedule_free"]
    extras: Extras = SearchOptions(optimizer=optimizer, warmup="none").extras()
    made = family.make_optimizer(
        [torch.nn.Parameter(torch.zeros(1))], family.default((1e-3, 1e-1), extras), 100
    )
    assert type(made) is kind
    (group,) = made.param_groups
    assert (group["weight_decay"], group["warmup_steps"]) == (decay, 5)
    assert family.peak_range((1e-3, 1e-1), extras) == (times * 1e-3, times * 1e-1)


FALLS = [
    family.name
    for family in FAMILIES.values()
    if not (family.rises_again or family.warms_up)
    and family.name not in ("step", "multi_step", "tanh", "wsd_exponential")
]


@pytest.mark.parametrize("name", FALLS)
def test_the_free_shape_comes_near_the_named_ones(name: str) -> None:
    peak = 0.1 * 10**0.6
    target = draw(FAMILIES[name], FAMILIES[name].default((0.1, 1.0)), 200)[:, 0] / peak
    space = FAMILIES["free"].space

    def distance(shares: Sequence[float]) -> float:
        parameters = dict(zip(space, map(float, shares), strict=True))
        drawn = draw(FAMILIES["free"], {"peak_lr": 1.0, **parameters}, 200)[:, 0]
        return float(np.abs(drawn - target).mean())

    # From the shares that the target itself has at the knots.
    at_knots = target[[0, 66, 133, 199]]
    start = np.clip(at_knots[1:] / at_knots[:-1], (0.2, 0.1, 0.0), 1.0)
    bounds = [(0.2, 1.0), (0.1, 1.0), (0.0, 1.0)]
    found = minimize(distance, start, method="Nelder-Mead", bounds=bounds, options={"maxfev": 80})
    assert found.fun < 0.03


@pytest.mark.parametrize(
    ("weights", "smoothing", "expected"),
    [
        ([1, 1, 1, 1], 0.0, [1, 2 / 3, 1 / 3, 0]),  # the straight line
        ([1, 4, 1, 1], 0.0, [0.75, 1, 0.125, 0]),  # 1 * 6, 4 * 2, 1 * 1, 1 * 0
        ([1, 9, 1, 1], 0.5, [1, 2 / 3, 1 / 3, 0]),  # medians of three
        # The first stands before itself, and the last two come back: 5 5 1, 5 1 7, 1 7 7.
        ([5, 1, 7], 1.0, [1, 35 / 60, 0]),  # medians 5 5 7 times sums 12 7 0
    ],
)
def test_the_refined_schedule_is_that_of_its_formula(
    weights: list[float], smoothing: float, expected: list[float]
) -> None:
    found = refined(np.array(weights, float), smoothing)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_refined_family_follows_its_weights_and_warms_up() -> None:
    """Norms that fall by half in the middle have weights four times as large after it."""
    family = Refined([1.0] * 50 + [4.0] * 50)
    parameters: Parameters = {"peak_lr": 1.0, "smoothing": 0.03, "warmup_fraction": 0.1}
    rates = draw(family, parameters, 1_000)[:, 0]
    # 1 * (0.25 + 0.5 * 4) there, 4 * 0.5 * 4 right after the middle, 4 * 0.25 * 4 later.
    assert rates[250] == pytest.approx(2.25 / 8, abs=0.02)
    assert rates[:100].argmax() == 99
    assert rates.argmax() == pytest.approx(510, abs=15)
    assert rates[750] == pytest.approx(0.5, abs=0.03)
    line = draw(FAMILIES["refined"], parameters, 1_000)[:, 0]
    np.testing.assert_allclose(line[100:] / line[100], np.linspace(1, 0.0011, 900), atol=0.005)
