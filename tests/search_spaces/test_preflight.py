"""What is checked, and drawn, before any compute is spent."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import BaseTrial
from torch.optim.lr_scheduler import LambdaLR

from analysis import gallery
from search_spaces import FAMILIES, Parameters, ScheduleFamily
from search_spaces.family import NO_EXTRAS, Extras, PeakRange, Recipe
from search_spaces.preflight import PreflightError, check, draw, samples
from study.system.errors import InputError
from tests.search_spaces.test_families import PEAK, WITH_WARMUP, every_family


class Custom(ScheduleFamily):
    """A family of a user's own, with any factor of (step, horizon)."""

    name = "custom"
    groups = frozenset()

    def __init__(self, factor: Callable[[int, int], float], rises_again: bool = False) -> None:
        self.factor = factor
        self.rises_again = rises_again  # type: ignore[misc]

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        return Recipe(LambdaLR, {"lr_lambda": lambda step: self.factor(step, total_steps)})


@every_family
@pytest.mark.parametrize("horizon", [10, 97, 100_000])
def test_every_family_passes(family: ScheduleFamily, horizon: int) -> None:
    check(family, horizon, PEAK)


@every_family
def test_every_family_passes_with_what_is_searched_beside_it(family: ScheduleFamily) -> None:
    check(
        family, 97, PEAK, {**WITH_WARMUP, "weight_decay": FloatDistribution(1e-5, 1e-2, log=True)}
    )


class Stepped(Custom):
    """Its ranges have steps."""

    space: ClassVar = {
        "share": FloatDistribution(0, 1, step=0.25),
        "drops": IntDistribution(2, 8, step=2),
        "length": IntDistribution(1, 100, log=True),
    }


def test_the_steps_of_a_range_are_kept_to() -> None:
    drawn = [*samples(Stepped(lambda t, n: 1.0), PEAK, 200)]
    assert {one["share"] for one in drawn} == {0, 0.25, 0.5, 0.75, 1}
    assert {one["drops"] for one in drawn} == {2, 4, 6, 8}
    assert sum(int(one["length"]) <= 10 for one in drawn) > 60, "half of them, by the logarithm"


class Otherwise(Stepped):
    """It samples what its space does not say."""

    def suggest(
        self, trial: BaseTrial, peak_lr: PeakRange, extras: Extras = NO_EXTRAS
    ) -> dict[str, Any]:
        return {
            **super().suggest(trial, peak_lr, extras),
            "more": trial.suggest_float("more", 0, 1),
        }


def test_a_family_that_samples_from_other_ranges_than_it_says_is_named() -> None:
    with pytest.raises(PreflightError, match=r"'custom' samples from other ranges than its space"):
        check(Otherwise(lambda t, n: 1.0), 500, PEAK)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (lambda t, n: float("nan") if t == 5 else 1.0, "is not finite at step 5"),
        (lambda t, n: 1 - 2 * t / n, "is negative"),
        (lambda t, n: 1.5, "above its peak rate"),
        (lambda t, n: abs(1 - 2 * t / n), "rises after it has fallen"),
        (lambda t, n: 1.0 if t < n / 2 else 0.0, "more than the last third"),
        (lambda t, n: 1 / (n // 2 - t), "cannot be drawn over 500 steps: .*division"),
    ],
)
def test_a_broken_law_is_named(factor: Callable[[int, int], float], message: str) -> None:
    with pytest.raises(PreflightError, match=f"family 'custom' .*{message}.*peak_lr"):
        check(Custom(factor), 500, PEAK)


class Begins(Custom):
    """Its default alone breaks a law."""

    space: ClassVar = {"height": FloatDistribution(0.1, 1.5)}
    defaults: ClassVar = {"height": 1.25}

    def recipe(self, parameters: Parameters, total_steps: int) -> Recipe:
        height = 2.0 if parameters["height"] == self.defaults["height"] else 1.0
        return Recipe(LambdaLR, {"lr_lambda": lambda step: height})


def test_a_default_that_breaks_a_law_is_named() -> None:
    """With it, every study of the family would begin."""
    with pytest.raises(PreflightError, match=r"above its peak rate; with .*'height': 1\.25"):
        check(Begins(lambda t, n: 1.0), 500, PEAK)


def test_a_family_that_says_so_may_rise_again() -> None:
    check(Custom(lambda t, n: max(1e-3, abs(1 - 2 * t / n)), rises_again=True), 500, PEAK)


def test_a_drawn_curve_is_what_a_run_would_use() -> None:
    parameters = next(iter(samples(FAMILIES["linear_to_zero"], PEAK, 1)))
    curve = draw(FAMILIES["linear_to_zero"], parameters, 10)
    peak = float(parameters["peak_lr"])
    np.testing.assert_allclose(curve[:, 0], peak * np.linspace(1, 0, 10, endpoint=False))
    assert (curve[:, 1] == 0.9).all()


def test_samples_are_the_same_at_every_call() -> None:
    first, again = (list(samples(FAMILIES["one_cycle"], PEAK, 3)) for _ in range(2))
    assert first == again
    assert first[0] != first[1]


def test_the_gallery_draws_everything(tmp_path: Path, capsys: Any) -> None:
    assert gallery.main(["--out", str(tmp_path)]) == 0
    assert gallery.main(["--out", str(tmp_path), "--family", "one_cycle"]) == 0
    names = ["families", "one_cycle", "tutorial"]
    drawn = [f"{name}.{suffix}" for name in names for suffix in ("png", "svg")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(drawn)
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(tmp_path / file) for file in drawn)


def test_the_gallery_names_a_family_it_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'cosin' \(did you mean 'cosine'\?\)"):
        gallery.main(["--out", str(tmp_path), "--family", "cosin"])
