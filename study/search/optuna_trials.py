"""The Optuna study on disk: what was proposed and how it ended. It is the source of truth.

Ray executes what stands here; whatever is killed, this journal, or database, can be read and the
study resumes. A trial that is RUNNING in it without a process behind it is simply not finished yet.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from search_spaces import FAMILIES, SearchSpace
from study.search.database import Database
from study.search.interfaces import FinishedTrial
from study.search.journal_file import (
    JOURNAL,
    OptunaStore,
    journal_of,
    load_study,
    prepare_journal,
    refuse_trials_without_description,
)
from study.search.proposal import Proposal, seeds_of
from study.search.sampler import ResumableTPE
from study.search.trial_plan import Plan
from study.settings.run_options import LocationOptions
from study.system.errors import InputError, summary
from study.tasks.ranking import Ranking
from study.training.history import History

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class OptunaTrials:
    """Proposes trials, and is told how they ended.

    Args:
        store: where the Optuna study is; the caller holds the lock on the study's folder.
        plan: what to sample from, and what of it is settled before.
        ranking: what to look for.
        seed: the study's.
        resuming: whether there has to be a study already.

    Raises:
        InputError: the journal is damaged, or of a newer version, or of a study that lacks its
            study.json; the database cannot be used, or has such a study already, or has it not.
    """

    def __init__(
        self,
        store: OptunaStore,
        plan: Plan,
        ranking: Ranking,
        seed: int,
        resuming: bool = False,
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self._plan, self._space, self._seed = plan, plan.space, seed
        self.ranking = ranking
        sampler = ResumableTPE(seed, plan)
        if isinstance(store, Path):
            self.where = repr(str(journal_of(store)))
            self._study = prepare_journal(store, ranking, resuming, sampler)
        elif resuming:
            self.where = str(store)
            self._study = load_study(store, sampler)
        else:
            self.where = str(store)
            refuse_trials_without_description(store.folder)
            self._study = store.create(ranking.direction, sampler)
        self._open: dict[int, Trial] = {}
        self._replaying = True  # an earlier process may have left some
        self._next = 0

    def replay(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Have these proposed first, in their order: parameters as Optuna recorded them."""
        for parameters in trials:
            self._study.enqueue_trial(dict(parameters))

    @property
    def proposed_count(self) -> int:
        """Number of trials, those that wait to be replayed included."""
        return len(self._study.get_trials(deepcopy=False))

    def open_proposals(self) -> dict[int, Proposal | None]:
        """Open trials by number, without sampling: None where a kill left something out."""
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {
            trial.number: self._proposal(trial) if _is_complete(trial, self._space) else None
            for trial in trials
        }

    def unfinished(self) -> Iterator[Proposal]:
        """The proposals that an earlier process left without an end."""
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # What was sampled is kept; what a kill in between left out is sampled now.
            yield self._complete(Trial(self._study, frozen._trial_id))

    def propose(self) -> Proposal:
        """A new trial."""
        if self._replaying:
            trials = self._study.get_trials(deepcopy=False)
            self._replaying = any(trial.state == TrialState.WAITING for trial in trials)
            self._next = len(trials)
        if not self._replaying and (settled := self._plan.settled(self._next)):
            self._study.enqueue_trial(settled)
        proposal = self._complete(self._study.ask())
        self._next = proposal.number + 1
        return proposal

    def finish(self, number: int, history: History) -> None:
        """Record how a trial ended. Only a completed one is told to Optuna as complete."""
        trial = self._open.pop(number)
        trial.set_user_attr("status", history.status)
        # The curve is the only large part; it stays with the checkpoint.
        trial.set_user_attr("history", replace(history, curve=[]).to_json())
        if history.status == "completed":
            self._study.tell(trial, history.epochs[-1].val_metric)
        elif history.status in ("diverged", "stopped"):
            # TPE ranks a pruned trial below every complete one, by how far it came, and then by its
            # value; one that diverged came to nothing.
            last, stopped = history.epochs[-1], history.status == "stopped"
            if not trial._get_latest_trial().intermediate_values:  # else a kill came after this
                trial.report(last.val_metric if stopped else math.nan, last.step if stopped else 0)
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def prune(self, number: int, epoch: int) -> None:
        """Record that early stopping saw no hope for a running trial after an epoch."""
        self._open[number].set_user_attr("pruned", epoch)

    def pruned(self) -> dict[int, int]:
        """The epoch of each such trial."""
        return {
            trial.number: int(trial.user_attrs["pruned"])
            for trial in self._study.get_trials(deepcopy=False)
            if "pruned" in trial.user_attrs
        }

    def finished(self) -> Iterator[FinishedTrial]:
        """Every trial that has ended, with its history but for the curve."""
        for frozen in self._study.get_trials(deepcopy=False, states=_FINISHED):
            try:
                history = History.from_json(frozen.user_attrs["history"])
            except (KeyError, TypeError, AttributeError) as error:
                raise InputError(
                    f"{self.where}: trial {frozen.number} has ended, but not how "
                    f"({summary(error)}); was it written by another tool? Put a copy of it back"
                ) from error
            yield self._proposal(frozen), history

    @property
    def finished_count(self) -> int:
        """Number of trials that have ended."""
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
        seed, drawn_by = seeds_of(self._seed, trial.number)[0], self._plan.drawn_by(trial.number)
        return Proposal(trial.number, family, parameters, seed, drawn_by)


def optuna_store(location: LocationOptions, study: str | None = None) -> OptunaStore:
    """The place of a study's Optuna study, called ``study`` if that is not the folder's name."""
    if location.optuna_storage is None:
        return location.folder
    url = location.where if location.storage else None
    return Database(location.optuna_storage, study or location.name, location.folder, url)


def recorded_proposals(store: OptunaStore, space: SearchSpace) -> list[dict[str, Any]]:
    """Proposals of a study, which may even be running, as :meth:`OptunaTrials.replay` takes them.

    Raises:
        InputError: its journal or database cannot be read.
    """
    if isinstance(store, Path) and not journal_of(store).exists():
        raise InputError(f"{str(store)!r} has no {JOURNAL}, so there is nothing to replay")
    trials = load_study(store).get_trials(deepcopy=False)
    recorded = [trial.params for trial in takewhile(lambda one: _is_complete(one, space), trials)]
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    if len(recorded) < len(trials) - waiting - 1:  # the last may have been killed while proposed
        raise InputError(
            f"trial {len(recorded)} of {str(store)!r} lacks parameters that its family has now, "
            "so it cannot be replayed"
        )
    return recorded


def _is_complete(trial: FrozenTrial, space: SearchSpace) -> bool:
    """True if all of its parameters were sampled before a kill."""
    if "family" not in trial.params:
        return False
    family = FAMILIES[trial.params["family"]]
    return family.ranges(space.peak_lr, space.extras).keys() <= trial.params.keys()
