"""Interfaces of a search: the source of its trials, and the observers that are told of them."""

from collections.abc import Iterator
from typing import Protocol

from study.search.proposal import Proposal
from study.training.history import EpochRecord, History

FinishedTrial = tuple[Proposal, History]
"""A trial that has ended, and what it came to."""


class NothingYetError(Exception):
    """The next trial depends on what one that runs will come to."""


class TrialSource(Protocol):
    """Gives trials, and is told how they ended: the Optuna study, or the finalists' replicates."""

    @property
    def finished_count(self) -> int:
        """Number of trials that have ended, or that nobody needs any more."""

    def unfinished(self) -> Iterator[Proposal]:
        """Those that an earlier process may have begun."""

    def propose(self) -> Proposal:
        """A new one.

        Raises:
            NothingYetError: there is none before one that runs has ended; or none at all.
        """

    def finish(self, number: int, history: History) -> None:
        """Record how one ended."""


class TrialObserver:
    """Hooks that a runner calls as trials go on: tables, displays and loggers override some.

    They are called one after the other, in the process that runs the study; an exception in one
    ends the study.
    """

    def on_trial_resume(self, proposal: Proposal, epochs: int) -> None:
        """An earlier process has begun a trial, and done so many of its epochs."""

    def on_trial_start(self, proposal: Proposal) -> None:
        """A worker has begun with a trial, or resumes it."""

    def on_epoch(self, proposal: Proposal, record: EpochRecord, samples: int) -> None:
        """A trial has done one more epoch, of so many samples."""

    def on_trial_end(self, proposal: Proposal, history: History) -> None:
        """A trial has ended, and is recorded; an interrupted one has not."""

    def on_idle(self) -> None:
        """All trials are as they were; called many times a second."""

    def on_message(self, line: str) -> None:
        """The user should know something else."""
