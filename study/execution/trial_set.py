"""A set of trials to run, with everything that is told of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.search.early_stopping import EarlyStopping
from study.search.interfaces import TrialObserver, TrialSource
from study.storage.checkpoint_store import CheckpointStore
from study.storage.mirror import Mirror
from study.tasks.check_data import Load
from study.tasks.data import TrialData


@dataclass(frozen=True)
class TrialSet:
    """A number of training runs, what they train on, and everything that is told of them."""

    source: TrialSource
    total: int
    """Runs in all, those of earlier processes included."""
    checkpoints: CheckpointStore
    data: TrialData
    load: Load
    observers: Sequence[TrialObserver]
    mirror: Mirror
    """Folder of the study: nothing is proposed or recorded in one that somebody else writes."""
    early_stopping: EarlyStopping | None = None
