"""A set of trials to run, with everything that is told of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.search.interfaces import TrialObserver, TrialSource
from study.search.optuna_trials import OptunaTrials
from study.storage.mirror import Mirror
from study.storage.storage_path import Place
from study.tasks.check_data import Load
from study.tasks.task import TrialData


@dataclass(frozen=True)
class TrialSet:
    """A number of training runs, what they train on, and everything that is told of them."""

    source: TrialSource
    total: int
    """Runs in all, those of earlier processes included."""
    checkpoints: Place
    data: TrialData
    load: Load
    observers: Sequence[TrialObserver]
    mirror: Mirror
    """Of the study: nothing is proposed or recorded for one that somebody else writes."""
    condemning: OptunaTrials | None = None
    """Whose trials may be stopped early, by comparison within their family."""
