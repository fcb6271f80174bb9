"""The Optuna study on disk: what was proposed and how it ended. It is the source of truth.

Ray executes what stands here; whatever is killed, this file can be read and the study goes on. A
trial that is RUNNING in it without a process behind it is simply not finished yet.
"""

import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces import CONTROLS, FAMILIES, Parameters, SearchSpace
from study.metric import Ranking
from study.training import History

JOURNAL = "optuna.journal"
STARTUP_TRIALS = 16
"""So many trials are random and visit the families in turn; then comes TPE. More if need be."""

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Proposal:
    """One trial as the sampler wants it tried."""

    number: int
    """Optuna's trial number."""
    family: str
    parameters: Parameters
    seed: int
    """Of this trial's training run, derived from the study's seed."""


class Ledger:
    """Proposes trials, and is told how they ended.

    Args:
        folder: the study's folder; the caller holds the lock on it.
        space: what to sample from.
        ranking: what to look for.
        seed: the study's.
    """

    def __init__(self, folder: Path, space: SearchSpace, ranking: Ranking, seed: int) -> None:
        # Absolute: over a relative path, a lock that outlived its process is waited for for ever.
        journal = (folder / JOURNAL).absolute()
        # The journal's own lock outlives a kill; with the folder locked, nobody can hold it.
        journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
        optuna.logging.set_verbosity(logging.WARNING)
        self._space = space
        self._seed = seed
        storage = JournalStorage(JournalFileBackend(str(journal)))
        # The journal holds one study, under the name that the folder had when it began.
        names = optuna.get_all_study_names(storage)
        self._study: Study = optuna.create_study(
            storage=storage,
            study_name=names[0] if names else folder.name,
            direction=ranking.direction,
            sampler=ResumableTPE(seed, _startup_trials(space.families)),
            load_if_exists=True,
        )
        self._open: dict[int, Trial] = {}

    def unfinished(self) -> Iterator[Proposal]:
        """The proposals that an earlier process left without an end."""
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # What was sampled is kept; what a kill in between left out is sampled now.
            yield self._complete(Trial(self._study, frozen._trial_id))

    def propose(self) -> Proposal:
        """A new trial."""
        trials = self._study.get_trials(deepcopy=False)
        waiting = any(trial.state == TrialState.WAITING for trial in trials)
        if len(trials) < _startup_trials(self._space.families) and not waiting:
            self._study.enqueue_trial(self._startup(len(trials)))
        return self._complete(self._study.ask())

    def _startup(self, number: int) -> dict[str, Any]:
        """What is fixed in a trial of the start-up: the family, and a control's peak rate too."""
        families = self._space.families
        controls = [name for name in CONTROLS if name in families]
        others = [name for name in families if name not in controls]
        family = [*controls, *others][number % len(families)]
        if number < len(controls):
            return {
                "family": family,
                f"{family}.peak_lr": math.sqrt(math.prod(self._space.peak_lr)),
            }
        return {"family": family}

    def finish(self, number: int, history: History) -> None:
        """Record how a trial ended. Only a completed one is told to Optuna as complete."""
        trial = self._open.pop(number)
        trial.set_user_attr("status", history.status)
        # The curve is the only large part; it stays with the checkpoint.
        trial.set_user_attr("history", replace(history, curve=[]).to_json())
        if history.status == "completed":
            self._study.tell(trial, history.epochs[-1].val_metric)
        elif history.status == "diverged":
            # TPE ranks a pruned trial below every complete one, by how far it came; the value
            # that it wants besides is the same for all.
            trial.report(0.0, step=history.epochs[-1].step)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def finished(self) -> Iterator[tuple[Proposal, History]]:
        """Every trial that has ended, with its history but for the curve."""
        for frozen in self._study.get_trials(deepcopy=False, states=_FINISHED):
            yield self._proposal(frozen), History.from_json(frozen.user_attrs["history"])

    @property
    def finished_count(self) -> int:
        """How many trials have ended."""
        return len(self._study.get_trials(deepcopy=False, states=_FINISHED))

    def _complete(self, trial: Trial) -> Proposal:
        self._open[trial.number] = trial
        family = FAMILIES[trial.suggest_categorical("family", self._space.families)]
        family.suggest(trial, self._space.peak_lr, self._space.extras)
        return self._proposal(trial)

    def _proposal(self, trial: Trial | FrozenTrial) -> Proposal:
        family = str(trial.params["family"])
        prefix = f"{FAMILIES[family].name}."
        parameters = {
            name.removeprefix(prefix): value
            for name, value in trial.params.items()
            if name.startswith(prefix)
        }
        return Proposal(trial.number, family, parameters, _seeds(self._seed, trial.number)[0])


class ResumableTPE(TPESampler):
    """TPE whose draws for a trial follow from the seed, the trial's number and the trials before.

    Optuna's own draws from one random stream in memory, which a resumed study begins again and so
    proposes what it has tried already. Here each trial has a stream of its own.
    """

    def __init__(self, seed: int, startup_trials: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(
                n_startup_trials=startup_trials,
                # Without `group`, the parameters of a conditional space are sampled one by one.
                multivariate=True,
                group=True,
                # Trials that still run count as bad, so that proposals side by side differ.
                constant_liar=True,
                seed=seed,
            )
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its own random stream."""
        super().before_trial(study, trial)
        _, tpe_seed, random_seed = _seeds(self._seed, trial.number)
        self._rng.rng.seed(tpe_seed)
        self._random_sampler._rng.rng.seed(random_seed)


def _startup_trials(families: tuple[str, ...]) -> int:
    return max(STARTUP_TRIALS, len(families))


def _seeds(study_seed: int, number: int) -> tuple[int, int, int]:
    """Independent seeds for a trial's training run and for the sampler's two random streams."""
    first, second, third = np.random.SeedSequence((study_seed, number)).generate_state(3)
    return int(first), int(second), int(third)
