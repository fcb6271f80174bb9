"""Checks of a family's curves before any compute is spent on them."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import optuna
import torch
from optuna.trial import BaseTrial, FixedTrial
from torch.nn import Parameter

from search_spaces.family import NO_EXTRAS, Extras, Parameters, PeakRange, ScheduleFamily
from search_spaces.optimizers import applied_rate, momentum, switch

SAMPLES = 8
DRAWN_STEPS = 1_000
"""Curves of a longer horizon are checked at this one: a family means the same at any."""
DEAD = 1e-5
"""Below this share of the peak rate, nothing is trained any more."""
LONGEST_DEAD_TAIL = 1 / 3
ROUNDING = 1e-12
"""Changes of the rate that are smaller, relative to the peak, are none."""


class PreflightError(ValueError):
    """A schedule that no run should be spent on: the family, what is wrong, and with what."""


def draw(
    family: ScheduleFamily, parameters: Parameters, total_steps: int
) -> npt.NDArray[np.float64]:
    """The rate and the momentum that each step of a run would use, (total_steps, 2).

    No model is trained, so a family that waits for a validation loss never hears one.
    """
    optimizer = family.make_optimizer([Parameter(torch.zeros(1))], parameters, total_steps)
    switch(optimizer, "train")
    schedule = family.build(optimizer, parameters, total_steps)
    group = optimizer.param_groups[0]
    curve = np.empty((total_steps, 2))
    for step in range(total_steps):
        optimizer.step()
        curve[step] = applied_rate(group), momentum(group)
        schedule.step()
    return curve


def cycle_ends(family: ScheduleFamily, parameters: Parameters, total_steps: int) -> tuple[int, ...]:
    """After how many steps each cycle ends: the minima of the rate, the end of the run included.

    A minimum is where the rate has fallen and is about to rise, or the run to end.
    """
    rates = draw(family, parameters, total_steps)[:, 0]
    ends, falling = [], False
    for step, change in enumerate(np.diff(rates) / rates.max(), start=1):
        if change > ROUNDING:
            ends += [step] if falling else []
            falling = False
        elif change < -ROUNDING:
            falling = True
    return (*ends, total_steps) if falling else tuple(ends)


def samples(
    family: ScheduleFamily, peak_lr: PeakRange, count: int, extras: Extras = NO_EXTRAS
) -> Iterator[Parameters]:
    """Random parameters from the family's ranges, the same at every call."""
    for trial in _asked(count):
        yield family.suggest(trial, peak_lr, extras)


def _asked(count: int) -> Iterator[optuna.Trial]:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(verbosity)
    for _ in range(count):
        yield study.ask()


def check(
    family: ScheduleFamily, total_steps: int, peak_lr: PeakRange, extras: Extras = NO_EXTRAS
) -> None:
    """Draw sampled curves of a family, and its default's, and hold them against the laws.

    Args:
        family: to be checked.
        total_steps: the horizon of the runs to come.
        peak_lr: the range that the study will search.
        extras: what it will search beside the shapes.

    Raises:
        PreflightError: a curve breaks a law, or cannot be drawn over the whole horizon.
    """
    horizon = min(total_steps, DRAWN_STEPS)
    for trial in _tried(family, peak_lr, extras):
        parameters: Parameters = {}
        try:
            parameters = family.suggest(trial, peak_lr, extras)
            ranges = family.ranges(peak_lr, extras)
            rates = draw(family, parameters, horizon)[:, 0]
        except Exception as error:  # whatever a user's own family does wrong
            found: str | None = f"cannot be drawn over {horizon} steps: {error}"
        else:
            found = problem(rates, float(parameters["peak_lr"]), family.rises_again)
            # By which the sampler goes, and the report.
            declared = ScheduleFamily.ranges(family, peak_lr, extras)
            if not trial.distributions == ranges == declared:
                found = "samples from other ranges than its space and peak_range() say"
        if found:
            raise PreflightError(
                f"schedule family {family.name!r} {found}; with {dict(parameters)}"
            )


def _tried(family: ScheduleFamily, peak_lr: PeakRange, extras: Extras) -> Iterator[BaseTrial]:
    """Random trials, and the default, with which a study begins."""
    yield from _asked(SAMPLES)
    default = family.default(peak_lr, extras)
    yield FixedTrial({f"{family.name}.{name}": value for name, value in default.items()})


def problem(rates: npt.NDArray[np.float64], peak_lr: float, rises_again: bool) -> str | None:
    """The law that a curve breaks, in words, or nothing."""
    change = np.diff(rates)
    fell = np.maximum.accumulate(change < -ROUNDING * peak_lr)
    alive = np.flatnonzero(rates > DEAD * peak_lr)
    if not np.isfinite(rates).all():
        return f"is not finite at step {int(np.argmin(np.isfinite(rates)))}"
    if (rates < 0).any():
        return f"is negative at step {int(rates.argmin())}"
    if rates.max() > peak_lr * (1 + 1e-9):
        return f"rises to {rates.max():.3g}, above its peak rate"
    if not rises_again and (change[fell] > ROUNDING * peak_lr).any():
        return "rises after it has fallen; a family that is meant to says rises_again = True"
    if not len(alive) or len(rates) - 1 - alive[-1] > LONGEST_DEAD_TAIL * len(rates):
        return f"is below {DEAD:g} of its peak for more than the last third of the run"
    return None
