"""TPE whose draws outlive a process."""

import heapq
import warnings
import zlib
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces import FAMILIES
from study.search.proposal import seeds_of
from study.search.trial_plan import Plan

GOOD = 25
"""Trials that TPE takes for the good ones, at most, whatever their number."""
REMEMBERED = 500
"""The latest trials, which a proposal is made from besides the good ones. TPE weighs trials less
the older they are."""


class ResumableTPE(TPESampler):
    """TPE whose draws for a trial follow from the seed, the trial's number and the trials before.

    Optuna's own draws from one random stream in memory, which a resumed study begins again and so
    proposes what it has tried already. Here each trial has a stream of its own.

    First comes the family, then its parameters, which are modelled together. Optuna's ``group``
    does the same, but finds the groups by going through all trials each time, and samples for every
    family what one alone will use: with ten families, nine tenths of the time. And of more than
    :data:`REMEMBERED` trials, it goes by the best and the latest, so that a proposal does not take
    longer and longer.
    """

    def __init__(self, seed: int, plan: Plan) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                n_startup_trials=1,  # the plan knows when it begins
                multivariate=True,
                # Trials that still run count as bad, so that proposals side by side differ.
                constant_liar=True,
                seed=seed,
            )
        self._seed, self._plan = seed, plan
        self._view: VisibleTrials | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its own random stream."""
        super().before_trial(study, trial)
        self._view = None
        _, tpe_seed, random_seed = seeds_of(self._seed, trial.number)
        self._rng.rng.seed(tpe_seed)
        self._random_sampler._rng.rng.seed(random_seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The family, where it is not given, and the parameters of those that it may be."""
        given, space = given_family(trial), self._plan.space
        families = (given,) if given else space.families
        ranges: dict[str, BaseDistribution] = {"family": CategoricalDistribution(space.families)}
        for family in families:
            ranges |= FAMILIES[family].ranges(space.peak_lr, space.extras)
        return {name: one for name, one in ranges.items() if not one.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing for the trials that are to be independent draws."""
        if self._plan.drawn_by(trial.number) != "tpe":
            return {}
        drawn: dict[str, Any] = {}
        if not (family := given_family(trial)):
            which = {name: one for name, one in search_space.items() if name == "family"}
            drawn = self._sample_relative(study, trial, which)
            # A trial that was cut short has its family already.
            family = trial.params.get("family", drawn.get("family", self._plan.space.families[0]))
        prefix = f"{FAMILIES[family].name}."
        own = {name: one for name, one in search_space.items() if name.startswith(prefix)}
        return drawn | super().sample_relative(study, trial, own)

    def _sample(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """From the trials of one family where it is given; Optuna would rank it among all."""
        self._view = self._view or VisibleTrials(study, given_family(trial))
        return super()._sample(self._view, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Give each parameter its own, too: a kill between two must not change the second."""
        entropy = (self._seed, trial.number, zlib.crc32(param_name.encode()))
        tpe_seed, random_seed = np.random.SeedSequence(entropy).generate_state(2)
        self._rng.rng.seed(tpe_seed)
        self._random_sampler._rng.rng.seed(random_seed)
        by_tpe = self._plan.drawn_by(trial.number) == "tpe"
        sample = super().sample_independent if by_tpe else self._random_sampler.sample_independent
        return sample(study, trial, param_name, param_distribution)


def given_family(trial: FrozenTrial) -> str | None:
    """The family that a trial was queued with, if the sampler is not to choose one."""
    fixed: dict[str, Any] = trial.system_attrs.get("fixed_params", {})
    return fixed.get("family")


class VisibleTrials(Study):
    """A study as its sampler sees it: one family's trials, if it is given; of many, a part.

    As it is when it is first looked at: a proposal is sampled in two parts from the same trials.
    """

    def __init__(self, study: Study, family: str | None) -> None:
        vars(self).update(vars(study))
        self._family = family
        self._seen: list[FrozenTrial] = []

    def _get_trials(self, *arguments: Any, **keywords: Any) -> list[FrozenTrial]:
        if not self._seen:
            trials = super()._get_trials(*arguments, **keywords)
            if self._family:
                trials = [trial for trial in trials if trial.params.get("family") == self._family]
            self._seen = self._part(trials)
        return self._seen

    def _part(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        old, latest = trials[:-REMEMBERED], trials[-REMEMBERED:]
        running = [trial for trial in old if trial.state == TrialState.RUNNING]
        completed = (trial for trial in old if trial.state == TrialState.COMPLETE)
        pick = heapq.nlargest if self.direction == StudyDirection.MAXIMIZE else heapq.nsmallest
        best = pick(GOOD, completed, key=lambda trial: trial.values[0])
        return sorted([*best, *running, *latest], key=lambda trial: trial.number)
