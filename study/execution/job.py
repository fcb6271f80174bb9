"""What is to be run, and who is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.search.interfaces import Agenda, TrialObserver
from study.search.optuna_trials import Ledger
from study.storage.mirror import Mirror
from study.storage.storage_path import Place
from study.tasks.check_data import Load
from study.tasks.task import TrialData


@dataclass(frozen=True)
class Job:
    """A number of training runs, what they train on, and everything that is told of them."""

    agenda: Agenda
    total: int
    """Runs in all, those of earlier processes included."""
    checkpoints: Place
    data: TrialData
    load: Load
    observers: Sequence[TrialObserver]
    mirror: Mirror
    """Of the study: nothing is proposed or recorded for one that somebody else writes."""
    condemning: Ledger | None = None
    """Whose trials may be stopped early, by comparison within their family."""
