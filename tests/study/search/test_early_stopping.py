"""The rungs of early stopping, held against Ray's own."""

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from study.search.early_stopping import Rungs

VALUES = (0.1, 0.2, 0.2, 0.3, 0.5, 0.8, 0.9, math.nan, math.inf, -math.inf)


def ray_own(epochs: int) -> AsyncHyperBandScheduler:
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="metric",
        mode="max",
        grace_period=max(1, round(epochs / 9)),
        reduction_factor=3,
        max_t=epochs,
        stop_last_trials=False,
    )


@pytest.mark.filterwarnings("ignore:All-NaN slice", "ignore:invalid value")
@pytest.mark.parametrize("epochs", [*range(1, 41), 81, 100, 243])
def test_rungs_decide_as_ray_does(epochs: int) -> None:
    """Whatever the order in which trials report, and reported again, as after a resume."""
    draw = random.Random(epochs)
    for _ in range(5):
        own, oracle = Rungs(epochs), ray_own(epochs)
        done = dict.fromkeys(range(12), 0)
        for _ in range(200):
            number = draw.randrange(12)
            again = draw.random() < 0.1
            done[number] = max(1, done[number] + (draw.randint(-2, 0) if again else 1))
            epoch, value = min(done[number], epochs), draw.choice(VALUES)
            trial: Any = SimpleNamespace(trial_id=number)
            oracle.on_trial_add(None, trial)  # type: ignore[arg-type]
            result = {"epoch": epoch, "metric": value}
            expected = oracle.on_trial_result(None, trial, result)  # type: ignore[arg-type]
            assert own.falls_behind(number, epoch, value) == (expected == TrialScheduler.STOP)
