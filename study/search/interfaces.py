"""Who takes part in a search."""

from collections.abc import Iterator
from typing import Protocol

from study.search.proposal import Proposal
from study.training.history import History


class Progress(Protocol):
    """Whoever wants to know how the search goes."""

    def adopted(self, epochs: int) -> None:
        """So many epochs of a trial were done by an earlier process."""

    def started(self, proposal: Proposal) -> None:
        """A trial has begun, or goes on."""

    def note(self, line: str) -> None:
        """Something else has to be said."""

    def advanced(self, samples: int) -> None:
        """A trial has done one more epoch, of so many samples."""

    def finished(self, proposal: Proposal, history: History) -> None:
        """A trial has ended."""


class Agenda(Protocol):
    """What is to be run, and who is told how it ended: the ledger, or the finalists' replicates."""

    @property
    def finished_count(self) -> int:
        """How many have ended."""

    def unfinished(self) -> Iterator[Proposal]:
        """Those that an earlier process may have begun."""

    def propose(self) -> Proposal:
        """A new one."""

    def finish(self, number: int, history: History) -> None:
        """Record how one ended."""


class Tables(Protocol):
    """Where results go."""

    def add(self, proposal: Proposal, history: History) -> None:
        """Take in what has ended."""

    def write_in_time(self) -> None:
        """Write what came too soon after the last write."""
